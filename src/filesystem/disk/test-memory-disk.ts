import { errno } from '../../base/errno.js';
import type { DirectoryEntry, FilesystemUsage } from '../../libc/files.js';
import type { Stat } from '../../libc/stat.js';
import { type Backing, type Descriptor, type Job, RENAME_EXCHANGE } from './backing.js';
import { MemoryAttributes } from './test-memory-attributes.js';
import {
  copyInodes,
  duplicate,
  fillStat,
  type Inode,
  readInode,
  refusedRename,
  type Transfer,
  writeInode,
} from './test-memory-inode.js';

export interface DiskFaults {
  /** Called before each call or job; a negative result fails it. */
  before?: (call: string) => number;
  /** Bytes of file data that fit; a write beyond is cut short or ENOSPC. */
  capacity?: number;
}

/**
 * A disk in memory. Metadata changes are logged: after a crash a prefix of them is there that reaches at least to the
 * last fsync; of file data what was fsynced is there and the rest is not. The full crash model comes with the
 * journal.
 */
export class MemoryDisk extends MemoryAttributes implements Backing {
  readonly root: Descriptor = 0;
  readonly faults: DiskFaults = {};
  readonly #handles = new Map<Descriptor, number>([[0, 1]]);
  #nextHandle = 1;
  /** A new disk as it would be found after a power cut: the first `changes` logged metadata changes happened. */
  crash(changes: number = this.changes): MemoryDisk {
    const disk = new MemoryDisk();
    this.crashInto(disk, changes);
    return disk;
  }
  isOpen(descriptor: Descriptor): boolean {
    return this.#handles.has(descriptor);
  }
  get openHandles(): number {
    return this.#handles.size - 1;
  }
  protected override fault(call: string): number {
    return this.faults.before?.(call) ?? 0;
  }
  protected override byHandle(descriptor: Descriptor): Inode | undefined {
    return this.inodes.get(this.#handles.get(descriptor) ?? -1);
  }
  protected override lookup(dir: Descriptor, name: string): Inode | number {
    const parent = this.byHandle(dir);
    if (parent?.children === undefined) return -errno.ENOTDIR;
    const id = parent.children.get(name);
    return id === undefined ? -errno.ENOENT : (this.inodes.get(id) as Inode);
  }
  #open(inode: Inode): Descriptor {
    const descriptor = this.#nextHandle++;
    this.#handles.set(descriptor, inode.id);
    return descriptor;
  }

