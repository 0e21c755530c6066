import { errno } from '../../base/errno.js';
import { type FileHeader, type HeaderContext, sealHeader } from '../../format/file/file-header.js';
import { FRAME_OVERHEAD, HEADER_BYTES } from '../../format/file/geometry.js';
import { mapFileName } from '../../format/file/hole-map.js';
import { encodeBinding, encodeUnbound, XATTR } from '../../format/names/binding.js';
import { UTIME_NOW, UTIME_OMIT } from '../../libc/files.js';
import { type Pinned, pinned, randomFill } from '../../libc/memory.js';
import type { Descriptor, Job } from '../disk/backing.js';
import { flag, type Slot } from '../inodes/inode-table.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import type { Scope } from '../inodes/scope.js';
import type { Volume } from '../inodes/volume.js';
import { FileHoles } from './file-holes.js';
import { FileKeys } from './file-keys.js';
import { type Claim, FileQueue } from './file-queue.js';

/** Inside this file: a chunk was read and is not what was written. Outside it is EIO. No errno: a disk has those. */
export const NOT_AUTHENTIC = -(2 ** 20);

/** From so many bytes on the backing takes its time to free a file's blocks. */
export const LARGE = 16 << 20;

/** A job on a file's own descriptor, which {@link OpenFile.run} fills in. */
export type FileJob<J extends Job = Job> = J extends { descriptor: Descriptor }
  ? Omit<J, 'descriptor'>
  : never;

/** A chunk as stored: `extent` bytes of plaintext. */
export interface StoredChunk {
  readonly index: number;
  readonly extent: number;
}

const identity = pinned(16);

/**
 * A regular file with open handles: header, key and order of operations (`queue`). Whoever has the whole file owns
 * every field; whoever has some of its chunks may read them.
 */
export class OpenFile {
  readonly volume: Volume;
  readonly slot: Slot;
  readonly scope: Scope;
  readonly descriptor: Descriptor;
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
  closed = false;
  /** For which day and state of the file its access time was last set. */
  /** Reads and writes by way of the kernel's page cache, and direct writes since the last one. */
  cacheUses = 0;
  directWrites = 0;
  accessedAt = '';
  /** Counts shrinkings: an fsync under way meanwhile says nothing of the size. */
  cuts = 0;
  /** Among the chunks ever written. */
  readonly holes = new FileHoles();
  readonly queue = new FileQueue();
  #loaded = false;
  #keys: FileKeys | undefined;

  constructor(volume: Volume, slot: Slot, scope: Scope, descriptor: Descriptor) {
    this.volume = volume;
    this.slot = slot;
    this.scope = scope;
    this.descriptor = descriptor;
  }

  get size(): number {
    return this.volume.table.size[this.slot] as number;
  }
  get keys(): FileKeys {
    if (this.#keys === undefined) throw new Error('file has no key');
    return this.#keys;
  }

  /** Answers all that is under way with ENOKEY and forgets key and plaintext. A late job finds the file dead. */
  kill(): void {
    this.dead = true;
    this.queue.kill();
    this.#dropKey();
    this.header = undefined;
  }

  #dropKey(): void {
    this.volume.chunks.drop(this);
    this.#keys?.close();
    this.#keys = undefined;
  }

  get context(): HeaderContext {
    return {
      scope: this.scope.id,
      suite: this.volume.suite.id,
      chunkSize: this.volume.geometry.chunkSize,
    };
  }

  /** Its header was read, or there is none. */
  get loaded(): boolean {
    return this.#loaded;
  }
  /** What was loaded: nothing for an empty file. */
  adopt(found: { header: FileHeader; keys: FileKeys; dirty: boolean } | undefined): void {
    this.holes.reset();
    this.header = found?.header;
    this.#keys = found?.keys;
    this.headerDirty = found?.dirty ?? false;
    this.#loaded = true;
  }
  /** The load failed: the next attempt begins anew. */
  unload(): void {
    if (!this.dead) this.reset();
    this.#loaded = false;
  }

  /** Header or hole map on disk are behind the ones here. */
  get behind(): boolean {
    return this.headerDirty || this.holes.dirty;
  }
  /** Whether a chunk is stored: the rest are holes. */
  hasChunk(index: number): boolean {
    return index >= 0 && index < (this.header?.chunks ?? 0) && !this.holes.has(index);
  }
  /** Whether all of these bytes are stored, so that writing them changes no size. */
  stores(offset: number, length: number): boolean {
    const { header } = this;
    const end = offset + length;
    if (header === undefined || header.version === 0 || end > this.size) return false;
    const { geometry } = this.volume;
    if (end > header.chunks * geometry.chunkSize) return false;
    return this.holes.none || !this.holes.overlaps(geometry.chunkOf(offset), geometry.chunksOf(end));
  }

