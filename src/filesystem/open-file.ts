import { timingSafeEqual } from 'node:crypto';
import { errno } from '../base/errno.js';
import { repeat } from '../base/repeat.js';
import { encodeBinding, encodeUnbound, judgeBinding, XATTR } from '../format/binding.js';
import { type FileHeader, type HeaderContext, openHeaderPair, sealHeader } from '../format/file-header.js';
import { FRAME_OVERHEAD, HEADER_BYTES, HEADER_REGION } from '../format/geometry.js';
import { UTIME_OMIT } from '../libc/files.js';
import { type Pinned, pinned, randomFill } from '../libc/memory.js';
import { Stat } from '../libc/stat.js';
import type { Handle } from './backing.js';
import type { Reply } from './contract.js';
import { FileKeys } from './file-keys.js';
import { flag, type Slot } from './inode-table.js';
import type { IoBuffers } from './io-buffers.js';
import type { Scope } from './scope.js';
import type { Volume } from './volume.js';

/** Inside this file: a chunk was read and is not what was written. Outside it is EIO. No errno: a disk has those. */
const NOT_AUTHENTIC = -(2 ** 20);

const identity = pinned(16);
const xattr = Buffer.alloc(1024);
const stat = new Stat();

interface Waiting {
  readonly reply: Reply | undefined;
  readonly start: () => void;
}

/**
 * A regular file with open handles: header, key and order of operations. Operations on one file run one after
 * another (`enter` to `leave`); whoever is inside owns every field.
 */
export class OpenFile {
  readonly volume: Volume;
  readonly slot: Slot;
  readonly scope: Scope;
  readonly handle: Handle;
  /** Handles that the transport has. */
  opens = 0;
  cacheEntry = -1;
  /** Undefined: not read yet, or the file is empty. */
  header: FileHeader | undefined;
  /** The header on disk is behind the one here. */
  headerDirty = false;
  /** The first error of a write-back that nobody was told of; fsync reports it, and goes on reporting it. */
  failed = 0;
  /** Its scope was wiped: nothing here works any more. */
  dead = false;
  #loaded = false;
  #keys: FileKeys | undefined;
  #inside: Waiting | undefined;
  readonly #waiting: Waiting[] = [];
  #idle: (() => void) | undefined;

  constructor(volume: Volume, slot: Slot, scope: Scope, handle: Handle) {
    this.volume = volume;
    this.slot = slot;
    this.scope = scope;
    this.handle = handle;
  }

