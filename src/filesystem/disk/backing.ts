import type { DirectoryEntry, FilesystemUsage } from '../../libc/files.js';
import type { Pinned } from '../../libc/memory.js';
import type { Stat } from '../../libc/stat.js';

/** Flags of renameat2(2): fail where the new name exists; both names change places. */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
/** A character device 0:0 stays at the old name, for overlay filesystems. */
export const RENAME_WHITEOUT = 4;

/** An open object of the backing disk. */
export type Handle = number;

/**
 * What may take long or is large, as data: an executor runs it, here or on another thread. `offset` and `length` are
 * bytes. The result is what the system call returns, or -errno.
 */
export type Job =
  | {
      readonly op: 'pread' | 'pwrite';
      readonly handle: Handle;
      readonly buffer: Pinned;
      readonly at: number;
      readonly length: number;
      readonly offset: number;
    }
  /** `from`: the length before. */
  | { readonly op: 'ftruncate'; readonly handle: Handle; readonly length: number; readonly from: number }
  /** fallocate(2) with FALLOC_FL_KEEP_SIZE: makes room, or gives it back. */
  | {
      readonly op: 'allocate' | 'punch';
      readonly handle: Handle;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly op: 'fsync' | 'fdatasync' | 'syncfs' | 'close'; readonly handle: Handle }
  /**
   * Reads what is stored of names in a directory, or without names the directory itself, for the host's cache alone:
   * who asks afterwards does not wait for the disk. The result says nothing.
   */
  | { readonly op: 'warm'; readonly handle: Handle; readonly names: readonly string[] };

/**
 * The core's port to the disk. Directory-relative calls, no symlink is ever followed; each returns its result or
 * -errno. Names are the stored ones. One implementation is libc, the other a disk in memory with a crash model.
 */
export interface Backing {
  /** VAULT/tree. */
  readonly root: Handle;
  stat(dir: Handle, name: string, into: Stat): number;
  fstat(handle: Handle, into: Stat): number;
  /** `read`: somebody lists it, so its access time follows. */
  openDirectory(dir: Handle, name: string, read: boolean): Handle;
  /** Opens an existing regular file for reading and writing. */
  openFile(dir: Handle, name: string): Handle;
  /** Creates a regular file that must not exist, for reading and writing. */
  createFile(dir: Handle, name: string, mode: number): Handle;
  /** Creates a regular file that has no name yet (O_TMPFILE). */
  createUnnamed(dir: Handle, mode: number): Handle;
  /** Gives an open object a name. */
  linkHandle(handle: Handle, dir: Handle, name: string): number;
  /** mknod(2): fifos, sockets and device nodes. */
  makeNode(dir: Handle, name: string, mode: number, major: number, minor: number): number;
  close(handle: Handle): void;
  /** A descriptor that only keeps an object in existence (O_PATH). */
  hold(dir: Handle, name: string): Handle;
  mkdir(dir: Handle, name: string, mode: number): number;
  unlink(dir: Handle, name: string): number;
  rmdir(dir: Handle, name: string): number;
  /** renameat2(2). */
  rename(dir: Handle, name: string, newDir: Handle, newName: string, flags: number): number;
  link(dir: Handle, name: string, newDir: Handle, newName: string): number;
  symlink(target: string, dir: Handle, name: string): number;
  readlink(dir: Handle, name: string): string | number;
  /** All entries. */
  list(dir: Handle): DirectoryEntry[] | number;
  /** Some entries, from where the descriptor's reader stopped; none at the end. */
  listSome(dir: Handle): DirectoryEntry[] | number;
  chmod(dir: Handle, name: string, mode: number): number;
  fchmod(handle: Handle, mode: number): number;
  chown(dir: Handle, name: string, uid: number, gid: number): number;
  fchown(handle: Handle, uid: number, gid: number): number;
  /** utimensat(2) with its UTIME_NOW and UTIME_OMIT. */
  utimes(dir: Handle, name: string, a: number, aNs: number, m: number, mNs: number): number;
  futimes(handle: Handle, a: number, aNs: number, m: number, mNs: number): number;
  /** The value's length, its bytes in `into`. */
  getxattr(dir: Handle, name: string, attribute: string, into: Buffer): number;
  fgetxattr(handle: Handle, attribute: string, into: Buffer): number;
  setxattr(dir: Handle, name: string, attribute: string, value: Buffer): number;
  fsetxattr(handle: Handle, attribute: string, value: Buffer): number;
  removexattr(dir: Handle, name: string, attribute: string): number;
  fremovexattr(handle: Handle, attribute: string): number;
  /** Names of all xattrs. */
  listxattr(dir: Handle, name: string): string[] | number;
  flistxattr(handle: Handle): string[] | number;
  /** Sets the access time as a read does, where the backing's mount keeps one. */
  touchAccess(handle: Handle): void;
  usage(handle: Handle): FilesystemUsage | number;
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
