import { errno } from '../../base/errno.js';
import { mapFileName } from '../../format/file/hole-map.js';
import { tagOf, XATTR } from '../../format/names/binding.js';
import type { StoredName } from '../../format/names/names.js';
import { LARGE } from '../content/open-file.js';
import { type Caller, type NodeId, Refusal, type Reply } from '../contract.js';
import { type Descriptor, RENAME_NOREPLACE } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Nodes } from './nodes.js';

const binding = Buffer.alloc(256);

/** Operations that take a name away. */
export class Removal {
  readonly #volume: Volume;
  readonly #nodes: Nodes;

  constructor(volume: Volume, nodes: Nodes) {
    this.#volume = volume;
    this.#nodes = nodes;
  }

  unlink(parent: NodeId, name: string, caller: Caller, reply: Reply): void {
    const target = this.#nodes.target(parent, name, caller);
    if (target instanceof Refusal) {
      reply.refuse(target);
      return;
    }
    const { backing, directories } = this.#volume;
    const { directory, descriptor, stored } = target;
    const freed = this.largeFile(directory.children.get(name), descriptor, stored);
    const map = this.mapOf(directory.children.get(name), descriptor, stored);
    const done = backing.unlink(descriptor, stored.name);
    freed();
    if (done < 0) {
      reply.error(-done);
      return;
    }
    if (map !== undefined) backing.unlink(backing.root, map);
    directories.removeSide(descriptor, stored);
    this.#nodes.touched(directory);
    this.gone(directory, name);
    reply.ok();
  }

  /** A regular file with one name, which nobody has open: with the name it goes. */
  #isLast(slot: Slot): boolean {
    const { table } = this.#volume;
    return table.isRegular(slot) && table.nlink[slot] === 1 && !table.has(slot, flag.OPEN);
  }

  /**
   * Before a file's last name goes: the name of the file that may have its hole map. One that is open takes it along
   * when it is closed.
   */
  mapOf(slot: Slot | undefined, descriptor: Descriptor, stored: StoredName): string | undefined {
    const { table, backing } = this.#volume;
    if (slot === undefined || !this.#isLast(slot)) return undefined;
    const full = (table.blocks[slot] as number) * 512 >= (table.size[slot] as number);
    const length = full ? -1 : backing.getxattr(descriptor, stored.name, XATTR, binding);
    const tag = tagOf(binding, length);
    return tag === undefined ? undefined : mapFileName(tag);
  }

  /**
   * Before a file's last name goes: freeing the blocks of a large one takes long, so a descriptor keeps it until a job
   * closes that. Call the result when the name is gone, or stayed.
   */
  largeFile(slot: Slot | undefined, descriptor: Descriptor, stored: StoredName): () => void {
    const { table, backing, executor } = this.#volume;
    const large = slot !== undefined && this.#isLast(slot) && (table.size[slot] as number) >= LARGE;
    if (!large) return () => {};
    const held = backing.hold(descriptor, stored.name);
    return () => {
      if (held >= 0) executor.run({ op: 'close', descriptor: held }, () => {});
    };
  }

  /** A name went away: its inode has one link less. */
  gone(directory: Directory, name: string): void {
    const { table, hardLinks } = this.#volume;
    const slot = directory.children.get(name);
    directory.children.delete(name);
    if (slot === undefined) return;
    const directoryGone = table.isDirectory(slot);
    const links = directoryGone ? 0 : Math.max(0, (table.nlink[slot] as number) - 1);
    table.nlink[slot] = links;
    if (links === 0) table.set(slot, flag.UNLINKED);
    else table.set(slot, flag.STALE);
    hardLinks.remove(slot, directory, name);
    // Open files tell their change time by their descriptor.
    if (table.has(slot, flag.OPEN)) table.set(slot, flag.STALE);
  }

  rmdir(parent: NodeId, name: string, caller: Caller, reply: Reply): void {
    const target = this.#nodes.target(parent, name, caller);
    if (target instanceof Refusal) {
      reply.refuse(target);
      return;
    }
    const { directory, descriptor, stored } = target;
    const slot = this.#nodes.find(directory, name);
    if (slot < 0) {
      reply.error(-slot);
      return;
    }
    const { table, directories } = this.#volume;
    if (table.has(slot, flag.SCOPE_ROOT)) {
      reply.error(errno.EBUSY);
      return;
    }
    const done = this.removeDirectory(slot, descriptor, stored);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    directories.remove(slot);
    this.#nodes.touched(directory);
    this.gone(directory, name);
    reply.ok();
  }

  /** Removes a backing directory that has nothing of the user's in it: the vault's own leftovers go with it. */
  removeDirectory(slot: Slot, descriptor: Descriptor, stored: StoredName): number {
    const { backing, directories } = this.#volume;
    let done = backing.rmdir(descriptor, stored.name);
    if (done === -errno.ENOTEMPTY) {
      const own = directories.descriptor(slot);
      const entries = own < 0 ? own : backing.list(own);
      if (typeof entries === 'number') return entries;
      const leftovers = entries.filter((entry) => /^\+[tN]/.test(entry.name));
      if (leftovers.length !== entries.length) return -errno.ENOTEMPTY;
      // Aside first: emptied under its name, a power cut could leave it there half empty.
      const parent = directories.place(slot);
      if (parent === undefined) return -errno.ENOENT;
      const aside = this.#volume.temporaryName();
      done = backing.rename(parent.descriptor, parent.name, parent.descriptor, aside, RENAME_NOREPLACE);
      if (done < 0) return done;
      for (const entry of leftovers) {
        if (entry.type === 4) backing.rmdir(own, entry.name);
        else backing.unlink(own, entry.name);
      }
      backing.rmdir(parent.descriptor, aside);
      done = 0;
    }
    if (done === 0) {
      const parent = directories.get(this.#volume.table.parent[slot] as number);
      if (parent !== undefined) directories.removeSide(directories.descriptor(parent.slot), stored);
    }
    return done;
  }
}
