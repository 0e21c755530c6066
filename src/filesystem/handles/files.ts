import { errno } from '../../base/errno.js';
import type { Pinned } from '../../libc/memory.js';
import { type Claim, DESCRIPTOR, type Turn, WHOLE } from '../content/file-queue.js';
import { readFile } from '../content/file-read.js';
import { truncateFile } from '../content/file-truncate.js';
import { writeFile } from '../content/file-write.js';
import { OpenFile } from '../content/open-file.js';
import type { Caller, NewObject, NodeId, OpenRequest, Reply } from '../contract.js';
import type { Handle } from '../disk/backing.js';
import { flag, type Slot } from '../inodes/inode-table.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import type { Volume } from '../inodes/volume.js';
import type { Making } from '../names/creation.js';
import type { Access, Nodes } from '../names/nodes.js';
import { Attribution } from './attributes.js';
import type { Handles, OpenHandle } from './handles.js';

/** What an operation inside a file may use. `leave` gives both back. */
export interface Inside {
  readonly io: IoBuffers;
  readonly turn: Turn;
  readonly leave: () => void;
}

const KEEP = { keepCache: true } as const;

/** Operations on the content of files. */
export class Files {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #making: Making;
  readonly #handles: Handles;
  /** Operations on attributes. */
  readonly attributes: Attribution;
  /** Bytes that WRITE brought since the start: receipts tell what a lock flushed. */
  bytesWritten = 0;

