import { errno } from '../../base/errno.js';
import { XATTR } from '../../format/names/binding.js';
import { NAME_MAX } from '../../format/names/names.js';
import { type Caller, Refusal, type RenameRequest, type Reply } from '../contract.js';
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag, ROOT_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Bindings } from './bindings.js';
import type { Nodes, Target } from './nodes.js';
import type { Removal } from './removal.js';

const FLAGS: readonly number[] = [
  0,
  RENAME_NOREPLACE,
  RENAME_EXCHANGE,
  RENAME_WHITEOUT,
  RENAME_WHITEOUT | RENAME_NOREPLACE,
];

/** An object that moves, from one name to another. */
interface Move {
  readonly slot: Slot;
  readonly from: Target;
  readonly to: Target;
}

/** rename(2): the object's binding first names both places, then the new one. */
export class Rename {
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

  rename(request: RenameRequest, caller: Caller, reply: Reply): void {
    const done = this.#rename(request, caller);
    if (done instanceof Refusal) reply.refuse(done);
    else if (done < 0) reply.error(-done);
    else reply.ok();
  }

  #rename({ parent, name, newParent, newName, flags }: RenameRequest, caller: Caller): number | Refusal {
    if (!FLAGS.includes(flags)) return -errno.EINVAL;
    const { table, directories } = this.#volume;
    const from = this.#nodes.directory(parent, caller, 'change');
    const to = this.#nodes.directory(newParent, caller, 'change');
    if (from instanceof Refusal) return from;
    if (to instanceof Refusal) return to;
    if (from.scope !== to.scope) return -errno.EXDEV;
    if (newName.length > NAME_MAX) return -errno.ENAMETOOLONG;
    const slot = this.#nodes.find(from, name);
    if (slot < 0) return slot;
    const replaced = this.#nodes.find(to, newName);
    if (replaced < 0 && replaced !== -errno.ENOENT) return replaced;
    if (!this.#nodes.admission.passes(slot, caller)) return Refusal.for('caller');
    if (replaced > 0 && !this.#nodes.admission.passes(replaced, caller)) return Refusal.for('caller');
    const exchange = (flags & RENAME_EXCHANGE) !== 0;
    if (exchange && replaced < 0) return replaced;
    if (replaced === slot) return 0;
    if (replaced > 0 && (flags & RENAME_NOREPLACE) !== 0) return -errno.EEXIST;
    if (replaced > 0 && !exchange && table.has(replaced, flag.SCOPE_ROOT)) return -errno.EBUSY;
    const source = directories.stored(from, name);
    const target = directories.stored(to, newName);
    const toDescriptor = directories.descriptor(to.slot);
    const fromDescriptor = directories.descriptor(from.slot);
    if (fromDescriptor < 0) return fromDescriptor;
    if (toDescriptor < 0) return toDescriptor;
    // Opening one may have closed the other where descriptors ran out.
    if (directories.descriptor(to.slot) !== toDescriptor) return -errno.EMFILE;
    const move = {
      slot,
      from: { directory: from, name, descriptor: fromDescriptor, stored: source },
      to: { directory: to, name: newName, descriptor: toDescriptor, stored: target },
    };
    return exchange
      ? this.#exchange(move, { slot: replaced, from: move.to, to: move.from })
      : this.#replace(move, replaced > 0 ? replaced : undefined, flags, caller);
  }

  /** `replaced`: what has the new name now. */
  #replace(move: Move, replaced: Slot | undefined, flags: number, caller: Caller): number {
    const { table, backing, directories } = this.#volume;
    const { slot, from, to } = move;
    const records = this.#bindings.forRename(slot, from, to);
    if (typeof records === 'number') return records;
    let done = 0;
    if (records !== undefined)
      done = backing.setxattr(from.descriptor, from.stored.name, XATTR, records.both);
    if (done >= 0) done = directories.writeSide(to.descriptor, to.stored);
    if (done >= 0 && replaced !== undefined && table.isDirectory(replaced) && table.isDirectory(slot)) {
      // A leftover of the vault's own in an empty directory would make the backing refuse.
      const entries = backing.list(directories.descriptor(replaced));
      if (typeof entries !== 'number' && entries.length > 0) {
        done = this.#removal.removeDirectory(replaced, to.descriptor, to.stored);
        if (done >= 0) done = directories.writeSide(to.descriptor, to.stored);
      }
    }
    const freed = this.#removal.largeFile(replaced, to.descriptor, to.stored);
    const map = this.#removal.mapOf(replaced, to.descriptor, to.stored);
    if (done >= 0)
      done = backing.rename(from.descriptor, from.stored.name, to.descriptor, to.stored.name, flags);
    freed();
    if (done >= 0 && map !== undefined) backing.unlink(backing.root, map);
    if (done < 0) {
      if (records !== undefined) backing.setxattr(from.descriptor, from.stored.name, XATTR, records.before);
      return done;
    }
    if (records !== undefined) backing.setxattr(to.descriptor, to.stored.name, XATTR, records.after);
    // A whiteout has the old name, in its stored form too.
    if ((flags & RENAME_WHITEOUT) === 0) directories.removeSide(from.descriptor, from.stored);
    else backing.chown(from.descriptor, from.stored.name, caller.uid, caller.gid);

    if (replaced !== undefined) {
      directories.remove(replaced);
      this.#removal.gone(to.directory, to.name);
    }
    from.directory.children.delete(from.name);
    this.#moved(move);
    this.#relabel(from.directory, [move]);
    return 0;
  }

