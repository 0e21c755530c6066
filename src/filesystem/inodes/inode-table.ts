import { isDirectory, isRegular, isSymlink, type Stat } from '../../libc/stat.js';
import type { NodeId } from '../contract.js';

/**
 * All inodes that the kernel knows, as columns over one buffer (never reallocated: later it is the keeper's memfd).
 * A slot is an index; a node id is the slot and how often it was used, so that an id is never given twice.
 */
const SLOT_BITS = 22;
const SLOTS = 2 ** SLOT_BITS;
const MAX_SERIAL = 2 ** 31 - 1;
/** Slots are reused first-in first-out, and only when so many are free: a serial then lasts for years. */
const FREE_RESERVE = 1024;

export type Slot = number;
export const ROOT_SLOT: Slot = 1;
export const ROOT_NODE: NodeId = 1;
export const NO_SLOT: Slot = 0;

export const flag = {
  /** From an earlier generation of its scope: answers ENOKEY for ever. */
  DEAD: 1,
  /** Attributes must be asked from the backing again. */
  STALE: 2,
  /** The kernel may have pages of it. */
  PAGES: 4,
  /** Opened for writing, so the kernel may have dirty pages of it. */
  WRITABLE: 8,
  /** The inode has no name any more. */
  UNLINKED: 16,
  SCOPE_ROOT: 32,
  /** The slot is not in use. */
  FREE: 64,
  /** Known to have no extended attributes but ours. */
  PLAIN: 128,
  /** Known to have some. */
  ADORNED: 512,
  /** Used since the pruner last passed. */
  RECENT: 256,
  /** The inode has an open file (content/open-files.ts). */
  OPEN: 1024,
  /** Read or written by way of the kernel's page cache: a direct write may find pages of it there. */
  CACHED: 2048,
} as const;

/** 7 columns of f64 and 15 of u32. */
const BYTES_PER_SLOT = 7 * 8 + 15 * 4;

export class InodeTable {
  readonly capacity: number;
  readonly serial: Uint32Array;
  readonly lookups: Uint32Array;
  readonly flags: Uint32Array;
  readonly mode: Uint32Array;
  readonly uid: Uint32Array;
  readonly gid: Uint32Array;
  readonly nlink: Uint32Array;
  readonly rdev: Uint32Array;
  /** Index of the scope whose key seals this node's content. */
  readonly scope: Uint32Array;
  /** Slot of the directory that holds its name. */
  readonly parent: Uint32Array;
  readonly atimeNs: Uint32Array;
  readonly mtimeNs: Uint32Array;
  readonly ctimeNs: Uint32Array;
  readonly btimeNs: Uint32Array;
  readonly ino: Float64Array;
  readonly size: Float64Array;
  readonly blocks: Float64Array;
  readonly atime: Float64Array;
  readonly mtime: Float64Array;
  readonly ctime: Float64Array;
  /** Birth: 0 where the backing does not know it. */
  readonly btime: Float64Array;
  /** Names, latin1; a JavaScript string each. */
  readonly name: string[] = [''];
  readonly #next: Uint32Array;
  #untouched: Slot = ROOT_SLOT;
  #head: Slot = NO_SLOT;
  #tail: Slot = NO_SLOT;
  #free = 0;
  #used = 0;

  static bytesFor(capacity: number): number {
    return BYTES_PER_SLOT * capacity;
  }
  static readonly maximum = SLOTS;

  /** `buffer`: zeroed, at least {@link bytesFor} its capacity. */
  constructor(buffer: ArrayBuffer, capacity: number) {
    this.capacity = Math.min(capacity, SLOTS);
    let at = 0;
    const f64 = (): Float64Array => {
      const column = new Float64Array(buffer, at, capacity);
      at += capacity * 8;
      return column;
    };
    const u32 = (): Uint32Array => {
      const column = new Uint32Array(buffer, at, capacity);
      at += capacity * 4;
      return column;
    };
    this.ino = f64();
    this.size = f64();
    this.blocks = f64();
    this.atime = f64();
    this.mtime = f64();
    this.ctime = f64();
    this.btime = f64();
    this.serial = u32();
    this.lookups = u32();
    this.flags = u32();
    this.mode = u32();
    this.uid = u32();
    this.gid = u32();
    this.nlink = u32();
    this.rdev = u32();
    this.scope = u32();
    this.parent = u32();
    this.#next = u32();
    this.atimeNs = u32();
    this.mtimeNs = u32();
    this.ctimeNs = u32();
    this.btimeNs = u32();
  }

