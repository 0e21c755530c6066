import type { Directory } from './directories.js';
import type { InodeTable, Slot } from './inode-table.js';
import { NO_SLOT } from './inode-table.js';

interface Alias {
  readonly directory: Directory;
  readonly name: string;
}

function placeOf(directory: Directory, name: string): string {
  return `${directory.slot}/${name}`;
}

/** Files with several names: one inode for all of them, and every name under which it is known. */
export class HardLinks {
  readonly #table: InodeTable;
  /** By backing inode number. */
  readonly #slots = new Map<number, Slot>();
  /** By slot, then by place: a file may have 65,000 names. */
  readonly #aliases = new Map<Slot, Map<string, Alias>>();

  constructor(table: InodeTable) {
    this.#table = table;
  }
  /** Whether the slot has, or had, several names. */
  knows(slot: Slot): boolean {
    return this.#aliases.has(slot);
  }
  find(ino: number): Slot | undefined {
    return this.#slots.get(ino);
  }
  /** A name under which this slot is known. */
  add(slot: Slot, directory: Directory, name: string): void {
    const aliases = this.#aliases.get(slot) ?? new Map<string, Alias>();
    aliases.set(placeOf(directory, name), { directory, name });
    this.#aliases.set(slot, aliases);
    this.#slots.set(this.#table.ino[slot] as number, slot);
    if (this.#table.parent[slot] === NO_SLOT) this.#go(slot, { directory, name });
  }
  /** That name is not known any more. If the inode went by it, it goes by another, or by none (parent NO_SLOT). */
  remove(slot: Slot, directory: Directory, name: string): void {
    const aliases = this.#aliases.get(slot);
    if (aliases === undefined) return;
    const place = placeOf(directory, name);
    if (aliases.get(place)?.directory === directory) aliases.delete(place);
    const table = this.#table;
    if (table.parent[slot] !== directory.slot || table.name[slot] !== name) return;
    const other = aliases.values().next();
    if (other.done === true) table.parent[slot] = NO_SLOT;
    else this.#go(slot, other.value);
  }
  #go(slot: Slot, alias: Alias): void {
    this.#table.parent[slot] = alias.directory.slot;
    this.#table.name[slot] = alias.name;
  }
  /** The inode is forgotten: so are all its names. */
  drop(slot: Slot): void {
    const aliases = this.#aliases.get(slot);
    if (aliases === undefined) return;
    this.#aliases.delete(slot);
    const ino = this.#table.ino[slot] as number;
    if (this.#slots.get(ino) === slot) this.#slots.delete(ino);
    for (const { directory, name } of aliases.values()) {
      if (directory.children.get(name) === slot) directory.children.delete(name);
    }
  }
}