  /** Both objects get both places in their bindings, change places, and then have one each. */
  #exchange(one: Move, other: Move): number {
    const { backing } = this.#volume;
    const { from, to } = one;
    const first = this.#bindings.forRename(one.slot, one.from, one.to);
    if (typeof first === 'number') return first;
    const second = this.#bindings.forRename(other.slot, other.from, other.to);
    if (typeof second === 'number') return second;
    const at = ({ descriptor, stored }: Target, record: Buffer | undefined): number =>
      record === undefined ? 0 : backing.setxattr(descriptor, stored.name, XATTR, record);
    let done = at(from, first?.both);
    if (done >= 0) done = at(to, second?.both);
    if (done >= 0) {
      done = backing.rename(
        from.descriptor,
        from.stored.name,
        to.descriptor,
        to.stored.name,
        RENAME_EXCHANGE,
      );
    }
    if (done < 0) {
      at(from, first?.before);
      at(to, second?.before);
      return done;
    }
    at(to, first?.after);
    at(from, second?.after);
    this.#moved(one);
    this.#moved(other);
    // The second move found the first one's old name taken, or the other way round.
    to.directory.children.set(to.name, one.slot);
    from.directory.children.set(from.name, other.slot);
    this.#relabel(from.directory, [one, other]);
    return 0;
  }

  /** What we know of an object follows it to its new place. */
  #moved({ slot, from, to }: Move): void {
    const { table, hardLinks } = this.#volume;
    to.directory.children.set(to.name, slot);
    if (table.parent[slot] === from.directory.slot && table.name[slot] === from.name) {
      table.parent[slot] = to.directory.slot;
      table.name[slot] = to.name;
    }
    // Also where the count fell to 1: the old name must not stay behind as an alias.
    if (hardLinks.knows(slot) || ((table.nlink[slot] as number) > 1 && !table.isDirectory(slot))) {
      hardLinks.add(slot, to.directory, to.name);
      hardLinks.remove(slot, from.directory, from.name);
    }
    table.set(slot, flag.STALE);
    this.#nodes.touched(from.directory);
    this.#nodes.touched(to.directory);
  }

  /** Where a directory was and is now, below its scope's root; undefined for anything else. */
  #paths({ slot, from }: Move): { old: string; now: string } | undefined {
    const { directories, table } = this.#volume;
    if (!table.isDirectory(slot)) return undefined;
    const above = directories.pathInScope(from.directory.slot);
    const now = table.has(slot, flag.SCOPE_ROOT) ? this.#pathOf(slot) : directories.pathInScope(slot);
    if (above === undefined || now === undefined) return undefined;
    return { old: above === '' ? from.name : `${above}/${from.name}`, now };
  }

  /** Directories of a scope moved, all at once: the labels of scopes at or below them follow. */
  #relabel(from: Directory, moves: readonly Move[]): void {
    const paths = moves.map((move) => this.#paths(move));
    for (const scope of this.#volume.scopes) {
      if (scope.parent !== from.scope) continue;
      const { path } = scope;
      const moved = paths.find(
        (one) => one !== undefined && (path === one.old || path.startsWith(`${one.old}/`)),
      );
      if (moved === undefined) continue;
      scope.path = moved.now + path.slice(moved.old.length);
      this.#volume.tell({ kind: 'moved', scope: scope.id, path: scope.path });
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
