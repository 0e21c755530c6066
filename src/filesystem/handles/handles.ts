import type { OpenFile } from '../content/open-file.js';
import type { Slot } from '../inodes/inode-table.js';
import type { Scope } from '../inodes/scope.js';
import type { Listing } from '../names/listing.js';

/** What a transport's handle number stands for. `dead`: its scope was locked since; it answers ENOKEY for ever. */
export interface OpenHandle {
  readonly slot: Slot;
  readonly scope: Scope;
  readonly file: OpenFile | undefined;
  listing: Listing | undefined;
  /** Our notifier's: not one that a lock takes from anybody. */
  readonly own: boolean;
  dead: boolean;
}

/** Handle numbers, small and reused only after RELEASE. */
export class Handles {
  readonly #open: (OpenHandle | undefined)[] = [];
  readonly #free: number[] = [];

  add(handle: OpenHandle): number {
    const number = this.#free.pop() ?? this.#open.length;
    this.#open[number] = handle;
    if (!handle.own) handle.scope.handles++;
    return number;
  }
  get(number: number): OpenHandle | undefined {
    return this.#open[number];
  }
  remove(number: number): void {
    const handle = this.#open[number];
    if (handle === undefined) return;
    handle.listing?.close();
    if (!handle.own && !handle.dead) {
      handle.scope.handles--;
      // Idle since now.
      handle.scope.operations++;
    }
    this.#open[number] = undefined;
    this.#free.push(number);
  }
  /** Marks every handle of a scope dead; says how many there were. */
  cut(scope: Scope): number {
    let cut = 0;
    for (const handle of this.#open) {
      if (handle?.scope === scope && !handle.dead) {
        handle.dead = true;
        handle.listing?.close();
        handle.listing = undefined;
        if (!handle.own) cut++;
      }
    }
    scope.handles = 0;
    return cut;
  }
}
