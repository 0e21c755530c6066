import type { CachePort, Victim } from '../contract.js';
import { flag, type InodeTable, ROOT_SLOT, type Slot } from './inode-table.js';

/** Names asked for in one order, and slots looked at for them: well under a millisecond. */
const BATCH = 1000;
const LOOKED_AT = 20_000;
/** Inodes added between two orders: a kernel that keeps all is not asked for each. */
const PATIENCE = 100;

/**
 * Keeps the number of inodes that the kernel remembers, and with it our memory, bounded. The kernel forgets by itself
 * only when memory is short; asked for unused inodes it sends FORGETs, which free ours. Second chance: what was used
 * since the hand last passed stays.
 */
export class Pruner {
  readonly #table: InodeTable;
  readonly #cache: CachePort;
  readonly #most: number;
  #hand: Slot = ROOT_SLOT;
  #asking = false;
  #patience = 0;

  /** `most`: from so many inodes on the kernel is asked. */
  constructor(table: InodeTable, cache: CachePort, most: number) {
    this.#table = table;
    this.#cache = cache;
    this.#most = most;
  }

  /** Called when an inode was added. */
  look(): void {
    if (this.#patience > 0) this.#patience--;
    if (this.#asking || this.#patience > 0 || this.#table.used <= this.#most) return;
    const victims = this.#choose();
    this.#patience = PATIENCE;
    if (victims.length === 0) return;
    this.#asking = true;
    this.#cache.prune(victims, () => {
      this.#asking = false;
    });
  }

  #choose(): Victim[] {
    const table = this.#table;
    const victims: Victim[] = [];
    // At most one round: what is used between two of them stays.
    const most = Math.min(LOOKED_AT, table.end - 2);
    for (let looked = 0; looked < most && victims.length < BATCH; looked++) {
      this.#hand = this.#hand + 1 < table.end ? this.#hand + 1 : ROOT_SLOT + 1;
      const slot = this.#hand;
      if (slot >= table.end || table.lookups[slot] === 0) continue;
      if (table.has(slot, flag.SCOPE_ROOT | flag.OPEN)) continue;
      if (table.has(slot, flag.RECENT)) {
        table.clear(slot, flag.RECENT);
        continue;
      }
      const parent = table.parent[slot] as Slot;
      victims.push({
        node: table.node(slot),
        parent: table.node(parent),
        name: table.name[slot] as string,
        directory: table.isDirectory(slot),
      });
    }
    return victims;
  }
}
