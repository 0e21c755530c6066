import { errno } from '../../base/errno.js';
import type { Address } from '../../libc/ffi.js';
import * as libc from '../../libc/files.js';
import { Stat } from '../../libc/stat.js';
import { syncfs } from '../../libc/system.js';
import type { Backing, Handle, Job } from './backing.js';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY, O_NONBLOCK, O_NOATIME, O_TMPFILE } = libc.open;

/** The real disk. */
export class LibcBacking implements Backing {
  readonly root: Handle;
  readonly #most: number;
  /**
   * `root`: an open descriptor of VAULT/tree, taken over. `most`: beyond so many descriptors of this process files are refused
   * with EMFILE. A new descriptor has the lowest number that is free (open(2)), so its number says how many there are.
   */
  constructor(root: Handle, most = Number.POSITIVE_INFINITY) {
    this.root = root;
    this.#most = most;
  }
  #bounded(handle: Handle): Handle {
    if (handle < this.#most) return handle;
    libc.close(handle);
    return -errno.EMFILE;
  }
  stat(dir: Handle, name: string, into: Stat): number {
    return libc.statAt(dir, name, into);
  }
  fstat(handle: Handle, into: Stat): number {
    return libc.fstat(handle, into);
  }
  openDirectory(dir: Handle, name: string, read: boolean): Handle {
    return this.#bounded(libc.openat(dir, name, O_RDONLY | O_DIRECTORY | (read ? 0 : O_NOATIME)));
  }
  openFile(dir: Handle, name: string): Handle {
    // O_NONBLOCK: a fifo planted in the vault must not stop the daemon.
    // O_NOATIME: what we read is not always what somebody read; the access time is set by the core.
    return this.#bounded(libc.openat(dir, name, O_RDWR | O_NONBLOCK | O_NOATIME));
  }
  createFile(dir: Handle, name: string, mode: number): Handle {
    const made = libc.openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOATIME, mode);
    const handle = this.#bounded(made);
    if (handle !== made) libc.unlinkat(dir, name);
    return handle;
  }
  createUnnamed(dir: Handle, mode: number): Handle {
    return this.#bounded(libc.openat(dir, '.', O_RDWR | O_TMPFILE | O_NOATIME, mode));
  }
  linkHandle(handle: Handle, dir: Handle, name: string): number {
    return libc.linkFd(handle, dir, name);
  }
  makeNode(dir: Handle, name: string, mode: number, major: number, minor: number): number {
    return libc.mknodat(dir, name, mode, major, minor);
  }
  close(handle: Handle): void {
    libc.close(handle);
  }
  hold(dir: Handle, name: string): Handle {
    return this.#bounded(libc.openat(dir, name, libc.open.O_PATH));
  }
  mkdir(dir: Handle, name: string, mode: number): number {
    return libc.mkdirat(dir, name, mode);
  }
  unlink(dir: Handle, name: string): number {
    return libc.unlinkat(dir, name);
  }
  rmdir(dir: Handle, name: string): number {
    return libc.rmdirat(dir, name);
  }
  rename(dir: Handle, name: string, newDir: Handle, newName: string, flags: number): number {
    return libc.renameat2(dir, name, newDir, newName, flags);
  }
  link(dir: Handle, name: string, newDir: Handle, newName: string): number {
    return libc.linkat(dir, name, newDir, newName);
  }
  symlink(target: string, dir: Handle, name: string): number {
    return libc.symlinkat(target, dir, name);
  }
  readlink(dir: Handle, name: string): string | number {
    return libc.readlinkat(dir, name);
  }
  list(dir: Handle): libc.DirectoryEntry[] | number {
    return libc.readDirectory(dir);
  }
  listSome(dir: Handle): libc.DirectoryEntry[] | number {
    return libc.readEntries(dir);
  }
  chmod(dir: Handle, name: string, mode: number): number {
    return libc.fchmodat(dir, name, mode);
  }
  fchmod(handle: Handle, mode: number): number {
    return libc.fchmod(handle, mode);
  }
  chown(dir: Handle, name: string, uid: number, gid: number): number {
    return libc.fchownat(dir, name, uid, gid);
  }
  fchown(handle: Handle, uid: number, gid: number): number {
    return libc.fchown(handle, uid, gid);
  }
  utimes(dir: Handle, name: string, a: number, aNs: number, m: number, mNs: number): number {
    return libc.utimensat(dir, name, a, aNs, m, mNs);
  }
  futimes(handle: Handle, a: number, aNs: number, m: number, mNs: number): number {
    return libc.futimens(handle, a, aNs, m, mNs);
  }
  getxattr(dir: Handle, name: string, attribute: string, into: Buffer): number {
    return libc.getxattrAt(dir, name, attribute, into);
  }
  fgetxattr(handle: Handle, attribute: string, into: Buffer): number {
    return libc.fgetxattr(handle, attribute, into);
  }
  setxattr(dir: Handle, name: string, attribute: string, value: Buffer): number {
    return libc.setxattrAt(dir, name, attribute, value);
  }
  fsetxattr(handle: Handle, attribute: string, value: Buffer): number {
    return libc.fsetxattr(handle, attribute, value);
  }
  removexattr(dir: Handle, name: string, attribute: string): number {
    return libc.removexattrAt(dir, name, attribute);
  }
  fremovexattr(handle: Handle, attribute: string): number {
    return libc.fremovexattr(handle, attribute);
  }
  listxattr(dir: Handle, name: string): string[] | number {
    return libc.listxattrAt(dir, name);
  }
  flistxattr(handle: Handle): string[] | number {
    return libc.flistxattr(handle);
  }
  touchAccess(handle: Handle): void {
    libc.touchAccess(handle);
  }
  usage(handle: Handle): libc.FilesystemUsage | number {
    return libc.fstatfs(handle);
  }

  perform(job: Job): number {
    switch (job.op) {
      case 'pread':
      case 'pwrite':
        return transfer(job.op, job.handle, job.buffer.address + job.at, job.length, job.offset);
      case 'ftruncate':
        return libc.ftruncate(job.handle, job.length);
      case 'allocate':
      case 'punch':
        return allocate(job.op, job.handle, job.offset, job.length);
      case 'warm':
        return warm(job.handle, job.names);
      default:
        return simple(job.op, job.handle);
    }
  }
}