  constructor(volume: Volume, nodes: Nodes, making: Making, handles: Handles) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#making = making;
    this.#handles = handles;
    this.attributes = new Attribution(volume, nodes, this);
  }

  /** The open file of a slot, opened if need be, with one more handle on it; or -errno. */
  hold(slot: Slot): OpenFile | number {
    const { files, directories, backing } = this.#volume;
    let file = files.get(slot);
    if (file === undefined) {
      const place = directories.place(slot);
      if (place === undefined) return -errno.ESTALE;
      const handle = backing.openFile(place.handle, place.name);
      if (handle < 0) return handle;
      file = this.#attach(slot, handle);
    }
    file.opens++;
    return file;
  }

  #attach(slot: Slot, handle: number): OpenFile {
    const file = new OpenFile(this.#volume, slot, this.#volume.scopeOf(slot), handle);
    this.#volume.files.set(slot, file);
    return file;
  }

  /** Closes a file without handles (somebody may have opened it again meanwhile), or one that a lock has killed. */
  end(file: OpenFile): void {
    const { files, table } = this.#volume;
    if (file.closed || (file.opens > 0 && !file.dead)) return;
    if (files.get(file.slot) === file) files.delete(file.slot);
    file.close();
    // Mapped pages were written before the kernel let go of the file (fuse_vma_close): none is dirty now.
    table.clear(file.slot, flag.WRITABLE);
  }

  /** One handle less; the last one writes the header back and closes. */
  drop(file: OpenFile, done: () => void): void {
    file.opens--;
    const end = (): void => {
      this.end(file);
      done();
    };
    if (file.opens > 0) {
      done();
      return;
    }
    if (file.dead) {
      // A job may still be inside, on this descriptor.
      file.queue.whenIdle(end);
      return;
    }
    const refused = (): void => file.queue.whenIdle(end);
    this.inside(
      file,
      () => WHOLE,
      undefined,
      { refused },
      ({ io, leave }) => {
        file.flushHeader(io, (result) => {
          leave();
          const lost = result < 0 && !file.dead && !this.#volume.table.has(file.slot, flag.UNLINKED);
          if (lost) {
            // close(2) was answered long ago: nobody but the log can be told. What is right is here alone, so the file
            // stays: the next open finds it, and its last close or the lock tries again.
            this.#volume.onWriteBackFailed(file.slot, -result);
            done();
            return;
          }
          file.queue.whenIdle(end);
        });
      },
    );
  }

  #handle(file: OpenFile, own = false): number {
    const { slot, scope } = file;
    return this.#handles.add({ slot, scope, file, listing: undefined, own, dead: false });
  }

  create(parent: NodeId, name: string, wanted: NewObject, caller: Caller, reply: Reply): void {
    this.#created(this.#making.createFile(parent, name, wanted, caller), reply);
  }
  /** O_TMPFILE. */
  createUnnamed(parent: NodeId, wanted: NewObject, caller: Caller, reply: Reply): void {
    this.#created(this.#making.createUnnamed(parent, wanted, caller), reply);
  }
  #created(made: { slot: Slot; handle: Handle } | number, reply: Reply): void {
    if (typeof made === 'number') {
      reply.error(-made);
      return;
    }
    const { table } = this.#volume;
    const file = this.#attach(made.slot, made.handle);
    file.opens = 1;
    // Nothing is stored yet, so there is nothing to load.
    file.reset();
    table.set(made.slot, flag.PAGES | flag.WRITABLE);
    const attributes = this.#nodes.attributes(made.slot);
    if (typeof attributes === 'number') {
      reply.error(-attributes);
      return;
    }
    table.lookups[made.slot] = (table.lookups[made.slot] as number) + 1;
    reply.created(table.node(made.slot), attributes, this.#handle(file));
  }

  open(node: NodeId, request: OpenRequest, caller: Caller, reply: Reply): void {
    const access = request.write || request.truncate ? 'change' : 'use';
    const slot = this.#nodes.usable(node, caller, access);
    const spent = slot < 0 || caller.trusted ? 0 : (this.#volume.scopeOf(slot).meter?.open() ?? 0);
    const file = slot < 0 ? slot : spent < 0 ? spent : this.hold(slot);
    if (typeof file === 'number') {
      reply.error(-file);
      return;
    }
    const { table } = this.#volume;
    table.set(slot, flag.PAGES | (request.write ? flag.WRITABLE : 0));
    if (!request.truncate) {
      reply.opened(this.#handle(file, caller.trusted), KEEP);
      return;
    }
    if (request.killPrivileges) this.attributes.killPrivileges(slot);
    const refused = (): void => this.drop(file, () => {});
    this.inside(
      file,
      () => WHOLE,
      reply,
      { refused },
      ({ io, leave }) => {
        truncateFile(file, io, 0, (result) => {
          table.set(slot, flag.STALE);
          leave();
          if (result < 0) this.drop(file, () => reply.error(-result));
          else reply.opened(this.#handle(file), KEEP);
        });
      },
    );
  }

  /**
   * Runs `body` in a file, once those before it have left. `claim` is asked again when its turn comes; `load`: the
   * header is read first. `refused`: the body will never run, and `reply` has its error.
   */
  inside(
    file: OpenFile,
    claim: () => Claim,
    reply: Reply | undefined,
    { load = false, refused = () => {} }: { load?: boolean; refused?: () => void },
    body: (inside: Inside) => void,
  ): void {
    const needed = (): Claim => (load && !file.loaded ? WHOLE : claim());
    const start = (turn: Turn): void => {
      const now = turn.waited ? needed() : turn.claim;
      if (now.exclusive && now.to > turn.claim.to) {
        // The file changed while this one waited.
        turn.widen(WHOLE);
        return;
      }
      const io = this.#volume.io.take();
      turn.io = io;
      const leave = (): void => {
        this.#volume.io.give(io, file.dead);
        turn.leave();
      };
      if (!load || file.loaded) {
        body({ io, turn, leave });
        return;
      }
      file.load(io, (result) => {
        if (result < 0) {
          leave();
          refused();
          reply?.error(-result);
        } else {
          turn.narrow(claim());
          body({ io, turn, leave });
        }
      });
    };
    file.queue.enter(needed(), reply, start, refused);
  }

  /** The file behind a request's handle, alive and of the right node; or undefined, and `reply` has the error. */
  fileOf(node: NodeId, number: number, caller: Caller, access: Access, reply: Reply): OpenFile | undefined {
    const handle = this.#opened(node, number, caller, access);
    if (typeof handle !== 'number' && handle.file !== undefined) return handle.file;
    reply.error(typeof handle === 'number' ? -handle : errno.EBADF);
    return undefined;
  }

  /** The handle of a request, alive, of the right node; or -errno. */
  #opened(node: NodeId, number: number, caller: Caller, access: Access): OpenHandle | number {
    const handle = this.#handles.get(number);
    if (handle === undefined) return -errno.EBADF;
    if (handle.dead) return -errno.ENOKEY;
    const slot = this.#nodes.usable(node, caller, access);
    if (slot < 0) return slot;
    return handle.slot === slot ? handle : -errno.EBADF;
  }

  read(node: NodeId, number: number, offset: number, length: number, caller: Caller, reply: Reply): void {
    const file = this.fileOf(node, number, caller, 'handle', reply);
    if (file === undefined) return;
    const claim = file.claim(offset, length, false);
    this.inside(
      file,
      () => claim,
      reply,
      { load: true },
      ({ io, leave }) => {
        const spent = file.scope.spend(Math.max(0, Math.min(length, file.size - offset)));
        if (spent < 0) {
          leave();
          reply.error(-spent);
          return;
        }
        const { buffer, at } = reply.data(length);
        readFile(file, io, offset, length, buffer, at, (result) => {
          if (result > 0) this.attributes.accessed(file);
          leave();
          if (result < 0) reply.error(-result);
          else reply.read(result);
        });
      },
    );
  }

  /** `fromCache`: the kernel writes back pages; allowed while the scope is being locked. */
  write(
    node: NodeId,
    number: number,
    offset: number,
    source: Pinned,
    at: number,
    length: number,
    options: { fromCache: boolean; killPrivileges: boolean },
    caller: Caller,
    reply: Reply,
  ): void {
    const file = this.fileOf(node, number, caller, options.fromCache ? 'drain' : 'handle', reply);
    if (file === undefined) return;
    const claim = (): Claim => (file.stores(offset, length) ? file.claim(offset, length, true) : WHOLE);
    this.inside(file, claim, reply, { load: true }, ({ io, leave }) => {
      if (options.killPrivileges) this.attributes.killPrivileges(file.slot);
      writeFile(file, io, offset, source, at, length, (result) => {
        this.#volume.table.set(file.slot, flag.STALE);
        leave();
        if (result < 0) {
          reply.error(-result);
        } else {
          this.bytesWritten += result;
          reply.written(result);
        }
      });
    });
  }

  fsync(node: NodeId, number: number, dataOnly: boolean, caller: Caller, reply: Reply): void {
    const file = this.fileOf(node, number, caller, 'drain', reply);
    if (file === undefined) return;
    // Loaded, so that the synced size is known also where this program wrote nothing.
    this.inside(
      file,
      () => WHOLE,
      reply,
      { load: true },
      (inside) => {
        this.#sync(file, inside, dataOnly, (result) => {
          inside.leave();
          if (result < 0) reply.error(-result);
          else reply.ok();
        });
      },
    );
  }

  /** Makes a file durable; others read and write it meanwhile. A failed fsync stays failed. 0 or -errno. */
  #sync(file: OpenFile, { io, turn }: Inside, dataOnly: boolean, done: (result: number) => void): void {
    const { header, holes } = file;
    const size = header?.size ?? 0;
    const chunks = header?.chunks ?? 0;
    file.flushHeader(io, (flushed) => {
      if (file.failed !== 0 || flushed < 0) {
        done(file.failed !== 0 ? -file.failed : flushed);
        return;
      }
      const op = dataOnly && !holes.unsynced ? 'fdatasync' : 'fsync';
      const { cuts } = file;
      const { changes } = holes;
      const map = header?.mapVersion ?? 0;
      const wasUnsynced = holes.unsynced;
      holes.unsynced = false;
      this.#volume.executor.run({ op, handle: file.handle }, (result) => {
        if (result < 0) file.failed ||= -result;
        if (result < 0 && wasUnsynced) holes.unsynced = true;
        // Only now: a header that claimed it before the data was durable would condemn the file at a power cut.
        const same = header !== undefined && file.header === header && file.cuts === cuts;
        const synced = Math.min(size, header?.size ?? 0);
        if (result >= 0 && same && !file.dead && header.syncedSize < synced) {
          header.syncedSize = synced;
          file.headerDirty = true;
        }
        if (result >= 0 && same && !file.dead && holes.changes === changes) {
          holes.settle();
          if (header.sparse && header.syncedMapVersion < map) {
            header.syncedMapVersion = map;
            file.headerDirty = true;
          }
          if (header.syncedChunks < chunks) {
            header.syncedChunks = Math.min(chunks, header.chunks);
            file.headerDirty = true;
          }
        }
        done(file.dead ? -errno.ENOKEY : result);
      });
      if (!turn.left) turn.narrow(DESCRIPTOR);
    });
  }

  release(number: number, reply: Reply): void {
    const handle = this.#handles.get(number);
    this.#handles.remove(number);
    if (handle?.file === undefined) reply.ok();
    else this.drop(handle.file, () => reply.ok());
  }
}
