import { errno } from '../../base/errno.js';
import { UTIME_NOW, UTIME_OMIT } from '../../libc/files.js';
import type { Descriptor } from './backing.js';
import { MemoryImage } from './test-memory-image.js';
import type { Inode } from './test-memory-inode.js';

/** Modes, owners, times and extended attributes of the disk in memory. */
export abstract class MemoryAttributes extends MemoryImage {
  protected abstract byHandle(descriptor: Descriptor): Inode | undefined;
  protected abstract lookup(dir: Descriptor, name: string): Inode | number;
  /** What a test wants to fail: -errno, or 0. */
  protected abstract fault(call: string): number;

  #set(inode: Inode | number | undefined, change: (inode: Inode) => void): number {
    if (inode === undefined) return -errno.EBADF;
    if (typeof inode === 'number') return inode;
    const { id } = inode;
    this.change((image) => change(image.get(id) as Inode));
    return 0;
  }
  #chmod(inode: Inode | number | undefined, mode: number): number {
    return this.#set(inode, (it) => {
      it.mode = (it.mode & 0o170000) | mode;
    });
  }
  chmod(dir: Descriptor, name: string, mode: number): number {
    return this.#chmod(this.lookup(dir, name), mode);
  }
  fchmod(descriptor: Descriptor, mode: number): number {
    return this.#chmod(this.byHandle(descriptor), mode);
  }
  #chown(inode: Inode | number | undefined, uid: number, gid: number): number {
    return this.#set(inode, (it) => {
      if (uid !== -1) it.uid = uid;
      if (gid !== -1) it.gid = gid;
    });
  }
  chown(dir: Descriptor, name: string, uid: number, gid: number): number {
    return this.#chown(this.lookup(dir, name), uid, gid);
  }
  fchown(descriptor: Descriptor, uid: number, gid: number): number {
    return this.#chown(this.byHandle(descriptor), uid, gid);
  }
  #times(inode: Inode | number | undefined, a: number, aNs: number, m: number, mNs: number): number {
    const now = [this.time++, 0] as const;
    return this.#set(inode, (it) => {
      if (aNs !== UTIME_OMIT) it.atime = aNs === UTIME_NOW ? now : [a, aNs];
      if (mNs !== UTIME_OMIT) it.mtime = mNs === UTIME_NOW ? now : [m, mNs];
    });
  }
  utimes(dir: Descriptor, name: string, a: number, aNs: number, m: number, mNs: number): number {
    return this.#times(this.lookup(dir, name), a, aNs, m, mNs);
  }
  futimes(descriptor: Descriptor, a: number, aNs: number, m: number, mNs: number): number {
    return this.#times(this.byHandle(descriptor), a, aNs, m, mNs);
  }
  #getxattr(inode: Inode | number | undefined, attribute: string, into: Buffer): number {
    if (inode === undefined) return -errno.EBADF;
    if (typeof inode === 'number') return inode;
    const value = inode.xattrs.get(attribute);
    return value === undefined ? -errno.ENODATA : value.copy(into);
  }
  getxattr(dir: Descriptor, name: string, attribute: string, into: Buffer): number {
    return this.#getxattr(this.lookup(dir, name), attribute, into);
  }
  fgetxattr(descriptor: Descriptor, attribute: string, into: Buffer): number {
    return this.#getxattr(this.byHandle(descriptor), attribute, into);
  }
  #setxattr(inode: Inode | number | undefined, attribute: string, value: Buffer): number {
    const fault = this.fault('setxattr');
    if (fault < 0) return fault;
    const kept = Buffer.from(value);
    return this.#set(inode, (it) => {
      it.xattrs = new Map(it.xattrs).set(attribute, kept);
    });
  }
  setxattr(dir: Descriptor, name: string, attribute: string, value: Buffer): number {
    return this.#setxattr(this.lookup(dir, name), attribute, value);
  }
  fsetxattr(descriptor: Descriptor, attribute: string, value: Buffer): number {
    return this.#setxattr(this.byHandle(descriptor), attribute, value);
  }
  #removexattr(inode: Inode | number | undefined, attribute: string): number {
    if (typeof inode === 'object' && !inode.xattrs.has(attribute)) return -errno.ENODATA;
    return this.#set(inode, (it) => {
      it.xattrs = new Map(it.xattrs);
      it.xattrs.delete(attribute);
    });
  }
  removexattr(dir: Descriptor, name: string, attribute: string): number {
    return this.#removexattr(this.lookup(dir, name), attribute);
  }
  fremovexattr(descriptor: Descriptor, attribute: string): number {
    return this.#removexattr(this.byHandle(descriptor), attribute);
  }
  listxattr(dir: Descriptor, name: string): string[] | number {
    const inode = this.lookup(dir, name);
    return typeof inode === 'number' ? inode : [...inode.xattrs.keys()];
  }
  flistxattr(descriptor: Descriptor): string[] | number {
    return [...(this.byHandle(descriptor)?.xattrs.keys() ?? [])];
  }
  touchAccess(descriptor: Descriptor): void {
    const now = [this.time++, 0] as const;
    this.#set(this.byHandle(descriptor), (it) => {
      it.atime = now;
    });
  }
}
