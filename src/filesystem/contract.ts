import { errno } from '../base/errno.js';
import type { FilesystemUsage } from '../libc/files.js';
import type { Pinned } from '../libc/memory.js';

/**
 * What a transport (FUSE, the npm binding, the library) and the core say to each other. Plain values; names are
 * latin1 strings of raw bytes; errors are positive errno. Every operation answers exactly once, now or later,
 * through its {@link Reply}.
 */

/** The largest READ or WRITE that a transport may send, in bytes. */
export const MAX_TRANSFER = 1 << 20;

/** A node as the kernel knows it. Never reused; 1 is the mount's root. */
export type NodeId = number;

export interface Caller {
  readonly uid: number;
  readonly gid: number;
  /** A thread id in the daemon's pid namespace; 0 for a foreign one. */
  readonly pid: number;
  /** Our own notifier: served while its scope is being locked. */
  readonly trusted: boolean;
}

/** Why a request is not served, and what its caller is told of it. */
const REFUSALS = {
  /** The node was never given, or is forgotten; ENOENT would only say that a name is gone. */
  unknown: errno.ESTALE,
  /** The node is of an earlier generation of its scope. */
  generation: errno.ENOKEY,
  locked: errno.ENOKEY,
  locking: errno.ENOKEY,
  /** The scope is open for other callers. */
  caller: errno.ENOKEY,
  /** The scope is open to be read. */
  read_only: errno.EROFS,
} as const satisfies Record<string, number>;

/** `failed`: it was let in, and could not be done. */
export type RefusalReason = keyof typeof REFUSALS | 'failed';

/** What an operation is answered instead of a result: the reason for whoever counts or writes down, an errno for the caller. */
export class Refusal {
  readonly reason: RefusalReason;
  /** Positive. */
  readonly errno: number;

  private constructor(reason: RefusalReason, number: number) {
    this.reason = reason;
    this.errno = number;
  }
  static readonly #known = new Map<string, Refusal>(
    Object.entries(REFUSALS).map(([reason, number]) => [
      reason,
      new Refusal(reason as RefusalReason, number),
    ]),
  );
  static readonly #failed = new Map<number, Refusal>();

  static for(reason: keyof typeof REFUSALS): Refusal {
    return Refusal.#known.get(reason) as Refusal;
  }
  /** `error`: -errno of the backing or of the operation itself. */
  static failed(error: number): Refusal {
    let refusal = Refusal.#failed.get(error);
    if (refusal === undefined) {
      refusal = new Refusal('failed', -error);
      Refusal.#failed.set(error, refusal);
    }
    return refusal;
  }
}

/** The callers that a restricted scope is open for. */
export interface Gate {
  admits(caller: Caller): boolean;
}

/** What a scope's budgets still allow: 0, or -errno of the refusal. */
export interface Meter {
  open(): number;
  /** `bytes`: what a READ is about to decrypt. */
  read(bytes: number): number;
}

/** What one generation of a scope is open for: the same for all its leases, so that no cache serves two kinds of callers. */
export interface Terms {
  /** Undefined: for any caller. */
  readonly gate: Gate | undefined;
  readonly readOnly: boolean;
}

/** stat(2) of a node. Filled by the core and read by the reply at once; not kept. */
export interface Attributes {
  ino: number;
  size: number;
  /** Units of 512 bytes. */
  blocks: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  atime: number;
  atimeNs: number;
  mtime: number;
  mtimeNs: number;
  ctime: number;
  ctimeNs: number;
  /** Whether the kernel may cache them. */
  cacheable: boolean;
}

export type Usage = FilesystemUsage;

/** Plaintext between a file and memory: `length` bytes at `offset` of the file, at `at` of the buffer. */
export interface Transfer {
  readonly offset: number;
  readonly length: number;
  readonly buffer: Pinned;
  readonly at: number;
}

/** READ. `direct`: beside the kernel's page cache (O_DIRECT), so the cache gets no page by it. */
export interface ReadRequest {
  readonly offset: number;
  readonly length: number;
  readonly direct?: boolean;
}

/** WRITE. `fromCache`: the kernel writes back pages; allowed while the scope is being locked. `direct`: as of a READ. */
export interface WriteRequest extends Transfer {
  readonly direct?: boolean;
  readonly fromCache: boolean;
  readonly killPrivileges: boolean;
}

/** What may be kept of an opened file's pages. */
export interface OpenFlags {
  readonly keepCache: boolean;
}

