import { errno } from '../../base/errno.js';
import type { Address } from '../../libc/ffi.js';
import * as libc from '../../libc/files.js';
import { Stat } from '../../libc/stat.js';
import { syncfs } from '../../libc/system.js';
import type { Backing, Descriptor, Job } from './backing.js';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY, O_NONBLOCK, O_NOATIME, O_TMPFILE } = libc.open;

/** The real disk. */
export class LibcBacking implements Backing {
  readonly root: Descriptor;
  readonly #most: number;
  readonly #access: number;
  /**
   * `root`: an open descriptor of VAULT/tree, taken over. `most`: beyond so many descriptors of this process files are refused
   * with EMFILE. `readOnly`: files are opened to be read; whoever writes gets EBADF. A new descriptor has the lowest number that is free (open(2)), so its number says how many there are.
   */
  constructor(root: Descriptor, most = Number.POSITIVE_INFINITY, readOnly = false) {
    this.root = root;
    this.#access = readOnly ? O_RDONLY : O_RDWR;
    this.#most = most;
  }
  #bounded(descriptor: Descriptor): Descriptor {
    if (descriptor < this.#most) return descriptor;
    libc.close(descriptor);
    return -errno.EMFILE;
  }
  stat(dir: Descriptor, name: string, into: Stat): number {
    return libc.statAt(dir, name, into);
  }
  fstat(descriptor: Descriptor, into: Stat): number {
    return libc.fstat(descriptor, into);
  }
  openDirectory(dir: Descriptor, name: string, read: boolean): Descriptor {
    return this.#bounded(libc.openat(dir, name, O_RDONLY | O_DIRECTORY | (read ? 0 : O_NOATIME)));
  }
  openFile(dir: Descriptor, name: string): Descriptor {
    // O_NONBLOCK: a fifo planted in the vault must not stop the daemon.
    // O_NOATIME: what we read is not always what somebody read; the access time is set by the core.
    return this.#bounded(libc.openat(dir, name, this.#access | O_NONBLOCK | O_NOATIME));
  }
  createFile(dir: Descriptor, name: string, mode: number): Descriptor {
    const made = libc.openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOATIME, mode);
    const descriptor = this.#bounded(made);
    if (descriptor !== made) libc.unlinkat(dir, name);
    return descriptor;
  }
  createUnnamed(dir: Descriptor, mode: number): Descriptor {
    return this.#bounded(libc.openat(dir, '.', O_RDWR | O_TMPFILE | O_NOATIME, mode));
  }
  linkDescriptor(descriptor: Descriptor, dir: Descriptor, name: string): number {
    return libc.linkFd(descriptor, dir, name);
  }
  makeNode(dir: Descriptor, name: string, mode: number, major: number, minor: number): number {
    return libc.mknodat(dir, name, mode, major, minor);
  }
  close(descriptor: Descriptor): void {
    libc.close(descriptor);
  }
  hold(dir: Descriptor, name: string): Descriptor {
    return this.#bounded(libc.openat(dir, name, libc.open.O_PATH));
  }
  mkdir(dir: Descriptor, name: string, mode: number): number {
    return libc.mkdirat(dir, name, mode);
  }
  unlink(dir: Descriptor, name: string): number {
    return libc.unlinkat(dir, name);
  }
  rmdir(dir: Descriptor, name: string): number {
    return libc.rmdirat(dir, name);
  }
  rename(dir: Descriptor, name: string, newDir: Descriptor, newName: string, flags: number): number {
    return libc.renameat2(dir, name, newDir, newName, flags);
  }
  link(dir: Descriptor, name: string, newDir: Descriptor, newName: string): number {
    return libc.linkat(dir, name, newDir, newName);
  }
  symlink(target: string, dir: Descriptor, name: string): number {
    return libc.symlinkat(target, dir, name);
  }
  readlink(dir: Descriptor, name: string): string | number {
    return libc.readlinkat(dir, name);
  }
  list(dir: Descriptor): libc.DirectoryEntry[] | number {
    return libc.readDirectory(dir);
  }
  listSome(dir: Descriptor): libc.DirectoryEntry[] | number {
    return libc.readEntries(dir);
  }
  chmod(dir: Descriptor, name: string, mode: number): number {
    return libc.fchmodat(dir, name, mode);
  }
  fchmod(descriptor: Descriptor, mode: number): number {
    return libc.fchmod(descriptor, mode);
  }
  chown(dir: Descriptor, name: string, uid: number, gid: number): number {
    return libc.fchownat(dir, name, uid, gid);
  }
  fchown(descriptor: Descriptor, uid: number, gid: number): number {
    return libc.fchown(descriptor, uid, gid);
  }
  utimes(dir: Descriptor, name: string, a: number, aNs: number, m: number, mNs: number): number {
    return libc.utimensat(dir, name, a, aNs, m, mNs);
  }
  futimes(descriptor: Descriptor, a: number, aNs: number, m: number, mNs: number): number {
    return libc.futimens(descriptor, a, aNs, m, mNs);
  }
  getxattr(dir: Descriptor, name: string, attribute: string, into: Buffer): number {
    return libc.getxattrAt(dir, name, attribute, into);
  }
  fgetxattr(descriptor: Descriptor, attribute: string, into: Buffer): number {
    return libc.fgetxattr(descriptor, attribute, into);
  }
  setxattr(dir: Descriptor, name: string, attribute: string, value: Buffer): number {
    return libc.setxattrAt(dir, name, attribute, value);
  }
  fsetxattr(descriptor: Descriptor, attribute: string, value: Buffer): number {
    return libc.fsetxattr(descriptor, attribute, value);
  }
  removexattr(dir: Descriptor, name: string, attribute: string): number {
    return libc.removexattrAt(dir, name, attribute);
  }
  fremovexattr(descriptor: Descriptor, attribute: string): number {
    return libc.fremovexattr(descriptor, attribute);
  }
  listxattr(dir: Descriptor, name: string): string[] | number {
    return libc.listxattrAt(dir, name);
  }
  flistxattr(descriptor: Descriptor): string[] | number {
    return libc.flistxattr(descriptor);
  }
  touchAccess(descriptor: Descriptor): void {
    libc.touchAccess(descriptor);
  }
  usage(descriptor: Descriptor): libc.FilesystemUsage | number {
    return libc.fstatfs(descriptor);
  }

  perform(job: Job): number {
    switch (job.op) {
      case 'pread':
      case 'pwrite':
        return transfer(job.op, job.descriptor, job.buffer.address + job.at, job.length, job.offset);
      case 'ftruncate':
        return libc.ftruncate(job.descriptor, job.length);
      case 'allocate':
      case 'punch':
        return allocate(job.op, job.descriptor, job.offset, job.length);
      case 'warm':
        return warm(job.descriptor, job.names);
      default:
        return simple(job.op, job.descriptor);
    }
  }
}

