import { errno } from '../../base/errno.js';
import type { ScopeKeys } from '../../crypto/scope-keys.js';
import {
  LONG_PREFIX,
  readLongName,
  readName,
  SIDE_BYTES,
  type StoredName,
  sideName,
  storeName,
} from '../../format/names/names.js';
import { pinned } from '../../libc/memory.js';
import { Stat } from '../../libc/stat.js';
import type { Backing, Descriptor } from '../disk/backing.js';
import { flag, type InodeTable, NO_SLOT, ROOT_SLOT, type Slot } from './inode-table.js';
import type { Scope } from './scope.js';

/** xattr(7): ACLs are stored natively, in clear, so that the backing inherits them. */
export const ACL_DEFAULT = 'system.posix_acl_default';
const ignored = Buffer.alloc(0);
const probe = new Stat();

/** Open directory descriptors kept at once. */
const KEPT_DESCRIPTORS = 1024;

/** What is known of a directory of an unlocked scope. */
export class Directory {
  readonly slot: Slot;
  /** The scope whose key seals its names: for a scope's root that scope, not its parent. */
  readonly scope: Scope;
  /** 16 bytes. */
  readonly id: Buffer;
  /** Its names are sealed under this epoch or later ones. */
  readonly epoch: number;
  readonly children = new Map<string, Slot>();
  descriptor: Descriptor = -1;
  used = false;
  /** Whether it has a default ACL; undefined: not asked yet. */
  inherits: boolean | undefined;
  /** Jobs under way on {@link descriptor}. */
  pins = 0;

  constructor(slot: Slot, scope: Scope, id: Buffer, epoch: number) {
    this.slot = slot;
    this.scope = scope;
    this.id = id;
    this.epoch = epoch;
  }
}

/** Directories by slot, their descriptors (bounded), and the way from a name to the stored one. */
export class Directories {
  readonly #backing: Backing;
  readonly #table: InodeTable;
  readonly #known: (Directory | undefined)[] = [];
  /** Those with an open descriptor, in the order of opening: a second chance, then closed. */
  readonly #open = new Set<Directory>();

  constructor(backing: Backing, table: InodeTable) {
    this.#backing = backing;
    this.#table = table;
  }

  get(slot: Slot): Directory | undefined {
    return this.#known[slot];
  }
  add(slot: Slot, scope: Scope, id: Buffer, epoch: number): Directory {
    const directory = new Directory(slot, scope, id, epoch);
    this.#known[slot] = directory;
    return directory;
  }
  remove(slot: Slot): void {
    const directory = this.#known[slot];
    if (directory === undefined) return;
    this.#close(directory);
    this.#known[slot] = undefined;
  }

