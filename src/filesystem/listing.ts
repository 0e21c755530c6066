import { errno } from '../base/errno.js';
import type { DirectoryEntry } from '../libc/files.js';
import type { DirectorySink } from './contract.js';
import type { Directory } from './directories.js';
import type { Nodes } from './nodes.js';
import type { Volume } from './volume.js';

interface Entry {
  readonly name: string;
  readonly stored: string;
  readonly ino: number;
  readonly type: number;
}

/**
 * A directory as one handle sees it: read once at the start and at each rewind, so offsets are indices and stay
 * valid while names come and go.
 */
export class Listing {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #directory: Directory;
  #entries: Entry[] | undefined;

  constructor(volume: Volume, nodes: Nodes, directory: Directory) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#directory = directory;
  }

  #read(): Entry[] | number {
    const { directories, backing } = this.#volume;
    const handle = directories.handle(this.#directory.slot);
    if (handle < 0) return handle;
    const found = backing.list(handle);
    if (typeof found === 'number') return found;
    const entries: Entry[] = [];
    for (const entry of found) {
      const name = directories.reveal(this.#directory, handle, entry.name);
      // The vault's own, or an entry planted or damaged: it has no name here.
      if (name !== undefined) entries.push(named(entry, name));
    }
    return entries;
  }

  /** Fills the sink from `offset` (0: from the start, read anew). 0 or -errno. */
  fill(offset: number, sink: DirectorySink): number {
    if (offset === 0 || this.#entries === undefined) {
      const entries = this.#read();
      if (typeof entries === 'number') return entries;
      this.#entries = entries;
    }
    const { table, directories, backing, stat } = this.#volume;
    const { slot } = this.#directory;
    const own = table.ino[slot] as number;
    const above = table.ino[table.parent[slot] as number] || own;
    if (offset <= 0 && !sink.add('.', own, 4, 1)) return 0;
    if (offset <= 1 && !sink.add('..', above, 4, 2)) return 0;
    const handle = sink.plus ? directories.handle(slot) : 0;
    if (handle < 0) return handle;
    for (let i = Math.max(0, offset - 2); i < this.#entries.length; i++) {
      const entry = this.#entries[i] as Entry;
      if (!sink.plus) {
        if (!sink.add(entry.name, entry.ino, entry.type, i + 3)) return 0;
        continue;
      }
      if (!sink.fits(entry.name.length)) return 0;
      let child = this.#directory.children.get(entry.name) ?? 0;
      if (child === 0) {
        const done = backing.stat(handle, entry.stored, stat);
        child = done < 0 ? done : this.#nodes.adopt(this.#directory, handle, entry.name, entry.stored, stat);
      }
      // Gone since the list was read.
      if (child === -errno.ENOENT) continue;
      const attributes = child > 0 ? this.#nodes.attributes(child) : child;
      if (typeof attributes === 'number') {
        // Something is wrong with it: the name is listed, and a lookup will say what.
        if (!sink.add(entry.name, entry.ino, entry.type, i + 3)) return 0;
        continue;
      }
      if (!sink.addNode(entry.name, table.node(child), attributes, i + 3)) return 0;
      table.lookups[child] = (table.lookups[child] as number) + 1;
    }
    return 0;
  }
}

function named(entry: DirectoryEntry, name: string): Entry {
  return { name, stored: entry.name, ino: entry.ino, type: entry.type };
}
