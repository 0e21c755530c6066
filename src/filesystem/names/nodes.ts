import { errno } from '../../base/errno.js';
import { scopeId } from '../../base/ids.js';
import { judgeBinding, XATTR, XATTR_ROOT } from '../../format/names/binding.js';
import { readDirectoryRecord } from '../../format/names/directory-record.js';
import { NAME_MAX, type StoredName } from '../../format/names/names.js';
import { LINK_CHARACTERS, targetLength, XATTR_TARGET } from '../../format/names/symlink.js';
import type { Stat } from '../../libc/stat.js';
import type { Attributes, Caller, NodeId, Reply } from '../contract.js';
import type { Handle } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag, NO_SLOT, ROOT_SLOT, type Slot, UNKNOWN_NODE } from '../inodes/inode-table.js';
import type { Scope } from '../inodes/scope.js';
import type { Volume } from '../inodes/volume.js';

/** What a request does to a node: whether a lock under way, its caller or a read-only lease refuses it. */
export type Access =
  /** Serves dirty pages or gives something back: allowed until the wipe, for all. */
  | 'drain'
  /** By an open handle, whoever has it now; or a LOOKUP, whose refusal would take the name from others (README.md). */
  | 'handle'
  /** By a name: refused to callers who may not see the scope. */
  | 'use'
  /** As `use`, and it changes something. */
  | 'change';

/** Larger than any record, and than what is left of a target. */
const value = Buffer.alloc(2048);

/** A directory with an open descriptor and the stored form of a name in it. */
export interface Target {
  readonly directory: Directory;
  readonly handle: Handle;
  readonly stored: StoredName;
}