  /**
   * The stored form of a name: of the object that has it, else of one that is to get it. The last one is kept:
   * LOOKUP, then CREATE or UNLINK ask for the same.
   */
  stored(directory: Directory, name: string): StoredName {
    // Throws once the scope is locked.
    const keys = directory.scope.live;
    const last = this.#last;
    if (last?.directory === directory && last.name === name) return last.stored;
    const stored = storeName(keys.current.names, directory.id, name);
    if (directory.epoch < keys.epoch) return this.#older(directory, keys, name, stored);
    this.#last = { directory, name, stored };
    return stored;
  }
  /** In a directory from before the current epoch an object may still have its name under an older key. */
  #older(directory: Directory, keys: ScopeKeys, name: string, current: StoredName): StoredName {
    const descriptor = this.descriptor(directory.slot);
    if (descriptor < 0 || this.#backing.stat(descriptor, current.name, probe) >= 0) return current;
    for (const { epoch, names } of keys.since(directory.epoch)) {
      if (epoch === keys.epoch) continue;
      const stored = storeName(names, directory.id, name);
      if (this.#backing.stat(descriptor, stored.name, probe) >= 0) return stored;
    }
    return current;
  }
  /** Forgets the last name. Called when a scope is locked. */
  wipe(): void {
    this.#last = undefined;
  }
  #last: { directory: Directory; name: string; stored: StoredName } | undefined;

  /** An open descriptor of a directory, or -errno. Valid until the next call of this method. */
  descriptor(slot: Slot): Descriptor {
    if (slot === ROOT_SLOT) return this.#backing.root;
    const directory = this.#known[slot];
    if (directory === undefined) return this.#openAt(slot);
    if (directory.descriptor < 0) {
      const descriptor = this.#openAt(slot);
      if (descriptor < 0) return descriptor;
      directory.descriptor = descriptor;
      this.#open.add(directory);
      if (this.#open.size > KEPT_DESCRIPTORS) this.#evict(directory);
    }
    directory.used = true;
    return directory.descriptor;
  }

  /** Whether a directory has a default ACL, which then rules over modes of what is made in it. */
  inherits(directory: Directory, descriptor: Descriptor): boolean {
    directory.inherits ??= this.#backing.fgetxattr(descriptor, ACL_DEFAULT, ignored) >= 0;
    return directory.inherits;
  }

  /** Where an object is: its parent's descriptor and stored name; undefined where it has no name (any more), as the root. */
  place(slot: Slot): { descriptor: Descriptor; name: string } | undefined {
    if (slot === ROOT_SLOT || this.#table.has(slot, flag.UNLINKED)) return undefined;
    const parent = this.#known[this.#table.parent[slot] as number];
    if (parent === undefined) return undefined;
    const descriptor = this.descriptor(parent.slot);
    if (descriptor < 0) return undefined;
    return { descriptor, name: this.stored(parent, this.#table.name[slot] as string).name };
  }

  #openAt(slot: Slot): Descriptor {
    const place = this.place(slot);
    if (place === undefined) return -errno.ENOENT;
    const descriptor = this.#backing.openDirectory(place.descriptor, place.name, false);
    if (descriptor !== -errno.EMFILE) return descriptor;
    // Out of descriptors: ours are a cache, so give them all back and try once more.
    for (const directory of [...this.#open]) this.#close(directory);
    const again = this.place(slot);
    return again === undefined
      ? -errno.ENOENT
      : this.#backing.openDirectory(again.descriptor, again.name, false);
  }

  #evict(keep: Directory): void {
    for (const directory of this.#open) {
      if (directory === keep) continue;
      if (directory.used) {
        directory.used = false;
        this.#open.delete(directory);
        this.#open.add(directory);
      } else {
        this.#close(directory);
        return;
      }
    }
  }

  #close(directory: Directory): void {
    if (directory.descriptor < 0) return;
    // With a job under way the descriptor is closed by whoever takes the last pin off.
    if (directory.pins === 0) this.#backing.close(directory.descriptor);
    else this.#parted.set(directory.descriptor, directory.pins);
    directory.pins = 0;
    directory.descriptor = -1;
    this.#open.delete(directory);
  }
  /** Descriptors that their directory gave up while jobs used them, and how many still do. */
  readonly #parted = new Map<Descriptor, number>();

  /** As {@link descriptor}, and it stays open until {@link unpin}. */
  pin(directory: Directory): Descriptor {
    const descriptor = this.descriptor(directory.slot);
    if (descriptor >= 0) directory.pins++;
    return descriptor;
  }
  unpin(directory: Directory, descriptor: Descriptor): void {
    const left = this.#parted.get(descriptor);
    if (left === undefined) {
      directory.pins--;
    } else if (left > 1) {
      this.#parted.set(descriptor, left - 1);
    } else {
      this.#parted.delete(descriptor);
      this.#backing.close(descriptor);
    }
  }

  /** The name behind a stored one: undefined for the vault's own entries and for what is not authentic. */
  reveal(directory: Directory, descriptor: Descriptor, stored: string): string | undefined {
    const long = stored.startsWith(LONG_PREFIX);
    if (!long && stored.startsWith('+')) return undefined;
    const content = long ? this.#readSide(descriptor, sideName(stored)) : undefined;
    if (long && content === undefined) return undefined;
    for (const { names } of directory.scope.live.since(directory.epoch)) {
      const name =
        content === undefined
          ? readName(names, directory.id, stored)
          : readLongName(names, directory.id, stored, content);
      if (name !== undefined) return name;
    }
    return undefined;
  }

  #readSide(descriptor: Descriptor, name: string): Buffer | undefined {
    const file = this.#backing.openFile(descriptor, name);
    if (file < 0) return undefined;
    const buffer = pinned(SIDE_BYTES + 1);
    const length = this.#backing.perform({
      op: 'pread',
      descriptor: file,
      buffer,
      at: 0,
      length: SIDE_BYTES + 1,
      offset: 0,
    });
    this.#backing.close(file);
    return length < 0 ? undefined : buffer.bytes.subarray(0, length);
  }

  /** Writes the side file of a long name, before the object gets that name. 0 or -errno. */
  writeSide(descriptor: Descriptor, stored: StoredName): number {
    const { side } = stored;
    if (side === undefined) return 0;
    let file = this.#backing.createFile(descriptor, side.name, 0o600);
    // Left by an earlier object of this name: its content is the same, or a crash cut it short. Write it again.
    if (file === -errno.EEXIST) file = this.#backing.openFile(descriptor, side.name);
    if (file < 0) return file;
    const buffer = pinned(side.content.length);
    side.content.copy(buffer.bytes);
    const length = buffer.bytes.length;
    const written = this.#backing.perform({
      op: 'pwrite',
      descriptor: file,
      buffer,
      at: 0,
      length,
      offset: 0,
    });
    // Durable before the object gets its name: a name without its side file could not be listed.
    const synced = written < 0 ? written : this.#backing.perform({ op: 'fdatasync', descriptor: file });
    this.#backing.close(file);
    if (synced < 0) return synced;
    return written === length ? 0 : -errno.ENOSPC;
  }

  /** Removes the side file of a long name, after the object lost it. A leftover is harmless. */
  removeSide(descriptor: Descriptor, stored: StoredName): void {
    if (stored.side !== undefined) this.#backing.unlink(descriptor, stored.side.name);
  }

  /** The names from the scope's root down to a node, joined by `/`, or undefined where a parent is unknown. */
  pathInScope(slot: Slot): string | undefined {
    const names: string[] = [];
    for (let at = slot; ; ) {
      if (this.#known[at] !== undefined && this.#table.has(at, flag.SCOPE_ROOT)) break;
      if (at === ROOT_SLOT) break;
      names.push(this.#table.name[at] as string);
      at = this.#table.parent[at] as number;
      if (at === NO_SLOT) return undefined;
    }
    return names.reverse().join('/');
  }
}
