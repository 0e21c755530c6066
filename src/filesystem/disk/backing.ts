import type { DirectoryEntry, FilesystemUsage } from '../../libc/files.js';
import type { Pinned } from '../../libc/memory.js';
import type { Stat } from '../../libc/stat.js';

/** Flags of renameat2(2): fail where the new name exists; both names change places. */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
/** A character device 0:0 stays at the old name, for overlay filesystems. */
export const RENAME_WHITEOUT = 4;

/** An open object of the backing disk. */
export type Descriptor = number;

/**
 * What may take long or is large, as data: an executor runs it, here or on another thread. `offset` and `length` are
 * bytes. The result is what the system call returns, or -errno.
 */
export type Job =
  | {
      readonly op: 'pread' | 'pwrite';
      readonly descriptor: Descriptor;
      readonly buffer: Pinned;
      readonly at: number;
      readonly length: number;
      readonly offset: number;
    }
  /** `from`: the length before. */
  | {
      readonly op: 'ftruncate';
      readonly descriptor: Descriptor;
      readonly length: number;
      readonly from: number;
    }
  /** fallocate(2) with FALLOC_FL_KEEP_SIZE: makes room, or gives it back. */
  | {
      readonly op: 'allocate' | 'punch';
      readonly descriptor: Descriptor;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly op: 'fsync' | 'fdatasync' | 'syncfs' | 'close'; readonly descriptor: Descriptor }
  /**
   * Reads what is stored of names in a directory, or without names the directory itself, for the host's cache alone:
   * who asks afterwards does not wait for the disk. The result says nothing.
   */
  | { readonly op: 'warm'; readonly descriptor: Descriptor; readonly names: readonly string[] };

/**
 * The core's port to the disk. Directory-relative calls, no symlink is ever followed; each returns its result or
 * -errno. Names are the stored ones. One implementation is libc, the other a disk in memory with a crash model.
 */
export interface Backing {
  /** VAULT/tree. */
  readonly root: Descriptor;
  stat(dir: Descriptor, name: string, into: Stat): number;
  fstat(descriptor: Descriptor, into: Stat): number;
  /** `read`: somebody lists it, so its access time follows. */
  openDirectory(dir: Descriptor, name: string, read: boolean): Descriptor;
  /** Opens an existing regular file for reading and writing. */
  openFile(dir: Descriptor, name: string): Descriptor;
  /** Creates a regular file that must not exist, for reading and writing. */
  createFile(dir: Descriptor, name: string, mode: number): Descriptor;
  /** Creates a regular file that has no name yet (O_TMPFILE). */
  createUnnamed(dir: Descriptor, mode: number): Descriptor;
  /** Gives an open object a name. */
  linkDescriptor(descriptor: Descriptor, dir: Descriptor, name: string): number;
  /** mknod(2): fifos, sockets and device nodes. */
  makeNode(dir: Descriptor, name: string, mode: number, major: number, minor: number): number;
  close(descriptor: Descriptor): void;
  /** A descriptor that only keeps an object in existence (O_PATH). */
  hold(dir: Descriptor, name: string): Descriptor;
  mkdir(dir: Descriptor, name: string, mode: number): number;
  unlink(dir: Descriptor, name: string): number;
  rmdir(dir: Descriptor, name: string): number;
  /** renameat2(2). */
  rename(dir: Descriptor, name: string, newDir: Descriptor, newName: string, flags: number): number;
  link(dir: Descriptor, name: string, newDir: Descriptor, newName: string): number;
  symlink(target: string, dir: Descriptor, name: string): number;
  readlink(dir: Descriptor, name: string): string | number;
  /** All entries. */
  list(dir: Descriptor): DirectoryEntry[] | number;
  /** Some entries, from where the descriptor's reader stopped; none at the end. */
  listSome(dir: Descriptor): DirectoryEntry[] | number;
  chmod(dir: Descriptor, name: string, mode: number): number;
  fchmod(descriptor: Descriptor, mode: number): number;
  chown(dir: Descriptor, name: string, uid: number, gid: number): number;
  fchown(descriptor: Descriptor, uid: number, gid: number): number;
  /** utimensat(2) with its UTIME_NOW and UTIME_OMIT. */
  utimes(dir: Descriptor, name: string, a: number, aNs: number, m: number, mNs: number): number;
  futimes(descriptor: Descriptor, a: number, aNs: number, m: number, mNs: number): number;
  /** The value's length, its bytes in `into`. */
  getxattr(dir: Descriptor, name: string, attribute: string, into: Buffer): number;
  fgetxattr(descriptor: Descriptor, attribute: string, into: Buffer): number;
  setxattr(dir: Descriptor, name: string, attribute: string, value: Buffer): number;
  fsetxattr(descriptor: Descriptor, attribute: string, value: Buffer): number;
  removexattr(dir: Descriptor, name: string, attribute: string): number;
  fremovexattr(descriptor: Descriptor, attribute: string): number;
  /** Names of all xattrs. */
  listxattr(dir: Descriptor, name: string): string[] | number;
  flistxattr(descriptor: Descriptor): string[] | number;
  /** Sets the access time as a read does, where the backing's mount keeps one. */
  touchAccess(descriptor: Descriptor): void;
  usage(descriptor: Descriptor): FilesystemUsage | number;
  perform(job: Job): number;
}

/** Runs jobs. `done` is called on the core's thread, before `run` returns or later, exactly once. */
export interface Executor {
  run(job: Job, done: (result: number) => void): void;
  /**
   * Whether looking something up may keep the caller waiting, so that a `warm` job should come first. `entries`: about
   * how many.
   */
  readonly warmsFirst: (entries: number) => boolean;
  /** A look-up on the core's thread took so long (ms). */
  took(milliseconds: number): void;
  /** Goes on with a long computation after whoever waits meanwhile had a turn; at once where nobody can. */
  yield(then: () => void): void;
}
