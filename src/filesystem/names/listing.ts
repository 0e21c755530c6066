import { errno } from '../../base/errno.js';
import type { DirectoryEntry } from '../../libc/files.js';
import type { DirectorySink, Reply } from '../contract.js';
import type { Descriptor } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Nodes } from './nodes.js';

/** Bytes that an entry with a stored name takes in a directory of the backing, about. */
const ENTRY_BYTES = 64;
/** Names whose inodes are brought in at once where the disk is slow. */
const AHEAD = 64;
/** A page that takes longer ends early. */
const PAGE_MS = 4;

/**
 * A directory as one handle sees it: read in pieces as it is asked for, from the start at each rewind. Offsets are
 * indices of what was read, so they stay valid while names come and go.
 */
export class Listing {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #directory: Directory;
  #entries: DirectoryEntry[] = [];
  /** Reads the directory: a descriptor of its own, as its position is. */
  #reader: Descriptor = -1;
  #begun = false;

  constructor(volume: Volume, nodes: Nodes, directory: Directory) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#directory = directory;
  }

  /** Fills the sink from `offset` (0: from the start, read anew) and answers. */
  fill(offset: number, sink: DirectorySink, reply: Reply): void {
    const { executor, directoryJobs, table } = this.#volume;
    if (this.#begun && offset > 0) {
      this.#ahead(offset, sink, reply);
      return;
    }
    const begin = (): void => {
      const began = this.#rewind();
      if (began < 0) reply.error(-began);
      else this.#ahead(offset, sink, reply);
    };
    const entries = (table.size[this.#directory.slot] as number) / ENTRY_BYTES;
    if (executor.warmsFirst(entries)) directoryJobs.run(this.#directory, 'warm', [], reply, begin);
    else begin();
  }

  #rewind(): number {
    this.close();
    const { directories, backing } = this.#volume;
    const descriptor = directories.descriptor(this.#directory.slot);
    if (descriptor < 0) return descriptor;
    const reader = backing.openDirectory(descriptor, '.', !this.#directory.scope.readOnly);
    if (reader < 0) return reader;
    this.#reader = reader;
    this.#entries = [];
    this.#begun = true;
    // The backing's access time moves.
    this.#volume.table.set(this.#directory.slot, flag.STALE);
    return 0;
  }

  /** Where the disk is slow the inodes of the next entries are brought in first. */
  #ahead(offset: number, sink: DirectorySink, reply: Reply): void {
    const { executor, directoryJobs } = this.#volume;
    if (!sink.plus || !executor.warmsFirst(1)) {
      this.#page(offset, sink, reply);
      return;
    }
    const first = Math.max(0, offset - 2);
    this.#at(first);
    const names = this.#entries.slice(first, first + AHEAD).map((entry) => entry.name);
    if (names.length === 0) this.#page(offset, sink, reply);
    else directoryJobs.run(this.#directory, 'warm', names, reply, () => this.#page(offset, sink, reply));
  }

  #page(offset: number, sink: DirectorySink, reply: Reply): void {
    const done = this.#fill(offset, sink);
    if (done < 0) reply.error(-done);
    else sink.end();
  }

  /** The entry of an index, read if need be; undefined at the end, -errno of the backing. */
  #at(index: number): DirectoryEntry | number | undefined {
    while (index >= this.#entries.length && this.#reader >= 0) {
      const more = this.#volume.backing.listSome(this.#reader);
      if (typeof more === 'number') return more;
      if (more.length === 0) this.close();
      else for (const entry of more) this.#entries.push(entry);
    }
    return this.#entries[index];
  }

  /** 0 or -errno. */
  #fill(offset: number, sink: DirectorySink): number {
    const { table, directories } = this.#volume;
    const { slot } = this.#directory;
    const own = table.ino[slot] as number;
    const above = table.ino[table.parent[slot] as number] || own;
    if (offset <= 0 && !sink.add('.', own, 4, 1)) return 0;
    if (offset <= 1 && !sink.add('..', above, 4, 2)) return 0;
    const descriptor = directories.descriptor(slot);
    if (descriptor < 0) return descriptor;
    const until = performance.now() + PAGE_MS;
    // An answer without an entry would be taken for the end.
    let some = offset <= 1;
    for (let i = Math.max(0, offset - 2); ; i++) {
      if (some && performance.now() > until) return 0;
      const entry = this.#at(i);
      if (entry === undefined) return 0;
      if (typeof entry === 'number') return entry;
      const name = directories.reveal(this.#directory, descriptor, entry.name);
      // The vault's own, or an entry planted or damaged: it has no name here.
      const added = name === undefined ? 'gone' : this.#add(sink, descriptor, entry, name, i + 3);
      if (added === 'full') return 0;
      if (added === 'added') some = true;
    }
  }

  #add(
    sink: DirectorySink,
    descriptor: Descriptor,
    entry: DirectoryEntry,
    name: string,
    next: number,
  ): 'added' | 'full' | 'gone' {
    const bare = (): 'added' | 'full' => (sink.add(name, entry.ino, entry.type, next) ? 'added' : 'full');
    if (!sink.plus) return bare();
    if (!sink.fits(name.length)) return 'full';
    const { table, backing, stat, executor } = this.#volume;
    let child = this.#directory.children.get(name) ?? 0;
    if (child === 0) {
      const started = performance.now();
      const done = backing.stat(descriptor, entry.name, stat);
      executor.took(performance.now() - started);
      child = done < 0 ? done : this.#nodes.adopt(this.#directory, descriptor, name, entry.name, stat);
    }
    // Gone since the list was read.
    if (child === -errno.ENOENT) return 'gone';
    const attributes = child > 0 ? this.#nodes.attributes(child) : child;
    // Something is wrong with it: the name is listed, and a lookup will say what.
    if (typeof attributes === 'number') return bare();
    if (!sink.addNode(name, table.node(child), attributes, next)) return 'full';
    table.lookups[child] = (table.lookups[child] as number) + 1;
    return 'added';
  }

  /** Gives the descriptor back; what was read stays. */
  close(): void {
    if (this.#reader >= 0) this.#volume.backing.close(this.#reader);
    this.#reader = -1;
  }
}