/** Collects directory entries for one reply; `false` means that the entry did not fit and was not taken. */
export interface DirectorySink {
  readonly plus: boolean;
  /** `type` is DT_* (mode >> 12); `next` is the offset of the following entry. */
  add(name: string, ino: number, type: number, next: number): boolean;
  /** An entry with its attributes: takes a lookup reference on `node`. */
  addNode(name: string, node: NodeId, attributes: Attributes, next: number): boolean;
  /** Whether an entry with a name of this length would fit. */
  fits(nameLength: number): boolean;
  end(): void;
}

/** The answer to one operation. A second answer is ignored: a deadline may have answered before a job completed. */
export interface Reply {
  readonly done: boolean;
  error(errno: number): void;
  /** As {@link error}, where the reason is known: the one place at which it becomes an errno. */
  refuse(refusal: Refusal): void;
  ok(): void;
  entry(node: NodeId, attributes: Attributes): void;
  /** The name does not exist. */
  negative(cacheable: boolean): void;
  attributes(attributes: Attributes): void;
  /** STATX: with the time of birth, where it is known (seconds and nanoseconds). */
  statx(attributes: Attributes, birth: readonly [number, number] | undefined): void;
  opened(handle: number, flags: OpenFlags): void;
  created(node: NodeId, attributes: Attributes, handle: number): void;
  /** Where READ puts its bytes: at least `length` bytes from `at`. */
  data(length: number): { buffer: Pinned; at: number };
  /** Sends the first `length` bytes of {@link data}. */
  read(length: number): void;
  written(length: number): void;
  target(target: string): void;
  /** A value or a list of names of extended attributes. */
  bytes(value: Buffer): void;
  /** LSEEK. */
  position(offset: number): void;
  usage(usage: Usage): void;
}

/** Permissions (and type) of an object to be made, and what its maker masks unless a default ACL rules. */
export interface NewObject {
  readonly mode: number;
  readonly umask: number;
}

/** SETATTR: only what is present changes. Times: seconds and nanoseconds, or 'now'. */
export interface AttributeChange {
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  atime?: readonly [number, number] | 'now';
  mtime?: readonly [number, number] | 'now';
  /** Clear set-user-id and set-group-id, as write(2) and chown(2) by an ordinary user do. */
  killPrivileges?: boolean;
  handle?: number;
}

/** RENAME2; `flags` of renameat2(2). */
export interface RenameRequest {
  readonly parent: NodeId;
  readonly name: string;
  readonly newParent: NodeId;
  readonly newName: string;
  readonly flags: number;
}

export interface OpenRequest {
  readonly write: boolean;
  readonly truncate: boolean;
  readonly killPrivileges: boolean;
}

/**
 * Orders to the kernel's caches. Each may block until somebody else moves: a flush on the inode's lock (for as long as
 * a write(2) from a slow source), a name on its directory's lock, pages only on requests that we answer. So each kind
 * has threads of its own, and a deadline waits for pages alone. `done` runs on the core's thread.
 */
export interface CachePort {
  /**
   * Forgets a node's attributes, then writes its dirty pages and waits for writes under way: 0, -ESTALE where the
   * kernel has no such inode, or -errno.
   */
  flush(node: NodeId, done: (result: number) => void): void;
  /**
   * Forgets a node's attributes, at once. For a node that a request under way holds: the core changed what that request's
   * answer does not tell (after a write the kernel asks again for times, size and blocks alone).
   */
  forgetAttributes(node: NodeId): void;
  /**
   * Drops pages of a part of a node's content (`length` -1: to its end); waits for READs of them that are under way. For the answer of a direct
   * write: where it is asynchronous, the kernel's FUSE drops them when it begins and not when it ends.
   */
  dropRange(node: NodeId, offset: number, length: number, done: () => void): void;
  /** Drops all pages and attributes of nodes. `failures`: orders that the kernel refused. */
  dropPages(nodes: readonly NodeId[], done: (failures: number) => void): void;
  /** Drops names, and with each all that lies below it. */
  dropNames(entries: readonly CachedName[], done: (failures: number) => void): void;
  /** Asks the kernel to forget inodes that nobody uses; what it forgets it says by FORGET. */
  prune(victims: readonly Victim[], done: () => void): void;
}

/** An inode and one of its names. */
export interface Victim extends CachedName {
  readonly node: NodeId;
  readonly directory: boolean;
}

export interface CachedName {
  readonly parent: NodeId;
  readonly name: string;
}