/** Nodes: finding them, judging whether they may be touched, their attributes. */
export class Nodes {
  readonly volume: Volume;
  readonly #shown: Attributes = {
    ino: 0,
    size: 0,
    blocks: 0,
    mode: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    atime: 0,
    atimeNs: 0,
    mtime: 0,
    mtimeNs: 0,
    ctime: 0,
    ctimeNs: 0,
    cacheable: true,
  };
  /** A scope's root was found elsewhere than its label says. */
  onMoved: (scope: Scope, path: string) => void = () => {};

  constructor(volume: Volume) {
    this.volume = volume;
  }

  /** The slot of a node whose content may be used, or -errno: ESTALE for an unknown one, ENOKEY for a locked one. */
  usable(node: NodeId, caller: Caller, access: Access): Slot {
    const { table } = this.volume;
    const slot = table.slot(node);
    if (slot === NO_SLOT) return -UNKNOWN_NODE;
    if (table.has(slot, flag.DEAD)) return -errno.ENOKEY;
    table.set(slot, flag.RECENT);
    const scope = this.volume.scopeOf(slot);
    if (scope.state === 'open') {
      if (access === 'use' || access === 'change') {
        if (!scope.admits(caller)) return -errno.ENOKEY;
        if (access === 'change' && scope.readOnly) return -errno.EROFS;
      }
      // Of a restricted one what was judged counts alone: others may knock as long as they like.
      const judged = access === 'use' || access === 'change';
      if (!caller.trusted && (judged || !scope.restricted)) scope.operations++;
      return slot;
    }
    if (scope.state === 'locking' && (access === 'drain' || caller.trusted)) return slot;
    return -errno.ENOKEY;
  }

  /** Whether a caller may see and move an object as a name in its parent: a restricted scope's root only who is let in. */
  passes(slot: Slot, caller: Caller): boolean {
    return !this.volume.table.has(slot, flag.SCOPE_ROOT) || this.volume.scopeOf(slot).admits(caller);
  }

  /** The directory behind a node, usable; or -errno. */
  directory(node: NodeId, caller: Caller, access: Access): Directory | number {
    const slot = this.usable(node, caller, access);
    if (slot < 0) return slot;
    return this.volume.directories.get(slot) ?? -errno.ENOTDIR;
  }

  /** A name to be changed in a usable directory, ready for a call of the backing; or -errno. */
  target(parent: NodeId, name: string, caller: Caller): Target | number {
    const directory = this.directory(parent, caller, 'change');
    if (typeof directory === 'number') return directory;
    if (name.length > NAME_MAX) return -errno.ENAMETOOLONG;
    const handle = this.volume.directories.handle(directory.slot);
    if (handle < 0) return handle;
    return { directory, handle, stored: this.volume.directories.stored(directory, name) };
  }

  /** Answers with a slot and takes the lookup reference. */
  entry(slot: Slot, reply: Reply): void {
    const attributes = this.attributes(slot);
    if (typeof attributes === 'number') {
      reply.error(-attributes);
      return;
    }
    const { table } = this.volume;
    table.lookups[slot] = (table.lookups[slot] as number) + 1;
    reply.entry(table.node(slot), attributes);
  }

  /** Marks a directory's attributes stale after a change of its names. */
  touched(directory: Directory): void {
    this.volume.table.set(directory.slot, flag.STALE);
  }

  /** The attributes of a slot, in one shared object: use it at once. Asks the backing where they are stale. */
  attributes(slot: Slot): Attributes | number {
    const { table } = this.volume;
    if (table.has(slot, flag.STALE)) {
      const done = this.#refresh(slot);
      if (done < 0) return done;
    }
    const shown = this.#shown;
    const scope = this.volume.scopeOf(slot);
    shown.ino = table.ino[slot] as number;
    shown.size = table.size[slot] as number;
    shown.blocks = table.blocks[slot] as number;
    shown.mode = table.mode[slot] as number;
    shown.nlink = table.nlink[slot] as number;
    shown.uid = table.uid[slot] as number;
    shown.gid = table.gid[slot] as number;
    shown.rdev = table.rdev[slot] as number;
    shown.atime = table.atime[slot] as number;
    shown.atimeNs = table.atimeNs[slot] as number;
    shown.mtime = table.mtime[slot] as number;
    shown.mtimeNs = table.mtimeNs[slot] as number;
    shown.ctime = table.ctime[slot] as number;
    shown.ctimeNs = table.ctimeNs[slot] as number;
    // The door: each walk into a restricted scope asks for its root's attributes, and is refused there by caller. Also
    // while it is locked, so that nothing of before is valid when it opens.
    shown.cacheable = scope.state === 'open' && !(scope.restricted && slot === scope.root);
    return shown;
  }

  #refresh(slot: Slot): number {
    const { table, backing, directories, files, stat } = this.volume;
    const file = files.get(slot);
    const open = file?.handle ?? directories.get(slot)?.handle ?? -1;
    let done: number;
    let at: { handle: Handle; name: string } | undefined;
    if (open >= 0) {
      done = backing.fstat(open, stat);
    } else if (slot === ROOT_SLOT) {
      done = backing.fstat(backing.root, stat);
    } else {
      const place = directories.place(slot);
      // Unlinked, not open: what we know is all there is.
      if (place === undefined) return 0;
      done = backing.stat(place.handle, place.name, stat);
      at = place;
    }
    if (done < 0) return done;
    // The size of a file that is open and known is ours: on the disk a change of it may be half done.
    const known = file?.loaded === true;
    table.fill(slot, stat, known ? (table.size[slot] as number) : this.plainSize(stat, at));
    return 0;
  }

  /** What of a symlink's sealed target lies in its xattr. `characters`: the backing symlink's length. */
  targetRest(handle: Handle, name: string, characters: number): Buffer | undefined {
    if (characters !== LINK_CHARACTERS) return undefined;
    const length = this.volume.backing.getxattr(handle, name, XATTR_TARGET, value);
    return length < 0 ? undefined : Buffer.from(value.subarray(0, length));
  }

  plainSize(stat: Stat, at?: { handle: Handle; name: string }): number {
    // A size that no plaintext gives is EIO at the first read; until then the object can be seen and deleted.
    if (stat.isRegular) return this.volume.geometry.plainSizeTrimmed(stat.size);
    if (stat.isSymlink)
      return targetLength(
        stat.size,
        at === undefined ? 0 : this.targetRest(at.handle, at.name, stat.size)?.length,
      );
    return stat.size;
  }

  /** Finds a name: its slot (without a new lookup reference), or -errno. */
  find(directory: Directory, name: string): Slot {
    const known = directory.children.get(name);
    if (known !== undefined) return known;
    if (name.length > NAME_MAX) return -errno.ENAMETOOLONG;
    const { directories, backing, stat } = this.volume;
    const handle = directories.handle(directory.slot);
    if (handle < 0) return handle;
    const stored = directories.stored(directory, name);
    const started = performance.now();
    const done = backing.stat(handle, stored.name, stat);
    this.volume.executor.took(performance.now() - started);
    return done < 0 ? done : this.adopt(directory, handle, name, stored.name, stat);
  }

  /** Gives an object of the backing a slot. `stat` is its state now. */
  adopt(directory: Directory, handle: Handle, name: string, stored: string, stat: Stat): Slot {
    const { table, hardLinks, pruner } = this.volume;
    pruner.look();
    if (stat.isDirectory) return this.#adoptDirectory(directory, handle, name, stored, stat);
    // Also where the count fell to 1 meanwhile: one backing inode must not become two of ours.
    const other = hardLinks.find(stat.ino);
    const known =
      other !== undefined &&
      table.scope[other] === directory.scope.index &&
      !table.has(other, flag.DEAD | flag.UNLINKED);
    const several = (known || stat.nlink > 1) && this.#linked(directory, handle, stored, stat);
    if (known && several) {
      table.fill(other, stat, this.plainSize(stat, { handle, name: stored }));
      directory.children.set(name, other);
      hardLinks.add(other, directory, name);
      return other;
    }
    const slot = table.allocate(directory.scope.index, directory.slot, name);
    if (slot === NO_SLOT) return -errno.ENOMEM;
    table.fill(slot, stat, this.plainSize(stat, { handle, name: stored }));
    directory.children.set(name, slot);
    if (several) hardLinks.add(slot, directory, name);
    return slot;
  }

  /**
   * Whether a file says, authentically, that it is bound to no name. Only a file that was linked through us is one
   * file under all its names: a link planted in the vault would show one file's content under another's name. Empty
   * files and other kinds have no binding.
   */
  #linked(directory: Directory, handle: Handle, stored: string, stat: Stat): boolean {
    if (!stat.isRegular || stat.size === 0) return true;
    const length = this.volume.backing.getxattr(handle, stored, XATTR, value);
    if (length < 0) return false;
    const tag = Buffer.alloc(16);
    const place = { directory: directory.id, name: '' };
    return judgeBinding(directory.scope.live.since(0), value.subarray(0, length), place, tag) === 'unbound';
  }

  #adoptDirectory(parent: Directory, handle: Handle, name: string, stored: string, stat: Stat): Slot {
    const { table, backing, directories } = this.volume;
    const length = backing.getxattr(handle, stored, XATTR, value);
    const place = { directory: parent.id, name };
    const keys = parent.scope.live;
    const bytes = value.subarray(0, Math.max(0, length));
    const record = readDirectoryRecord((epoch) => keys.at(epoch)?.binding, bytes, place);
    if (record === undefined || record.kind === 'root') return -errno.EIO;
    if (record.kind === 'directory') {
      return this.addDirectory(parent, name, record.id, record.epoch, stat);
    }
    const id = scopeId(record.id.toString('hex'));
    const scope = this.volume.scope(id);
    if (scope === undefined) return -errno.EIO;
    let slot = scope.root;
    if (slot === NO_SLOT) {
      slot = table.allocate(scope.index, parent.slot, name);
      if (slot === NO_SLOT) return -errno.ENOMEM;
      scope.root = slot;
      table.set(slot, flag.SCOPE_ROOT);
    }
    table.fill(slot, stat, stat.size);
    table.parent[slot] = parent.slot;
    table.name[slot] = name;
    parent.children.set(name, slot);
    this.#noteMoved(scope, parent, name);
    if (scope.isOpen && directories.get(slot) === undefined) {
      const opened = this.openRoot(scope);
      if (opened < 0) {
        parent.children.delete(name);
        return opened;
      }
    }
    return slot;
  }

  /** Gives a directory a slot whose record is known to be right. `stat` is its state now. */
  addDirectory(parent: Directory, name: string, id: Buffer, epoch: number, stat: Stat): Slot {
    const { table, directories } = this.volume;
    const slot = table.allocate(parent.scope.index, parent.slot, name);
    if (slot === NO_SLOT) return -errno.ENOMEM;
    table.fill(slot, stat, stat.size);
    directories.add(slot, parent.scope, id, epoch);
    parent.children.set(name, slot);
    return slot;
  }

  #noteMoved(scope: Scope, parent: Directory, name: string): void {
    const above = this.volume.directories.pathInScope(parent.slot);
    if (above === undefined) return;
    const path = above === '' ? name : `${above}/${name}`;
    if (path !== scope.path) {
      scope.path = path;
      this.onMoved(scope, path);
    }
  }

  /** Reads an unlocked scope's root record and makes its root a directory of its own. 0 or -errno. */
  openRoot(scope: Scope): number {
    const { backing, directories } = this.volume;
    let length: number;
    if (scope.root === ROOT_SLOT) {
      length = backing.fgetxattr(backing.root, XATTR_ROOT, value);
    } else {
      const place = directories.place(scope.root);
      if (place === undefined) return -errno.EIO;
      length = backing.getxattr(place.handle, place.name, XATTR_ROOT, value);
    }
    if (length < 0) return -errno.EIO;
    const record = readDirectoryRecord((epoch) => scope.live.at(epoch)?.binding, value.subarray(0, length));
    if (record?.kind !== 'root') return -errno.EIO;
    directories.add(scope.root, scope, record.id, record.epoch);
    return 0;
  }

  /** Takes lookup references back; the last one frees the slot. */
  forget(node: NodeId, count: number): void {
    const { table } = this.volume;
    const slot = table.slot(node);
    if (slot === NO_SLOT || slot === ROOT_SLOT) return;
    const left = (table.lookups[slot] as number) - count;
    if (left > 0) {
      table.lookups[slot] = left;
      return;
    }
    this.#free(slot);
  }

  #free(slot: Slot): void {
    const { table, directories, files, hardLinks } = this.volume;
    if (files.has(slot)) {
      // The kernel releases handles before it forgets; keep the slot if it ever should not.
      table.lookups[slot] = 1;
      return;
    }
    const parent = directories.get(table.parent[slot] as number);
    const name = table.name[slot] as string;
    if (parent?.children.get(name) === slot) parent.children.delete(name);
    hardLinks.drop(slot);
    const directory = directories.get(slot);
    if (directory !== undefined) {
      // Left are files known under another name as well, and what only we looked up.
      for (const [child, childSlot] of directory.children) {
        if (table.lookups[childSlot] === 0) this.#free(childSlot);
        else hardLinks.remove(childSlot, directory, child);
      }
      directories.remove(slot);
    }
    if (table.has(slot, flag.SCOPE_ROOT)) {
      const scope = this.volume.scopeOf(slot);
      if (scope.root === slot) scope.root = NO_SLOT;
    }
    table.release(slot);
  }
}
