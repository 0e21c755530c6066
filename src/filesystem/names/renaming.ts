import { errno } from '../../base/errno.js';
import { XATTR } from '../../format/names/binding.js';
import { NAME_MAX } from '../../format/names/names.js';
import type { Caller, NodeId, Reply } from '../contract.js';
import type { Handle } from '../disk/backing.js';
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag, ROOT_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Bindings } from './bindings.js';
import type { Nodes } from './nodes.js';
import type { Removal } from './removal.js';

const FLAGS: readonly number[] = [
  0,
  RENAME_NOREPLACE,
  RENAME_EXCHANGE,
  RENAME_WHITEOUT,
  RENAME_WHITEOUT | RENAME_NOREPLACE,
];

/** rename(2): the object's binding first names both places, then the new one. */
export class Renaming {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #removal: Removal;
  readonly #bindings: Bindings;

  constructor(volume: Volume, nodes: Nodes, removal: Removal, bindings: Bindings) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#removal = removal;
    this.#bindings = bindings;
  }

  rename(
    parent: NodeId,
    name: string,
    newParent: NodeId,
    newName: string,
    flags: number,
    caller: Caller,
    reply: Reply,
  ): void {
    const done = this.#rename(parent, name, newParent, newName, flags, caller);
    if (done < 0) reply.error(-done);
    else reply.ok();
  }

  #rename(
    parent: NodeId,
    name: string,
    newParent: NodeId,
    newName: string,
    flags: number,
    caller: Caller,
  ): number {
    if (!FLAGS.includes(flags)) return -errno.EINVAL;
    const { table, backing, directories } = this.#volume;
    const from = this.#nodes.directory(parent, caller, 'change');
    const to = this.#nodes.directory(newParent, caller, 'change');
    if (typeof from === 'number') return from;
    if (typeof to === 'number') return to;
    if (from.scope !== to.scope) return -errno.EXDEV;
    if (newName.length > NAME_MAX) return -errno.ENAMETOOLONG;
    const slot = this.#nodes.find(from, name);
    if (slot < 0) return slot;
    const replaced = this.#nodes.find(to, newName);
    if (replaced < 0 && replaced !== -errno.ENOENT) return replaced;
    if (!this.#nodes.passes(slot, caller)) return -errno.ENOKEY;
    if (replaced > 0 && !this.#nodes.passes(replaced, caller)) return -errno.ENOKEY;
    if ((flags & RENAME_EXCHANGE) !== 0 && replaced < 0) return replaced;
    if (replaced === slot) return 0;
    if (replaced > 0 && (flags & RENAME_NOREPLACE) !== 0) return -errno.EEXIST;
    const exchange = (flags & RENAME_EXCHANGE) !== 0;
    if (replaced > 0 && !exchange && table.has(replaced, flag.SCOPE_ROOT)) return -errno.EBUSY;
    const source = directories.stored(from, name);
    const target = directories.stored(to, newName);
    const toHandle = directories.handle(to.slot);
    const fromHandle = directories.handle(from.slot);
    if (fromHandle < 0) return fromHandle;
    if (toHandle < 0) return toHandle;
    // Opening one may have closed the other where descriptors ran out.
    if (directories.handle(to.slot) !== toHandle) return -errno.EMFILE;

    if (exchange) return this.#exchange(slot, from, name, replaced, to, newName, fromHandle, toHandle);
    const records = this.#bindings.forRename(slot, from, name, to, newName, fromHandle, source.name);
    if (typeof records === 'number') return records;
    let done = 0;
    if (records !== undefined) {
      done = backing.setxattr(fromHandle, source.name, XATTR, records.both);
    }
    if (done >= 0) done = directories.writeSide(toHandle, target);
    if (done >= 0 && replaced > 0 && table.isDirectory(replaced) && table.isDirectory(slot)) {
      // A leftover of the vault's own in an empty directory would make the backing refuse.
      const entries = backing.list(directories.handle(replaced));
      if (typeof entries !== 'number' && entries.length > 0) {
        done = this.#removal.removeDirectory(replaced, toHandle, target);
        if (done >= 0) done = directories.writeSide(toHandle, target);
      }
    }
    const freed = this.#removal.largeFile(replaced > 0 ? replaced : undefined, toHandle, target);
    const map = this.#removal.mapOf(replaced > 0 ? replaced : undefined, toHandle, target);
    if (done >= 0) done = backing.rename(fromHandle, source.name, toHandle, target.name, flags);
    freed();
    if (done >= 0 && map !== undefined) backing.unlink(backing.root, map);
    if (done < 0) {
      if (records !== undefined) {
        backing.setxattr(fromHandle, source.name, XATTR, records.before);
      }
      return done;
    }
    if (records !== undefined) backing.setxattr(toHandle, target.name, XATTR, records.after);
    // A whiteout has the old name, in its stored form too.
    if ((flags & RENAME_WHITEOUT) === 0) directories.removeSide(fromHandle, source);
    else backing.chown(fromHandle, source.name, caller.uid, caller.gid);

    if (replaced > 0) {
      directories.remove(replaced);
      this.#removal.gone(to, newName);
    }
    from.children.delete(name);
    this.#moved(slot, from, name, to, newName);
    this.#relabel(from, [this.#move(slot, from, name)]);
    return 0;
  }

  /** Both objects get both places in their bindings, change places, and then have one each. */
  #exchange(
    one: Slot,
    from: Directory,
    name: string,
    other: Slot,
    to: Directory,
    newName: string,
    fromHandle: Handle,
    toHandle: Handle,
  ): number {
    const { backing, directories } = this.#volume;
    const source = directories.stored(from, name).name;
    const target = directories.stored(to, newName).name;
    const bindings = this.#bindings;
    const first = bindings.forRename(one, from, name, to, newName, fromHandle, source);
    if (typeof first === 'number') return first;
    const second = bindings.forRename(other, to, newName, from, name, toHandle, target);
    if (typeof second === 'number') return second;
    const at = (handle: Handle, place: string, record: Buffer | undefined): number =>
      record === undefined ? 0 : backing.setxattr(handle, place, XATTR, record);
    let done = at(fromHandle, source, first?.both);
    if (done >= 0) done = at(toHandle, target, second?.both);
    if (done >= 0) done = backing.rename(fromHandle, source, toHandle, target, RENAME_EXCHANGE);
    if (done < 0) {
      at(fromHandle, source, first?.before);
      at(toHandle, target, second?.before);
      return done;
    }
    at(toHandle, target, first?.after);
    at(fromHandle, source, second?.after);
    this.#moved(one, from, name, to, newName);
    this.#moved(other, to, newName, from, name);
    // The second move found the first one's old name taken, or the other way round.
    to.children.set(newName, one);
    from.children.set(name, other);
    this.#relabel(from, [this.#move(one, from, name), this.#move(other, to, newName)]);
    return 0;
  }

  /** What we know of an object follows it to its new place. */
  #moved(slot: Slot, from: Directory, name: string, to: Directory, newName: string): void {
    const { table, hardLinks } = this.#volume;
    to.children.set(newName, slot);
    if (table.parent[slot] === from.slot && table.name[slot] === name) {
      table.parent[slot] = to.slot;
      table.name[slot] = newName;
    }
    // Also where the count fell to 1: the old name must not stay behind as an alias.
    if (hardLinks.knows(slot) || ((table.nlink[slot] as number) > 1 && !table.isDirectory(slot))) {
      hardLinks.add(slot, to, newName);
      hardLinks.remove(slot, from, name);
    }
    table.set(slot, flag.STALE);
    this.#nodes.touched(from);
    this.#nodes.touched(to);
  }

  /** Where a directory was and is now, below its scope's root; undefined for anything else. */
  #move(slot: Slot, from: Directory, name: string): { old: string; now: string } | undefined {
    const { directories, table } = this.#volume;
    if (!table.isDirectory(slot)) return undefined;
    const above = directories.pathInScope(from.slot);
    const now = table.has(slot, flag.SCOPE_ROOT) ? this.#pathOf(slot) : directories.pathInScope(slot);
    if (above === undefined || now === undefined) return undefined;
    return { old: above === '' ? name : `${above}/${name}`, now };
  }

  /** Directories of a scope moved, all at once: the labels of scopes at or below them follow. */
  #relabel(from: Directory, moves: readonly ({ old: string; now: string } | undefined)[]): void {
    for (const scope of this.#volume.scopes) {
      if (scope.parent !== from.scope) continue;
      const { path } = scope;
      const move = moves.find(
        (one) => one !== undefined && (path === one.old || path.startsWith(`${one.old}/`)),
      );
      if (move === undefined) continue;
      scope.path = move.now + path.slice(move.old.length);
      this.#nodes.onMoved(scope, scope.path);
    }
  }

  /** Path of a scope's root within its parent scope. */
  #pathOf(slot: Slot): string | undefined {
    const { table, directories } = this.#volume;
    if (slot === ROOT_SLOT) return '';
    const above = directories.pathInScope(table.parent[slot] as number);
    const name = table.name[slot] as string;
    return above === undefined || above === '' ? name : `${above}/${name}`;
  }
}
