import { errno } from '../base/errno.js';
import { UTIME_NOW, UTIME_OMIT } from '../libc/files.js';
import type { Pinned } from '../libc/memory.js';
import type { AttributeChange, Caller, NodeId, OpenRequest, Reply } from './contract.js';
import { readFile } from './file-read.js';
import { truncateFile } from './file-truncate.js';
import { writeFile } from './file-write.js';
import type { Handles, OpenHandle } from './handles.js';
import { flag, ROOT_SLOT, type Slot } from './inode-table.js';
import type { Namespace } from './namespace.js';
import type { Access, Nodes } from './nodes.js';
import { OpenFile } from './open-file.js';
import type { Volume } from './volume.js';

const KEEP = { keepCache: true, cacheDirectory: false } as const;
const SUID = 0o4000;
const SGID = 0o2000;
const GROUP_EXECUTE = 0o010;

/** Operations on the content and attributes of files. */
export class Files {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #namespace: Namespace;
  readonly #handles: Handles;
  /** Bytes that WRITE brought since the start: receipts tell what a lock flushed. */
  bytesWritten = 0;

  constructor(volume: Volume, nodes: Nodes, namespace: Namespace, handles: Handles) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#namespace = namespace;
    this.#handles = handles;
  }

  /** The open file of a slot, opened if need be, with one more handle on it; or -errno. */
  #hold(slot: Slot): OpenFile | number {
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

  /** One handle less; the last one writes the header back and closes. */
  #drop(file: OpenFile, done: () => void): void {
    file.opens--;
    const end = (): void => {
      const { files } = this.#volume;
      // Somebody may have opened it again while the header was written.
      if (file.opens === 0 && files.get(file.slot) === file) {
        files.delete(file.slot);
        file.close();
        // Mapped pages were written before the kernel let go of the file (fuse_vma_close): none is dirty now.
        this.#volume.table.clear(file.slot, flag.WRITABLE);
      }
      done();
    };
    if (file.opens > 0) {
      done();
      return;
    }
    if (file.dead) {
      end();
      return;
    }
    file.enter(undefined, () => {
      const io = this.#volume.io.take();
      file.flushHeader(io, (result) => {
        this.#volume.io.give(io);
        file.leave();
        // close(2) was answered long ago: nobody but the log can be told.
        if (result < 0 && !file.dead) this.#volume.onWriteBackFailed(file.slot, -result);
        end();
      });
    });
  }

  #handle(file: OpenFile, own = false): number {
    const { slot, scope } = file;
    return this.#handles.add({ slot, scope, file, listing: undefined, own, dead: false });
  }

  create(parent: NodeId, name: string, mode: number, caller: Caller, reply: Reply): void {
    const made = this.#namespace.createFile(parent, name, mode, caller);
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
    const slot = this.#nodes.usable(node, caller, 'use');
    const file = slot < 0 ? slot : this.#hold(slot);
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
    if (request.killPrivileges) this.#killPrivileges(slot);
    this.#inside(file, reply, (io, leave) => {
      truncateFile(file, io, 0, (result) => {
        table.set(slot, flag.STALE);
        leave();
        if (result < 0) this.#drop(file, () => reply.error(-result));
        else reply.opened(this.#handle(file), KEEP);
      });
    });
  }

  /** Enters a file with a set of buffers; loads its header first. */
  #inside(
    file: OpenFile,
    reply: Reply,
    body: (io: ReturnType<Volume['io']['take']>, leave: () => void) => void,
    load = false,
  ): void {
    file.enter(reply, () => {
      const io = this.#volume.io.take();
      const leave = (): void => {
        this.#volume.io.give(io);
        file.leave();
      };
      if (!load) {
        body(io, leave);
        return;
      }
      file.load(io, (result) => {
        if (result < 0) {
          leave();
          reply.error(-result);
        } else {
          body(io, leave);
        }
      });
    });
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
    const handle = this.#opened(node, number, caller, 'use');
    const file = typeof handle === 'number' ? undefined : handle.file;
    if (file === undefined) {
      reply.error(typeof handle === 'number' ? -handle : errno.EBADF);
      return;
    }
    const load = true;
    this.#inside(
      file,
      reply,
      (io, leave) => {
        const { buffer, at } = reply.data(length);
        readFile(file, io, offset, length, buffer, at, (result) => {
          leave();
          if (result < 0) reply.error(-result);
          else reply.read(result);
        });
      },
      load,
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
    const handle = this.#opened(node, number, caller, options.fromCache ? 'drain' : 'use');
    const file = typeof handle === 'number' ? undefined : handle.file;
    if (file === undefined) {
      reply.error(typeof handle === 'number' ? -handle : errno.EBADF);
      return;
    }
    if (options.killPrivileges) this.#killPrivileges(file.slot);
    const load = true;
    this.#inside(
      file,
      reply,
      (io, leave) => {
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
      },
      load,
    );
  }

  /** Clears set-user-id, and set-group-id where the group may execute (HANDLE_KILLPRIV_V2, inode_should_drop_sgid). */
  #killPrivileges(slot: Slot): void {
    const { table, files, backing, directories } = this.#volume;
    const mode = table.mode[slot] as number;
    let next = mode & ~SUID;
    if ((mode & GROUP_EXECUTE) !== 0) next &= ~SGID;
    if (next === mode) return;
    const file = files.get(slot);
    const place = file === undefined ? directories.place(slot) : undefined;
    if (file !== undefined) backing.fchmod(file.handle, next & 0o7777);
    else if (place !== undefined) backing.chmod(place.handle, place.name, next & 0o7777);
    table.mode[slot] = next;
  }

  fsync(node: NodeId, number: number, dataOnly: boolean, caller: Caller, reply: Reply): void {
    const handle = this.#opened(node, number, caller, 'drain');
    const file = typeof handle === 'number' ? undefined : handle.file;
    if (file === undefined) {
      reply.error(typeof handle === 'number' ? -handle : errno.EBADF);
      return;
    }
    // Loaded, so that the synced size is known also where this program wrote nothing.
    const load = true;
    this.#inside(
      file,
      reply,
      (io, leave) => {
        this.sync(file, io, dataOnly, (result) => {
          leave();
          if (result < 0) reply.error(-result);
          else reply.ok();
        });
      },
      load,
    );
  }

  /** Makes a file durable; the caller is inside it. A failed fsync stays failed. 0 or -errno. */
  sync(
    file: OpenFile,
    io: ReturnType<Volume['io']['take']>,
    dataOnly: boolean,
    done: (result: number) => void,
  ): void {
    const { header } = file;
    const size = header?.size ?? 0;
    file.flushHeader(io, (flushed) => {
      if (file.failed !== 0 || flushed < 0) {
        done(file.failed !== 0 ? -file.failed : flushed);
        return;
      }
      const op = dataOnly ? 'fdatasync' : 'fsync';
      this.#volume.executor.run({ op, handle: file.handle }, (result) => {
        if (result < 0) file.failed ||= -result;
        // Only now: a header that claimed it before the data was durable would condemn the file at a power cut.
        if (result >= 0 && header !== undefined && !file.dead && header.syncedSize !== size) {
          header.syncedSize = size;
          file.headerDirty = true;
        }
        done(file.dead ? -errno.ENOKEY : result);
      });
    });
  }

  release(number: number, reply: Reply): void {
    const handle = this.#handles.get(number);
    this.#handles.remove(number);
    if (handle?.file === undefined) reply.ok();
    else this.#drop(handle.file, () => reply.ok());
  }

  getattr(node: NodeId, withHandle: boolean, caller: Caller, reply: Reply): void {
    const { table } = this.#volume;
    const slot = table.slot(node);
    if (slot === 0) {
      reply.error(errno.ESTALE);
      return;
    }
    // While locking, a writer that holds the file must notice: else it goes on dirtying whole pages (FACTS.md).
    const locking = this.#volume.scopeOf(slot).state === 'locking';
    if (table.has(slot, flag.DEAD) || (locking && withHandle && !caller.trusted)) {
      reply.error(errno.ENOKEY);
      return;
    }
    const attributes = this.#nodes.attributes(slot);
    if (typeof attributes === 'number') reply.error(-attributes);
    else reply.attributes(attributes);
  }

  setattr(node: NodeId, change: AttributeChange, caller: Caller, reply: Reply): void {
    const timesOnly =
      change.size === undefined &&
      change.mode === undefined &&
      change.uid === undefined &&
      change.gid === undefined;
    // Times alone may come from a kernel thread that writes an inode back: never judged by caller.
    const slot = this.#nodes.usable(node, caller, timesOnly ? 'drain' : 'use');
    if (slot < 0) {
      reply.error(-slot);
      return;
    }
    if (change.size === undefined) {
      const file = this.#volume.files.get(slot);
      if (file === undefined || !file.busy || change.mtime === undefined) {
        this.#finishSetattr(slot, change, reply);
        return;
      }
      // A header write under way puts back the modification time that it found: wait for it.
      file.enter(reply, () => {
        this.#finishSetattr(slot, change, reply);
        file.leave();
      });
      return;
    }
    const { size } = change;
    if (!this.#volume.table.isRegular(slot)) {
      reply.error(errno.EINVAL);
      return;
    }
    const file = this.#hold(slot);
    if (typeof file === 'number') {
      reply.error(-file);
      return;
    }
    const load = size !== 0;
    this.#inside(
      file,
      reply,
      (io, leave) => {
        truncateFile(file, io, size, (result) => {
          this.#volume.table.set(slot, flag.STALE);
          leave();
          this.#drop(file, () => {
            if (result < 0) reply.error(-result);
            else this.#finishSetattr(slot, change, reply);
          });
        });
      },
      load,
    );
  }

  #finishSetattr(slot: Slot, change: AttributeChange, reply: Reply): void {
    const done = this.#change(slot, change);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    this.#volume.table.set(slot, flag.STALE);
    const attributes = this.#nodes.attributes(slot);
    if (typeof attributes === 'number') reply.error(-attributes);
    else reply.attributes(attributes);
  }

  #change(slot: Slot, change: AttributeChange): number {
    const { table, backing, directories, files } = this.#volume;
    const file = files.get(slot);
    const handle = file?.handle ?? (slot === ROOT_SLOT ? backing.root : undefined);
    const place = handle === undefined ? directories.place(slot) : undefined;
    if (handle === undefined && place === undefined) return -errno.ESTALE;
    const on = <T>(byHandle: (h: number) => T, byName: (dir: number, name: string) => T): T =>
      place === undefined ? byHandle(handle as number) : byName(place.handle, place.name);
    const chmod = (mode: number): number =>
      on(
        (h) => backing.fchmod(h, mode),
        (dir, name) => backing.chmod(dir, name, mode),
      );
    let done = 0;
    const before = table.mode[slot] as number;
    if (change.uid !== undefined || change.gid !== undefined) {
      const uid = change.uid ?? -1;
      const gid = change.gid ?? -1;
      done = on(
        (h) => backing.fchown(h, uid, gid),
        (dir, name) => backing.chown(dir, name, uid, gid),
      );
      if (done < 0) return done;
      // chown(2) by us, as root, clears both bits; put back what an ordinary chown would have kept.
      let keep = before;
      if (change.killPrivileges === true) {
        keep &= ~SUID;
        if ((before & GROUP_EXECUTE) !== 0) keep &= ~SGID;
      }
      if (table.isRegular(slot) && change.mode === undefined && (before & (SUID | SGID)) !== 0) {
        done = chmod(keep & 0o7777);
      }
    } else if (change.killPrivileges === true && change.mode === undefined) {
      this.#killPrivileges(slot);
    }
    if (done >= 0 && change.mode !== undefined) done = chmod(change.mode & 0o7777);
    if (done >= 0 && (change.atime !== undefined || change.mtime !== undefined)) {
      const [a, aNs] = timeOf(change.atime);
      const [m, mNs] = timeOf(change.mtime);
      done = on(
        (h) => backing.futimes(h, a, aNs, m, mNs),
        (dir, name) => backing.utimes(dir, name, a, aNs, m, mNs),
      );
    }
    return done;
  }
}

function timeOf(time: readonly [number, number] | 'now' | undefined): readonly [number, number] {
  if (time === undefined) return [0, UTIME_OMIT];
  return time === 'now' ? [0, UTIME_NOW] : time;
}