  /** Inodes in use. */
  get used(): number {
    return this.#used;
  }
  /** One past the highest slot ever used: the end for a scan. */
  get end(): number {
    return this.#untouched;
  }

  node(slot: Slot): NodeId {
    return (this.serial[slot] as number) * SLOTS + slot;
  }
  /** The slot of a node id, or NO_SLOT for one that was never given or is forgotten. */
  slot(node: NodeId): Slot {
    const slot = node % SLOTS;
    const live = slot < this.capacity && this.lookups[slot] !== 0;
    return live && this.node(slot) === node ? slot : NO_SLOT;
  }

  /** A slot with no lookup reference yet, or NO_SLOT where the table is full (ENOMEM). */
  allocate(scope: number, parent: Slot, name: string): Slot {
    let slot: Slot;
    if (this.#free > FREE_RESERVE || this.#untouched >= this.capacity) {
      slot = this.#head;
      if (slot === NO_SLOT) return NO_SLOT;
      this.#head = this.#next[slot] as number;
      if (this.#head === NO_SLOT) this.#tail = NO_SLOT;
      this.#free--;
    } else {
      slot = this.#untouched++;
    }
    this.#used++;
    this.scope[slot] = scope;
    this.parent[slot] = parent;
    this.name[slot] = name;
    this.flags[slot] = 0;
    return slot;
  }

  /** Gives a slot back; its node id is dead for good. */
  release(slot: Slot): void {
    this.lookups[slot] = 0;
    this.name[slot] = '';
    this.flags[slot] = flag.FREE;
    this.#used--;
    if ((this.serial[slot] as number) >= MAX_SERIAL) return;
    this.serial[slot] = (this.serial[slot] as number) + 1;
    this.#next[slot] = NO_SLOT;
    if (this.#tail === NO_SLOT) this.#head = slot;
    else this.#next[this.#tail] = slot;
    this.#tail = slot;
    this.#free++;
  }

  has(slot: Slot, bits: number): boolean {
    return ((this.flags[slot] as number) & bits) !== 0;
  }
  set(slot: Slot, bits: number): void {
    this.flags[slot] = (this.flags[slot] as number) | bits;
  }
  clear(slot: Slot, bits: number): void {
    this.flags[slot] = (this.flags[slot] as number) & ~bits;
  }

  /** Copies what the backing says; `size` is the plaintext's. */
  fill(slot: Slot, stat: Stat, size: number): void {
    this.ino[slot] = stat.ino;
    this.size[slot] = size;
    this.blocks[slot] = stat.blocks;
    this.mode[slot] = stat.mode;
    this.nlink[slot] = stat.nlink;
    this.uid[slot] = stat.uid;
    this.gid[slot] = stat.gid;
    // makedev(3) as the kernel encodes it for FUSE: new_encode_dev.
    this.rdev[slot] = (stat.rdevMinor & 0xff) | (stat.rdevMajor << 8) | ((stat.rdevMinor & ~0xff) << 12);
    this.atime[slot] = stat.atime;
    this.atimeNs[slot] = stat.atimeNs;
    this.mtime[slot] = stat.mtime;
    this.mtimeNs[slot] = stat.mtimeNs;
    this.ctime[slot] = stat.ctime;
    this.ctimeNs[slot] = stat.ctimeNs;
    this.btime[slot] = stat.btime;
    this.btimeNs[slot] = stat.btimeNs;
    this.clear(slot, flag.STALE);
  }

  isDirectory(slot: Slot): boolean {
    return isDirectory(this.mode[slot] as number);
  }
  isRegular(slot: Slot): boolean {
    return isRegular(this.mode[slot] as number);
  }
  isSymlink(slot: Slot): boolean {
    return isSymlink(this.mode[slot] as number);
  }
}
