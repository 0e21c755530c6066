import { errno } from '../../base/errno.js';
import { scopeId } from '../../base/ids.js';
import { judgeBinding, XATTR, XATTR_ROOT } from '../../format/names/binding.js';
import { readDirectoryRecord } from '../../format/names/directory-record.js';
import { NAME_MAX, type StoredName } from '../../format/names/names.js';
import { LINK_CHARACTERS, targetLength, XATTR_TARGET } from '../../format/names/symlink.js';
import type { Stat } from '../../libc/stat.js';
import type { OpenFiles } from '../content/open-files.js';
import { type Attributes, type Caller, type NodeId, Refusal, type Reply } from '../contract.js';
import type { Descriptor } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag, NO_SLOT, ROOT_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Scope } from '../inodes/scope.js';
import type { Volume } from '../inodes/volume.js';
import { type Access, Admission } from './admission.js';

/** Larger than any record, and than what is left of a target. */
const value = Buffer.alloc(2048);

/** A name in a directory, with that one's open descriptor and the stored form of the name. */
export interface Target {
  readonly directory: Directory;
  readonly name: string;
  readonly descriptor: Descriptor;
  readonly stored: StoredName;
}

/** Nodes: finding them, and their attributes. */
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
  /** Open ones are asked by their descriptors. */
  readonly files: OpenFiles;
  readonly admission: Admission;

  constructor(volume: Volume, files: OpenFiles) {
    this.volume = volume;
    this.files = files;
    this.admission = new Admission(volume);
  }

  /** The directory behind a node. */
  directory(node: NodeId, caller: Caller, access: Access): Directory | Refusal {
    const slot = this.admission.admit(node, caller, access);
    if (slot instanceof Refusal) return slot;
    return this.volume.directories.get(slot) ?? Refusal.failed(-errno.ENOTDIR);
  }

  /** A name to be changed in a directory, ready for a call of the backing. */
  target(parent: NodeId, name: string, caller: Caller): Target | Refusal {
    const directory = this.directory(parent, caller, 'change');
    if (directory instanceof Refusal) return directory;
    if (name.length > NAME_MAX) return Refusal.failed(-errno.ENAMETOOLONG);
    const descriptor = this.volume.directories.descriptor(directory.slot);
    if (descriptor < 0) return Refusal.failed(descriptor);
    return { directory, name, descriptor, stored: this.volume.directories.stored(directory, name) };
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
    const { table, backing, directories, stat } = this.volume;
    const file = this.files.get(slot);
    const open = file?.descriptor ?? directories.get(slot)?.descriptor ?? -1;
    let done: number;
    let at: { descriptor: Descriptor; name: string } | undefined;
    if (open >= 0) {
      done = backing.fstat(open, stat);
    } else if (slot === ROOT_SLOT) {
      done = backing.fstat(backing.root, stat);
    } else {
      const place = directories.place(slot);
      // Unlinked, not open: what we know is all there is.
      if (place === undefined) return 0;
      done = backing.stat(place.descriptor, place.name, stat);
      at = place;
    }
    if (done < 0) return done;
    // The size of a file that is open and known is ours: on the disk a change of it may be half done.
    const known = file?.loaded === true;
    table.fill(slot, stat, known ? (table.size[slot] as number) : this.plainSize(stat, at));
    return 0;
  }

  /** Sets an object's permissions in the backing, by whichever way it is reached. 0 or -errno. */
  setMode(slot: Slot, mode: number): number {
    const { backing, directories } = this.volume;
    const open = slot === ROOT_SLOT ? backing.root : this.files.get(slot)?.descriptor;
    if (open !== undefined) return backing.fchmod(open, mode);
    const place = directories.place(slot);
    return place === undefined ? -errno.ESTALE : backing.chmod(place.descriptor, place.name, mode);
  }

  /** What of a symlink's sealed target lies in its xattr. `characters`: the backing symlink's length. */
  targetRest(descriptor: Descriptor, name: string, characters: number): Buffer | undefined {
    if (characters !== LINK_CHARACTERS) return undefined;
    const length = this.volume.backing.getxattr(descriptor, name, XATTR_TARGET, value);
    return length < 0 ? undefined : Buffer.from(value.subarray(0, length));
  }

  plainSize(stat: Stat, at?: { descriptor: Descriptor; name: string }): number {
    // A size that no plaintext gives is EIO at the first read; until then the object can be seen and deleted.
    if (stat.isRegular) return this.volume.geometry.plainSizeTrimmed(stat.size);
    if (stat.isSymlink)
      return targetLength(
        stat.size,
        at === undefined ? 0 : this.targetRest(at.descriptor, at.name, stat.size)?.length,
      );
    return stat.size;
  }

  /** Finds a name: its slot (without a new lookup reference), or -errno. */
  find(directory: Directory, name: string): Slot {
    const known = directory.children.get(name);
    if (known !== undefined) return known;
    if (name.length > NAME_MAX) return -errno.ENAMETOOLONG;
    const { directories, backing, stat } = this.volume;
    const descriptor = directories.descriptor(directory.slot);
    if (descriptor < 0) return descriptor;
    const stored = directories.stored(directory, name);
    const started = performance.now();
    const done = backing.stat(descriptor, stored.name, stat);
    this.volume.executor.took(performance.now() - started);
    return done < 0 ? done : this.adopt(directory, descriptor, name, stored.name, stat);
  }

  /** Gives an object of the backing a slot. `stat` is its state now. */
  adopt(directory: Directory, descriptor: Descriptor, name: string, stored: string, stat: Stat): Slot {
    const { table, hardLinks, pruner } = this.volume;
    pruner.look();
    if (stat.isDirectory) return this.#adoptDirectory(directory, descriptor, name, stored, stat);
    // Also where the count fell to 1 meanwhile: one backing inode must not become two of ours.
    const other = hardLinks.find(stat.ino);
    const known =
      other !== undefined &&
      table.scope[other] === directory.scope.index &&
      !table.has(other, flag.DEAD | flag.UNLINKED);
    const several = (known || stat.nlink > 1) && this.#linked(directory, descriptor, stored, stat);
    if (known && several) {
      table.fill(other, stat, this.plainSize(stat, { descriptor, name: stored }));
      directory.children.set(name, other);
      hardLinks.add(other, directory, name);
      return other;
    }
    const slot = table.allocate(directory.scope.index, directory.slot, name);
    if (slot === NO_SLOT) return -errno.ENOMEM;
    table.fill(slot, stat, this.plainSize(stat, { descriptor, name: stored }));
    directory.children.set(name, slot);
    if (several) hardLinks.add(slot, directory, name);
    return slot;
  }

  /**
   * Whether a file says, authentically, that it is bound to no name. Only a file that was linked through us is one
   * file under all its names: a link planted in the vault would show one file's content under another's name. Empty
   * files and other kinds have no binding.
   */
  #linked(directory: Directory, descriptor: Descriptor, stored: string, stat: Stat): boolean {
    if (!stat.isRegular || stat.size === 0) return true;
    const length = this.volume.backing.getxattr(descriptor, stored, XATTR, value);
    if (length < 0) return false;
    const tag = Buffer.alloc(16);
    const place = { directory: directory.id, name: '' };
    return judgeBinding(directory.scope.live.since(0), value.subarray(0, length), place, tag) === 'unbound';
  }

  #adoptDirectory(parent: Directory, descriptor: Descriptor, name: string, stored: string, stat: Stat): Slot {
    const { table, backing, directories } = this.volume;
    const length = backing.getxattr(descriptor, stored, XATTR, value);
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
      this.volume.tell({ kind: 'moved', scope: scope.id, path });
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
      length = backing.getxattr(place.descriptor, place.name, XATTR_ROOT, value);
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
    const { table, directories, hardLinks } = this.volume;
    if (table.has(slot, flag.OPEN)) {
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
