import type { ScopeId } from '../../base/ids.js';
import type { ScopeKeys } from '../../crypto/scope-keys.js';
import type { Caller, Gate, Meter, Terms } from '../contract.js';
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
  #gate: Gate | undefined;
  readOnly = false;
  meter: Meter | undefined;
  /** Requests that used it, by callers who may: an idle lease looks whether it grew. */
  operations = 0;
  /** Handles that are open, our notifiers' excepted. */
  handles = 0;
  /** Destroyed: the index stays, as the inode table may name it. */
  gone = false;

  constructor(index: number, id: ScopeId, parent: Scope | undefined, path: string) {
    this.index = index;
    this.id = id;
    this.parent = parent;
    this.path = path;
  }

  /** Of a new generation, before it has keys. */
  begin({ gate, readOnly }: Terms): void {
    this.#gate = gate;
    this.readOnly = readOnly;
  }
  /** Locked: its root is open to all again, as far as a locked one is. */
  end(): void {
    this.#gate = undefined;
    this.readOnly = false;
    this.meter = undefined;
  }
  /** Before so many decrypted bytes are given out: 0, or -errno of a budget that refuses. */
  spend(bytes: number): number {
    return this.meter?.read(bytes) ?? 0;
  }
  get restricted(): boolean {
    return this.#gate !== undefined;
  }
  admits(caller: Caller): boolean {
    return this.#gate === undefined || caller.trusted || this.#gate.admits(caller);
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
