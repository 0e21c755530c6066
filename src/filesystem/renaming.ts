import { errno } from '../base/errno.js';
import { XATTR } from '../format/binding.js';
import { NAME_MAX } from '../format/names.js';
import { RENAME_NOREPLACE } from './backing.js';
import type { Bindings } from './bindings.js';
import type { Caller, NodeId, Reply } from './contract.js';
import type { Directory } from './directories.js';
import { flag, ROOT_SLOT, type Slot } from './inode-table.js';
import type { Nodes } from './nodes.js';
import type { Removal } from './removal.js';
import type { Volume } from './volume.js';

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
    if ((flags & ~RENAME_NOREPLACE) !== 0) return -errno.EINVAL;
    const { table, backing, directories } = this.#volume;
    const from = this.#nodes.directory(parent, caller);
    const to = this.#nodes.directory(newParent, caller);
    if (typeof from === 'number') return from;
    if (typeof to === 'number') return to;
    if (from.scope !== to.scope) return -errno.EXDEV;
    if (newName.length > NAME_MAX) return -errno.ENAMETOOLONG;
    const slot = this.#nodes.find(from, name);
    if (slot < 0) return slot;
    const replaced = this.#nodes.find(to, newName);
    if (replaced < 0 && replaced !== -errno.ENOENT) return replaced;
    if (replaced === slot) return 0;
    if (replaced > 0 && (flags & RENAME_NOREPLACE) !== 0) return -errno.EEXIST;
    if (replaced > 0 && table.has(replaced, flag.SCOPE_ROOT)) return -errno.EBUSY;
    const source = directories.stored(from, name);
    const target = directories.stored(to, newName);
    const toHandle = directories.handle(to.slot);
    const fromHandle = directories.handle(from.slot);
    if (fromHandle < 0) return fromHandle;
    if (toHandle < 0) return toHandle;
    // Opening one may have closed the other where descriptors ran out.
    if (directories.handle(to.slot) !== toHandle) return -errno.EMFILE;

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
    if (done >= 0) done = backing.rename(fromHandle, source.name, toHandle, target.name, flags);
    freed();
    if (done < 0) {
      if (records !== undefined) {
        backing.setxattr(fromHandle, source.name, XATTR, records.before);
      }
      return done;
    }
    if (records !== undefined) backing.setxattr(toHandle, target.name, XATTR, records.after);
    directories.removeSide(fromHandle, source);

    if (replaced > 0) {
      directories.remove(replaced);
      this.#removal.gone(to, newName);
    }
    from.children.delete(name);
    to.children.set(newName, slot);
    if (table.parent[slot] === from.slot && table.name[slot] === name) {
      table.parent[slot] = to.slot;
      table.name[slot] = newName;
    }
    // Also where the count fell to 1: the old name must not stay behind as an alias.
    const { hardLinks } = this.#volume;
    if (hardLinks.knows(slot) || ((table.nlink[slot] as number) > 1 && !table.isDirectory(slot))) {
      hardLinks.add(slot, to, newName);
      hardLinks.remove(slot, from, name);
    }
    table.set(slot, flag.STALE);
    this.#nodes.touched(from);
    this.#nodes.touched(to);
    if (table.isDirectory(slot)) this.#scopesMoved(slot, from, name);
    return 0;
  }

  /** A directory was renamed: the labels of scopes at or below it follow. */
  #scopesMoved(slot: Slot, from: Directory, name: string): void {
    const { directories, scopes } = this.#volume;
    const above = directories.pathInScope(from.slot);
    const now = directories.pathInScope(slot);
    const home = this.#volume.table.has(slot, flag.SCOPE_ROOT) ? this.#pathOf(slot) : now;
    if (above === undefined || home === undefined) return;
    const old = above === '' ? name : `${above}/${name}`;
    for (const scope of scopes) {
      if (scope.parent !== from.scope) continue;
      if (scope.path === old) scope.path = home;
      else if (scope.path.startsWith(`${old}/`)) scope.path = home + scope.path.slice(old.length);
      else continue;
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