const { KEEP_SIZE, PUNCH_HOLE } = libc.falloc;
/** fallocate(2); what the backing can't do at all (EOPNOTSUPP) is for the caller to judge. */
export function allocate(op: 'allocate' | 'punch', handle: Handle, offset: number, length: number): number {
  const mode = op === 'punch' ? KEEP_SIZE | PUNCH_HOLE : KEEP_SIZE;
  for (;;) {
    const done = libc.fallocate(handle, mode, offset, length);
    if (done !== -errno.EINTR) return done;
  }
}

/** Jobs that need nothing but a descriptor. */
export function simple(op: 'fsync' | 'fdatasync' | 'syncfs' | 'close', handle: Handle): number {
  switch (op) {
    case 'fsync':
      return libc.fsync(handle);
    case 'fdatasync':
      return libc.fdatasync(handle);
    case 'syncfs':
      return syncfs(handle);
    case 'close':
      return libc.close(handle);
  }
}

/** Repeats short transfers: only end of file (0) or an error ends one early. Bytes done, or -errno if none. */
export function transfer(
  op: 'pread' | 'pwrite',
  handle: Handle,
  address: Address,
  length: number,
  offset: number,
): number {
  const call = op === 'pread' ? libc.pread : libc.pwrite;
  let done = 0;
  while (done < length) {
    const now = call(handle, address + done, length - done, offset + done);
    if (now === -errno.EINTR) continue;
    if (now < 0) return done > 0 ? done : now;
    if (now === 0) break;
    done += now;
  }
  return done;
}

const ignored = new Stat();

/** Has the host read a directory, or what it has of some names, into its cache. */
export function warm(directory: Handle, names: readonly string[]): number {
  for (const name of names) libc.statAt(directory, name, ignored);
  if (names.length > 0) return 0;
  // A descriptor of its own: the position of the shared one belongs to the core's thread.
  const own = libc.openat(directory, '.', O_RDONLY | O_DIRECTORY);
  if (own < 0) return own;
  libc.skimDirectory(own);
  return libc.close(own);
}
