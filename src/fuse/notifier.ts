import { errno } from '../base/errno.js';
import { close, fsync, open, openPath, write } from '../libc/files.js';
import { pinned } from '../libc/memory.js';
import { openByNodeid } from '../libc/system.js';
import { ALL_PAGES, NO_PAGES, PRUNE_MOST, putInvalEntry, putInvalInode, putPrune } from './abi/notify.js';
import { mountsBelow } from './mount-table.js';

const message = pinned(8192);

function send(fd: number, length: number): number {
  const done = write(fd, message.address, length);
  // ENOENT: the kernel has no such inode or name, so there was nothing to forget.
  return done === -errno.ENOENT || done >= 0 ? 0 : done;
}

/**
 * Makes the kernel ask again for a node's attributes. `fd`: the FUSE device. On any thread: it waits for nobody but the
 * node's eviction, which a request under way keeps away (fuse_reverse_inval_inode).
 */
export function forgetAttributes(fd: number, nodeid: number): number {
  return send(fd, putInvalInode(message.bytes, nodeid, NO_PAGES));
}

/**
 * Orders to the kernel's caches, given on a thread of their own: each may block until requests that it causes are
 * answered, so the thread that answers requests must not give them.
 */
export class Notifier {
  readonly #fd: number;
  readonly #mountPoint: string;

  /** `fd`: the FUSE device; `mountPoint`: where to open the mount for a flush. */
  constructor(fd: number, mountPoint: string) {
    this.#fd = fd;
    this.#mountPoint = mountPoint;
  }

  #send(length: number): number {
    return send(this.#fd, length);
  }

  /**
   * Makes the kernel write a node's dirty pages, and waits for writes under way: forgets its attributes, then
   * fsyncs a descriptor that needs no path. 0, -ESTALE where the kernel has it not in its cache, or -errno.
   */
  flush(nodeid: number): number {
    // Open for this order only: an open descriptor of the mount makes umount busy.
    const mount = openPath(this.#mountPoint, open.O_RDONLY | open.O_DIRECTORY);
    if (mount < 0) return mount;
    forgetAttributes(this.#fd, nodeid);
    const fd = openByNodeid(mount, nodeid, open.O_RDONLY);
    close(mount);
    if (fd < 0) return fd;
    const done = fsync(fd);
    close(fd);
    return done;
  }

  /** Drops pages and attributes of nodes. How many of these orders the kernel refused. */
  dropPages(nodeids: readonly number[]): number {
    let failures = 0;
    for (const nodeid of nodeids) {
      if (this.#send(putInvalInode(message.bytes, nodeid, ALL_PAGES)) < 0) failures++;
    }
    return failures;
  }

  /** Drops the pages of a part of a node's content, and its attributes. How many of these orders the kernel refused. */
  dropRange(nodeid: number, offset: number, length: number): number {
    return this.#send(putInvalInode(message.bytes, nodeid, { offset, length })) < 0 ? 1 : 0;
  }

  /** {@link dropPages} of every node from `last` down to 2 (1 is the root): the latest are the likeliest to be mapped. */
  dropPagesUpTo(last: number): number {
    let failures = 0;
    for (let nodeid = last; nodeid >= 2; nodeid--) {
      if (this.#send(putInvalInode(message.bytes, nodeid, ALL_PAGES)) < 0) failures++;
    }
    return failures;
  }

  /** Asks for unused inodes to be forgotten. How many of these orders the kernel refused. */
  prune(nodeids: readonly number[]): number {
    let failures = 0;
    for (let at = 0; at < nodeids.length; at += PRUNE_MOST) {
      if (this.#send(putPrune(message.bytes, nodeids.slice(at, at + PRUNE_MOST))) < 0) failures++;
    }
    return failures;
  }

  /** {@link dropNames} where nothing is mounted below ours: it would be detached with them. */
  dropUnused(entries: readonly { parent: number; name: string }[]): number {
    return mountsBelow(this.#mountPoint) ? 0 : this.dropNames(entries);
  }

  /** Drops names and all below them. How many of these orders the kernel refused. */
  dropNames(entries: readonly { parent: number; name: string }[]): number {
    let failures = 0;
    for (const { parent, name } of entries) {
      if (this.#send(putInvalEntry(message.bytes, parent, name)) < 0) failures++;
    }
    return failures;
  }
}