  /** The chunks that hold these bytes. */
  claim(offset: number, length: number, exclusive: boolean): Claim {
    const { chunkSize } = this.volume.geometry;
    const from = Math.floor(offset / chunkSize) * chunkSize;
    return { from, to: Math.ceil((offset + length) / chunkSize) * chunkSize, exclusive };
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
    // A header and its map are of one epoch.
    if (!this.holes.clean) this.holes.dirty = true;
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
        this.descriptor,
        XATTR,
        several ? encodeUnbound(binding, tag) : encodeBinding(binding, tag, [place]),
      );
    } else {
      bound = backing.fsetxattr(this.descriptor, XATTR, encodeUnbound(binding, tag));
    }
    if (bound < 0) {
      keys.close();
      return bound;
    }
    this.#keys = keys;
    const size = {
      size: 0,
      syncedSize: 0,
      version: 0,
      chunks: 0,
      syncedChunks: 0,
      sparse: false,
      mapVersion: 0,
      syncedMapVersion: 0,
    };
    this.header = { epoch, firstEpoch: epoch, fileId, tag, ...size, session: this.volume.session };
    this.headerDirty = true;
    return 0;
  }

  /** The file is empty again: its next byte begins a new identity. */
  reset(): void {
    this.#dropKey();
    this.header = undefined;
    this.headerDirty = false;
    this.holes.reset();
    this.#loaded = true;
  }

  /**
   * The one door to what the disk has of this file: runs a job on its descriptor, and goes on with its result. An operation
   * whose scope was wiped meanwhile ends here, `done` with -ENOKEY: header, keys and slot are gone (the descriptor stays
   * until the operation leaves).
   */
  run(job: FileJob, done: (result: number) => void, then: (result: number) => void): void {
    this.volume.executor.run({ ...job, descriptor: this.descriptor }, (result) => {
      if (this.dead) done(-errno.ENOKEY);
      else then(result);
    });
  }
  /** Goes on with a long computation when waiting requests had a turn. As {@link run}. */
  yield(done: (result: number) => void, then: () => void): void {
    this.volume.executor.yield(() => {
      if (this.dead) done(-errno.ENOKEY);
      else then();
    });
  }
  /** Sets the modification time: now, or what it was (seconds and nanoseconds). 0 or -errno. */
  touch(mtime = 0, mtimeNs = UTIME_NOW): number {
    return this.volume.backing.futimes(this.descriptor, 0, UTIME_OMIT, mtime, mtimeNs);
  }

  /** Brings the plaintext of a stored chunk into edge `edge`. Uses the sealed buffer's start. 0 or -errno. */
  fetch(io: IoBuffers, chunk: StoredChunk, edge: number, done: (result: number) => void): void {
    this.fetchRaw(io, chunk, edge, (result) => done(result === NOT_AUTHENTIC ? -errno.EIO : result));
  }
  /** As {@link fetch}, but {@link NOT_AUTHENTIC} where what is stored is not the chunk. */
  fetchRaw(
    io: IoBuffers,
    { index, extent }: StoredChunk,
    edge: number,
    done: (result: number) => void,
  ): void {
    const { geometry, chunks } = this.volume;
    const at = edge * geometry.chunkSize;
    if (chunks.has(this, index, extent)) {
      chunks.copyTo(this, io.edges.address + at);
      done(0);
      return;
    }
    const length = FRAME_OVERHEAD + extent;
    const offset = geometry.frameOffset(index);
    this.run({ op: 'pread', buffer: io.sealed, at: 0, length, offset }, done, (got) => {
      if (got < 0) done(got);
      else if (got < length) done(NOT_AUTHENTIC);
      else if (this.keys.open(io.sealed, 0, index, extent, io.edges.address + at)) done(0);
      else done(NOT_AUTHENTIC);
    });
  }

  /** Seals the header as it is now, both copies, to the start of `into`. */
  sealHeader(into: Pinned): void {
    const header = this.header as FileHeader;
    header.version++;
    header.session = this.volume.session;
    const keys = this.scope.live.at(header.epoch);
    if (keys === undefined) throw new Error('the header is of an epoch that its scope does not have');
    sealHeader(keys.header, this.context, header, into, 0);
    into.bytes.copy(into.bytes, HEADER_BYTES, 0, HEADER_BYTES);
  }

  /** Drops keys and descriptor. Nobody may be inside. The last close of an unlinked file frees its blocks. */
  close(): void {
    this.closed = true;
    this.#dropKey();
    const { table, backing, executor } = this.volume;
    const size = table.size[this.slot] as number;
    // Its hole map goes with a file that has no name.
    if (this.holes.filed && this.header !== undefined && table.has(this.slot, flag.UNLINKED)) {
      backing.unlink(backing.root, mapFileName(this.header.tag));
    }
    if (size < LARGE || !table.has(this.slot, flag.UNLINKED)) backing.close(this.descriptor);
    else executor.run({ op: 'close', descriptor: this.descriptor }, () => {});
  }
}