  get size(): number {
    return this.volume.table.size[this.slot] as number;
  }
  get keys(): FileKeys {
    if (this.#keys === undefined) throw new Error('file has no key');
    return this.#keys;
  }

  /** Runs `start` once the operations before it have left. A dead file answers ENOKEY. */
  enter(reply: Reply | undefined, start: () => void): void {
    if (this.dead) {
      reply?.error(errno.ENOKEY);
      return;
    }
    const entry = { reply, start };
    if (this.#inside !== undefined) {
      this.#waiting.push(entry);
    } else {
      this.#inside = entry;
      start();
    }
  }
  leave(): void {
    this.#inside = undefined;
    const next = this.#waiting.shift();
    if (next !== undefined) {
      this.#inside = next;
      next.start();
      return;
    }
    const idle = this.#idle;
    this.#idle = undefined;
    idle?.();
  }
  /** Calls `then` once no operation is inside or waiting. */
  whenIdle(then: () => void): void {
    if (this.#inside === undefined) then();
    else this.#idle = then;
  }
  get busy(): boolean {
    return this.#inside !== undefined;
  }

  /** Answers all that is under way with ENOKEY and forgets key and plaintext. A late job finds the file dead. */
  kill(): void {
    this.dead = true;
    this.#inside?.reply?.error(errno.ENOKEY);
    for (const waiting of this.#waiting.splice(0)) waiting.reply?.error(errno.ENOKEY);
    this.#dropKey();
    this.header = undefined;
  }

  #dropKey(): void {
    this.volume.chunks.drop(this);
    this.#keys?.close();
    this.#keys = undefined;
  }

  get #context(): HeaderContext {
    return {
      scope: this.scope.id,
      suite: this.volume.suite.id,
      chunkSize: this.volume.geometry.chunkSize,
    };
  }

  /**
   * Reads and verifies header and binding, once. `done`: 0 or -errno. A small file's only chunk comes along in the
   * same read and is cached.
   */
  load(io: IoBuffers, done: (result: number) => void): void {
    if (this.#loaded) {
      done(0);
      return;
    }
    const known = this.volume.backing.fstat(this.handle, stat);
    if (known < 0 || !stat.isRegular) {
      done(known < 0 ? known : -errno.EIO);
      return;
    }
    if (stat.size === 0) {
      this.volume.table.size[this.slot] = 0;
      this.#loaded = true;
      done(0);
      return;
    }
    const backingSize = stat.size;
    const length = Math.min(backingSize, HEADER_REGION + this.volume.geometry.stride);
    this.volume.executor.run(
      { op: 'pread', handle: this.handle, buffer: io.sealed, at: 0, length, offset: 0 },
      (got) => {
        if (this.dead) done(-errno.ENOKEY);
        else if (got < 0) done(got);
        else if (got <= HEADER_REGION) done(-errno.EIO);
        else this.#judge(io, backingSize, got, done);
      },
    );
  }

  #judge(io: IoBuffers, backingSize: number, got: number, done: (result: number) => void): void {
    const { geometry, unclean, table } = this.volume;
    const scopeKeys = this.scope.live;
    const headerKey = (epoch: number) => scopeKeys.at(epoch)?.header;
    const pair = openHeaderPair(headerKey, this.#context, io.sealed.bytes, 0);
    if (pair.state === 'bad' || (pair.state === 'torn' && !unclean)) {
      done(-errno.EIO);
      return;
    }
    const { header } = pair;
    if (scopeKeys.at(header.firstEpoch) === undefined) {
      done(-errno.EIO);
      return;
    }
    const keys = FileKeys.derive(scopeKeys, header.fileId, header.firstEpoch);
    if (keys === undefined) {
      done(-errno.ENFILE);
      return;
    }
    const size = geometry.plainSize(backingSize);
    const authentic = timingSafeEqual(keys.tag, header.tag) && this.#bound(header.tag);
    if (!authentic || (size !== header.size && !unclean)) {
      keys.close();
      done(-errno.EIO);
      return;
    }
    this.header = header;
    this.#keys = keys;
    const finish = (): void => {
      this.#loaded = true;
      table.size[this.slot] = header.size;
      const single = header.size <= geometry.chunkSize && header.chunks === 1;
      if (single && got === HEADER_REGION + FRAME_OVERHEAD + header.size) {
        if (keys.open(io.sealed, HEADER_REGION, 0, header.size, io.edges.address)) {
          this.volume.chunks.put(this, 0, io.edges.address, header.size);
        }
      }
      done(0);
    };
    if (size === header.size) {
      this.headerDirty = pair.state === 'torn';
      finish();
    } else {
      this.#recover(io, header, backingSize, (result) => {
        if (result >= 0 && !this.dead) {
          finish();
          return;
        }
        // The next attempt begins anew: nothing of this one may stay.
        if (!this.dead) this.reset();
        this.#loaded = false;
        done(this.dead ? -errno.ENOKEY : result);
      });
    }
  }

  /** After an unclean stop: keeps what opens, from the synced size on, and cuts off the rest. */
  #recover(io: IoBuffers, header: FileHeader, backingSize: number, done: (result: number) => void): void {
    const { geometry, executor } = this.volume;
    const limit = geometry.plainSizeTrimmed(backingSize);
    if (limit < header.syncedSize) {
      done(-errno.EIO);
      return;
    }
    const cutTo = (size: number): void => {
      this.volume.onRecovered(this.slot, header.size, size);
      header.size = size;
      header.chunks = Math.min(geometry.chunksOf(size), Math.max(header.chunks, chunk));
      this.headerDirty = true;
      executor.run({ op: 'ftruncate', handle: this.handle, length: geometry.backingSize(size) }, done);
    };
    let chunk = geometry.chunkOf(Math.min(header.size, header.syncedSize));
    repeat((again) => {
      const extent = geometry.extent(chunk, limit);
      if (extent === 0) {
        cutTo(limit);
        return;
      }
      this.#fetch(io, chunk, extent, 0, (result) => {
        if (result === NOT_AUTHENTIC) {
          this.#endOfTrust(io, header, chunk, limit, (size) => {
            if (size < 0) done(size);
            else if (size < header.syncedSize) done(-errno.EIO);
            else cutTo(size);
          });
        } else if (result < 0) {
          // The disk's own error says nothing of the chunk: cut nothing.
          done(result);
        } else {
          chunk++;
          again();
        }
      });
    });
  }

  /** Where a file ends whose chunk `chunk` does not open at the backing's size; or -errno of the disk. */
  #endOfTrust(
    io: IoBuffers,
    header: FileHeader,
    chunk: number,
    limit: number,
    then: (size: number) => void,
  ): void {
    const { geometry } = this.volume;
    const start = chunk * geometry.chunkSize;
    if (chunk >= header.chunks) {
      // A hole that the header knows of, or growth that got no data.
      then(Math.min(limit, Math.max(header.size, start)));
      return;
    }
    // A last chunk that was about to grow or was cut already has the length that the header's size gives it.
    const extent = geometry.extent(chunk, header.size);
    const last = chunk === geometry.chunksOf(header.size) - 1 && header.size <= limit;
    if (!last || extent === geometry.extent(chunk, limit)) {
      then(Math.min(limit, start));
      return;
    }
    this.#fetch(io, chunk, extent, 0, (result) => {
      if (result === 0) then(header.size);
      else then(result === NOT_AUTHENTIC ? Math.min(limit, start) : result);
    });
  }

  #bound(tag: Buffer): boolean {
    const { table, backing, directories } = this.volume;
    const length = backing.fgetxattr(this.handle, XATTR, xattr);
    if (length < 0) return false;
    const named = Buffer.alloc(16);
    const parent = directories.get(table.parent[this.slot] as number);
    const unlinked = table.has(this.slot, flag.UNLINKED) || parent === undefined;
    const place = { directory: parent?.id ?? Buffer.alloc(16), name: table.name[this.slot] as string };
    const verdict = judgeBinding(this.scope.live.since(0), xattr.subarray(0, length), place, named);
    return timingSafeEqual(named, tag) && (verdict !== 'mismatch' || unlinked);
  }

  /**
   * Before anything is sealed: an empty file that gets its first byte gets a fresh identity and is bound to its name;
   * any other goes over to the current epoch's key. 0 or -errno.
   */
  prepareToSeal(): number {
    const { header } = this;
    if (header === undefined) return this.#begin();
    if (header.epoch === this.scope.live.epoch) return 0;
    const epoch = this.keys.renew();
    if (epoch === undefined) return -errno.ENFILE;
    header.epoch = epoch;
    this.headerDirty = true;
    return 0;
  }

  #begin(): number {
    const { table, backing, directories } = this.volume;
    const { epoch, binding } = this.scope.live.current;
    randomFill(identity.address, 16);
    const fileId = Buffer.from(identity.bytes);
    const keys = FileKeys.derive(this.scope.live, fileId, epoch);
    if (keys === undefined) return -errno.ENFILE;
    const { tag } = keys;
    const parent = directories.get(table.parent[this.slot] as number);
    let bound = 0;
    if (!table.has(this.slot, flag.UNLINKED) && parent !== undefined) {
      const several = (table.nlink[this.slot] as number) > 1;
      const place = { directory: parent.id, name: table.name[this.slot] as string };
      bound = backing.fsetxattr(
        this.handle,
        XATTR,
        several ? encodeUnbound(binding, tag) : encodeBinding(binding, tag, [place]),
      );
    } else {
      bound = backing.fsetxattr(this.handle, XATTR, encodeUnbound(binding, tag));
    }
    if (bound < 0) {
      keys.close();
      return bound;
    }
    this.#keys = keys;
    const size = { size: 0, syncedSize: 0, version: 0, chunks: 0 };
    this.header = { epoch, firstEpoch: epoch, fileId, tag, ...size };
    this.headerDirty = true;
    return 0;
  }

  /** The file is empty again: its next byte begins a new identity. */
  reset(): void {
    this.#dropKey();
    this.header = undefined;
    this.headerDirty = false;
    this.#loaded = true;
  }

  /** Brings the plaintext of a stored chunk into edge `edge`. Uses the sealed buffer's start. 0 or -errno. */
  fetch(io: IoBuffers, index: number, extent: number, edge: number, done: (result: number) => void): void {
    this.#fetch(io, index, extent, edge, (result) => done(result === NOT_AUTHENTIC ? -errno.EIO : result));
  }

  #fetch(io: IoBuffers, index: number, extent: number, edge: number, done: (result: number) => void): void {
    const { geometry, chunks, executor } = this.volume;
    const at = edge * geometry.chunkSize;
    if (chunks.has(this, index, extent)) {
      chunks.copyTo(this, io.edges.address + at);
      done(0);
      return;
    }
    const length = FRAME_OVERHEAD + extent;
    const offset = geometry.frameOffset(index);
    executor.run({ op: 'pread', handle: this.handle, buffer: io.sealed, at: 0, length, offset }, (got) => {
      if (this.dead) done(-errno.ENOKEY);
      else if (got < 0) done(got);
      else if (got < length) done(NOT_AUTHENTIC);
      else if (this.keys.open(io.sealed, 0, index, extent, io.edges.address + at)) done(0);
      else done(NOT_AUTHENTIC);
    });
  }

  /** Seals the header as it is now, both copies, to the start of `into`. */
  sealHeader(into: Pinned): void {
    const header = this.header as FileHeader;
    header.version++;
    const keys = this.scope.live.at(header.epoch);
    if (keys === undefined) throw new Error('the header is of an epoch that its scope does not have');
    sealHeader(keys.header, this.#context, header, into, 0);
    into.bytes.copy(into.bytes, HEADER_BYTES, 0, HEADER_BYTES);
  }

  /** Writes the header if it is behind, and puts the modification time back. 0 or -errno (kept in `failed`). */
  flushHeader(io: IoBuffers, done: (result: number) => void): void {
    if (!this.headerDirty || this.header === undefined) {
      done(0);
      return;
    }
    const { backing, executor } = this.volume;
    backing.fstat(this.handle, stat);
    const { mtime, mtimeNs } = stat;
    this.sealHeader(io.sealed);
    executor.run(
      {
        op: 'pwrite',
        handle: this.handle,
        buffer: io.sealed,
        at: 0,
        length: HEADER_REGION,
        offset: 0,
      },
      (wrote) => {
        backing.futimes(this.handle, 0, UTIME_OMIT, mtime, mtimeNs);
        if (wrote === HEADER_REGION) {
          this.headerDirty = false;
          done(0);
        } else {
          const result = wrote < 0 ? wrote : -errno.EIO;
          this.failed ||= -result;
          done(result);
        }
      },
    );
  }

  /** Drops keys and descriptor. Nobody may be inside. */
  close(): void {
    this.#dropKey();
    this.volume.backing.close(this.handle);
  }
}
