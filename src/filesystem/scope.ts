import type { ScopeId } from '../base/ids.js';
import type { ScopeKeys } from '../format/scope-keys.js';
import { NO_SLOT, type Slot } from './inode-table.js';

/**
 * A scope as the core sees it. `locked`: no key. `open`: has keys. `locking`: has keys still, so that dirty pages
 * can be written, but serves nothing else.
 */
export type ScopeState = 'locked' | 'open' | 'locking';

export class Scope {
  /** Its index in the volume, as the inode table's `scope` column has it. */
  readonly index: number;
  readonly id: ScopeId;
  readonly parent: Scope | undefined;
  /** Where its root is, as names below the parent scope's root joined by `/`; latin1. Empty for the root scope. */
  path: string;
  state: ScopeState = 'locked';
  keys: ScopeKeys | undefined;
  /** How often it was unlocked since the mount. */
  generation = 0;
  /** The slot of its root directory, or NO_SLOT while nobody looked it up. */
  root: Slot = NO_SLOT;
  /** CLOCK_BOOTTIME in ms: when an orderly lock begins, and when it must be locked whatever happens. */
  lockAt = Number.POSITIVE_INFINITY;
  deadline = Number.POSITIVE_INFINITY;

  constructor(index: number, id: ScopeId, parent: Scope | undefined, path: string) {
    this.index = index;
    this.id = id;
    this.parent = parent;
    this.path = path;
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }
  /** Its keys. Asking a locked scope for them is a bug, and better a dead daemon than a wrong key. */
  get live(): ScopeKeys {
    if (this.keys === undefined) throw new Error(`scope ${this.id} has no keys`);
    return this.keys;
  }
}