const { KEEP_SIZE, PUNCH_HOLE } = libc.falloc;
/** fallocate(2); what the backing can't do at all (EOPNOTSUPP) is for the caller to judge. */
export function allocate(
  op: 'allocate' | 'punch',
  descriptor: Descriptor,
  offset: number,
  length: number,
): number {
  const mode = op === 'punch' ? KEEP_SIZE | PUNCH_HOLE : KEEP_SIZE;
  for (;;) {
    const done = libc.fallocate(descriptor, mode, offset, length);
    if (done !== -errno.EINTR) return done;
  }
}

/** Jobs that need nothing but a descriptor. */
export function simple(op: 'fsync' | 'fdatasync' | 'syncfs' | 'close', descriptor: Descriptor): number {
  switch (op) {
    case 'fsync':
      return libc.fsync(descriptor);
    case 'fdatasync':
      return libc.fdatasync(descriptor);
    case 'syncfs':
      return syncfs(descriptor);
    case 'close':
      return libc.close(descriptor);
  }
}

/** Repeats short transfers: only end of file (0) or an error ends one early. Bytes done, or -errno if none. */
export function transfer(
  op: 'pread' | 'pwrite',
  descriptor: Descriptor,
  address: Address,
  length: number,
  offset: number,
): number {
  const call = op === 'pread' ? libc.pread : libc.pwrite;
  let done = 0;
  while (done < length) {
    const now = call(descriptor, address + done, length - done, offset + done);
    if (now === -errno.EINTR) continue;
    if (now < 0) return done > 0 ? done : now;
    if (now === 0) break;
    done += now;
  }
  return done;
}

const ignored = new Stat();

/** Has the host read a directory, or what it has of some names, into its cache. */
export function warm(directory: Descriptor, names: readonly string[]): number {
  for (const name of names) libc.statAt(directory, name, ignored);
  if (names.length > 0) return 0;
  // A descriptor of its own: the position of the shared one belongs to the core's thread.
  const own = libc.openat(directory, '.', O_RDONLY | O_DIRECTORY);
  if (own < 0) return own;
  libc.skimDirectory(own);
  return libc.close(own);
}