  stat(dir: Descriptor, name: string, into: Stat): number {
    const inode = this.lookup(dir, name);
    if (typeof inode === 'number') return inode;
    fillStat(into, inode);
    return 0;
  }
  fstat(descriptor: Descriptor, into: Stat): number {
    const inode = this.byHandle(descriptor);
    if (inode === undefined) return -errno.EBADF;
    fillStat(into, inode);
    return 0;
  }
  openDirectory(dir: Descriptor, name: string): Descriptor {
    const fault = this.fault('openDirectory');
    if (fault < 0) return fault;
    const inode = name === '.' ? this.byHandle(dir) : this.lookup(dir, name);
    if (inode === undefined) return -errno.EBADF;
    if (typeof inode === 'number') return inode;
    return inode.children === undefined ? -errno.ENOTDIR : this.#open(inode);
  }
  openFile(dir: Descriptor, name: string): Descriptor {
    const fault = this.fault('openFile');
    if (fault < 0) return fault;
    const inode = this.lookup(dir, name);
    if (typeof inode === 'number') return inode;
    return (inode.mode & 0o170000) === 0o100000 ? this.#open(inode) : -errno.ELOOP;
  }
  #insert(dir: Descriptor, name: string, mode: number, target = ''): Inode | number {
    const parent = this.byHandle(dir);
    if (parent?.children === undefined) return -errno.ENOTDIR;
    if (parent.children.has(name)) return -errno.EEXIST;
    const fresh = this.make(this.nextInode++, mode);
    fresh.target = target;
    fresh.data = Buffer.from('');
    this.change((image) => {
      image.set(fresh.id, duplicate(fresh));
      const home = image.get(parent.id) as Inode;
      home.children?.set(name, fresh.id);
      if (fresh.children !== undefined) home.nlink++;
    });
    return this.inodes.get(fresh.id) as Inode;
  }
  createFile(dir: Descriptor, name: string, mode: number): Descriptor {
    const fault = this.fault('createFile');
    if (fault < 0) return fault;
    const inode = this.#insert(dir, name, 0o100000 | mode);
    return typeof inode === 'number' ? inode : this.#open(inode);
  }
  createUnnamed(dir: Descriptor, mode: number): Descriptor {
    const fault = this.fault('createUnnamed');
    if (fault < 0) return fault;
    if (this.byHandle(dir)?.children === undefined) return -errno.ENOTDIR;
    const inode = this.make(this.nextInode++, 0o100000 | mode);
    inode.nlink = 0;
    this.change((image) => image.set(inode.id, duplicate(inode)));
    return this.#open(this.inodes.get(inode.id) as Inode);
  }
  linkDescriptor(descriptor: Descriptor, dir: Descriptor, name: string): number {
    const fault = this.fault('link');
    return fault < 0 ? fault : this.#link(this.byHandle(descriptor) ?? -errno.EBADF, dir, name);
  }
  makeNode(dir: Descriptor, name: string, mode: number, major: number, minor: number): number {
    const fault = this.fault('makeNode');
    if (fault < 0) return fault;
    const inode = this.#insert(dir, name, mode);
    if (typeof inode === 'number') return inode;
    inode.device = [major, minor];
    return 0;
  }
  close(descriptor: Descriptor): void {
    this.#handles.delete(descriptor);
    this.#readers.delete(descriptor);
  }
  hold(dir: Descriptor, name: string): Descriptor {
    const fault = this.fault('hold');
    if (fault < 0) return fault;
    const inode = this.lookup(dir, name);
    return typeof inode === 'number' ? inode : this.#open(inode);
  }
  mkdir(dir: Descriptor, name: string, mode: number): number {
    const fault = this.fault('mkdir');
    if (fault < 0) return fault;
    const inode = this.#insert(dir, name, 0o040000 | mode);
    return typeof inode === 'number' ? inode : 0;
  }
  symlink(target: string, dir: Descriptor, name: string): number {
    const fault = this.fault('symlink');
    if (fault < 0) return fault;
    const inode = this.#insert(dir, name, 0o120777, target);
    return typeof inode === 'number' ? inode : 0;
  }
  #remove(dir: Descriptor, name: string, directory: boolean): number {
    const inode = this.lookup(dir, name);
    if (typeof inode === 'number') return inode;
    if (directory && inode.children === undefined) return -errno.ENOTDIR;
    if (!directory && inode.children !== undefined) return -errno.EISDIR;
    if (directory && (inode.children?.size ?? 0) > 0) return -errno.ENOTEMPTY;
    const parent = this.byHandle(dir) as Inode;
    const { id } = inode;
    this.change((image) => {
      const home = image.get(parent.id) as Inode;
      home.children?.delete(name);
      if (directory) home.nlink--;
      const gone = image.get(id) as Inode;
      gone.nlink -= directory ? 2 : 1;
    });
    return 0;
  }
  unlink(dir: Descriptor, name: string): number {
    const fault = this.fault('unlink');
    return fault < 0 ? fault : this.#remove(dir, name, false);
  }
  rmdir(dir: Descriptor, name: string): number {
    const fault = this.fault('rmdir');
    return fault < 0 ? fault : this.#remove(dir, name, true);
  }
  rename(dir: Descriptor, name: string, newDir: Descriptor, newName: string, flags: number): number {
    const fault = this.fault('rename');
    if (fault < 0) return fault;
    const inode = this.lookup(dir, name);
    if (typeof inode === 'number') return inode;
    const old = this.lookup(newDir, newName);
    if (typeof old !== 'number' && (flags & RENAME_EXCHANGE) === 0) {
      if (old === inode && (flags & 1) === 0) return 0;
      const refused = refusedRename(inode, old, (flags & 1) !== 0);
      if (refused < 0) return refused;
    }
    if ((flags & RENAME_EXCHANGE) !== 0) return this.#exchange(dir, name, newDir, newName);
    const from = (this.byHandle(dir) as Inode).id;
    const to = (this.byHandle(newDir) as Inode).id;
    const oldId = typeof old === 'number' ? 0 : old.id;
    const { id } = inode;
    const directory = inode.children !== undefined;
    this.change((image) => {
      const source = image.get(from) as Inode;
      const target = image.get(to) as Inode;
      source.children?.delete(name);
      target.children?.set(newName, id);
      if (directory) {
        source.nlink--;
        target.nlink++;
      }
      const replaced = image.get(oldId);
      if (replaced === undefined) return;
      replaced.nlink -= directory ? 2 : 1;
      if (directory) target.nlink--;
    });
    return 0;
  }
  #exchange(dir: Descriptor, name: string, newDir: Descriptor, newName: string): number {
    const one = this.lookup(dir, name);
    const other = this.lookup(newDir, newName);
    if (typeof one === 'number') return one;
    if (typeof other === 'number') return other;
    const from = (this.byHandle(dir) as Inode).id;
    const to = (this.byHandle(newDir) as Inode).id;
    this.change((image) => {
      image.get(from)?.children?.set(name, other.id);
      image.get(to)?.children?.set(newName, one.id);
    });
    return 0;
  }
  link(dir: Descriptor, name: string, newDir: Descriptor, newName: string): number {
    return this.#link(this.lookup(dir, name), newDir, newName);
  }
  #link(inode: Inode | number, newDir: Descriptor, newName: string): number {
    if (typeof inode === 'number') return inode;
    if (typeof this.lookup(newDir, newName) !== 'number') return -errno.EEXIST;
    const to = (this.byHandle(newDir) as Inode).id;
    const { id } = inode;
    this.change((image) => {
      image.get(to)?.children?.set(newName, id);
      const linked = image.get(id) as Inode;
      linked.nlink++;
    });
    return 0;
  }
  readlink(dir: Descriptor, name: string): string | number {
    const inode = this.lookup(dir, name);
    if (typeof inode === 'number') return inode;
    return (inode.mode & 0o170000) === 0o120000 ? inode.target : -errno.EINVAL;
  }
  list(dir: Descriptor): DirectoryEntry[] | number {
    const fault = this.fault('list');
    if (fault < 0) return fault;
    const inode = this.byHandle(dir);
    if (inode?.children === undefined) return -errno.ENOTDIR;
    return [...inode.children].map(([name, id]) => ({
      name,
      ino: id,
      type: (this.inodes.get(id) as Inode).mode >> 12,
    }));
  }

  readonly #readers = new Map<Descriptor, DirectoryEntry[]>();
  listSome(dir: Descriptor): DirectoryEntry[] | number {
    const entries = this.#readers.get(dir) ?? this.list(dir);
    if (typeof entries === 'number') return entries;
    this.#readers.set(dir, entries.slice(3));
    return entries.slice(0, 3);
  }

  usage(): FilesystemUsage | number {
    return {
      blockSize: 4096,
      blocks: 1000,
      blocksFree: 500,
      blocksAvailable: 500,
      files: 1000,
      filesFree: 500,
    };
  }

  perform(job: Job): number {
    const fault = this.fault(job.op);
    if (fault < 0) return fault;
    const inode = this.byHandle(job.descriptor);
    if (inode === undefined) return -errno.EBADF;
    switch (job.op) {
      case 'close':
        this.close(job.descriptor);
        return 0;
      case 'warm':
        return 0;
      case 'allocate':
        return this.#room() < job.offset + job.length - inode.data.length ? -errno.ENOSPC : 0;
      case 'punch': {
        const { offset, length } = job;
        const { id } = inode;
        this.change((image) => {
          const data = image.get(id)?.data ?? Buffer.alloc(0);
          data.fill(0, Math.min(offset, data.length), Math.min(offset + length, data.length));
        });
        return 0;
      }
      case 'pread':
        return readInode(inode, job);
      case 'pwrite':
        return this.#write(inode, job);
      case 'ftruncate': {
        const { length } = job;
        const { id } = inode;
        this.change((image) => {
          const it = image.get(id) as Inode;
          const data = Buffer.alloc(length);
          it.data.copy(data);
          it.data = data;
        });
        return 0;
      }
      case 'fsync':
      case 'fdatasync': {
        const data = Buffer.from(inode.data);
        const { id } = inode;
        this.log.push((image) => {
          const it = image.get(id);
          if (it !== undefined) it.data = Buffer.from(data);
        });
        this.durable = this.log.length;
        return 0;
      }
      case 'syncfs': {
        const live = copyInodes(this.inodes);
        this.log.push((image) => {
          for (const [id, it] of live) image.set(id, duplicate(it));
        });
        this.durable = this.log.length;
        return 0;
      }
    }
  }

  /** Bytes that still fit. */
  #room(): number {
    const { capacity } = this.faults;
    if (capacity === undefined) return Number.POSITIVE_INFINITY;
    let used = 0;
    for (const it of this.inodes.values()) used += it.data.length;
    return Math.max(0, capacity - used);
  }
  #write(inode: Inode, job: Transfer): number {
    let { length } = job;
    const grows = Math.max(0, job.offset + length - inode.data.length);
    length = Math.max(0, length - Math.max(0, grows - this.#room()));
    if (length === 0 && job.length > 0) return -errno.ENOSPC;
    inode.mtime = [this.time++, 0];
    return writeInode(inode, job, length);
  }
}
