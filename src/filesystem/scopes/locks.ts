import type { ScopeId } from '../../base/ids.js';
import { repeat } from '../../base/repeat.js';
import type { LockReceipt } from '../events.js';
import type { Scope, ScopeState } from '../inodes/scope.js';
import type { Volume } from '../inodes/volume.js';
import { type LockParts, LockRun } from './lock.js';

interface TreeLock {
  readonly runs: readonly LockRun[];
  deadline: number;
  /** Callers that asked for the same while it ran. */
  readonly after: ((receipts: readonly LockReceipt[]) => void)[];
}

/** Locks of scopes with all below them, and the moments at which leases end. */
export class Locks {
  readonly #parts: LockParts;
  #locks: TreeLock[] = [];
  /** Locks with a receipt whose names the kernel has not forgotten yet. */
  #settling: LockRun[] = [];
  /** The next moment (CLOCK_BOOTTIME, ms) at which {@link tick} has something to do. */
  due = Number.POSITIVE_INFINITY;

  constructor(parts: LockParts) {
    this.#parts = parts;
  }
  get #volume(): Volume {
    return this.#parts.volume;
  }

  /** As others may see it: `locking` until the receipt is out, as only then no page of it is left. */
  stateOf(scope: Scope): ScopeState {
    const running = this.#locks.some((lock) => lock.runs.some((run) => run.scope === scope));
    return running ? 'locking' : scope.state;
  }
  /** The kernel still has names of the generation that was locked: the next must not begin. */
  hasOldNames(scope: Scope): boolean {
    this.#settling = this.#settling.filter((run) => !run.settled);
    return this.#settling.some((run) => run.scope === scope);
  }
  /**
   * Sets when an unlocked scope's last lease ends (CLOCK_BOOTTIME, ms) and when its orderly lock begins. A lock under way
   * ends with what is left of its leases at the latest.
   */
  setDeadline(id: ScopeId, lockAt: number, deadline: number): boolean {
    const scope = this.#volume.scope(id);
    if (scope === undefined) return false;
    if (scope.isOpen) {
      scope.lockAt = lockAt;
      scope.deadline = deadline;
    } else {
      for (const lock of this.#locks) {
        if (lock.runs.some((run) => run.scope === scope)) lock.deadline = Math.min(lock.deadline, deadline);
      }
    }
    this.#plan();
    return scope.isOpen;
  }

  /**
   * Locks scopes and all unlocked ones below them, children first; one receipt each. At `deadline` (CLOCK_BOOTTIME,
   * ms) they are locked, whatever is still to be written.
   */
  lock(
    ids: readonly ScopeId[],
    reason: string,
    deadline: number,
    done: (receipts: readonly LockReceipt[]) => void,
  ): void {
    const inside = (scope: Scope): boolean => {
      for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
        if (ids.includes(at.id)) return true;
      }
      return false;
    };
    // Already on their way: a receipt for everybody, and the nearer deadline counts.
    const running = this.#locks.filter(({ runs }) => runs.some((run) => inside(run.scope)));
    // Parents stand before children in the list, so its reverse is the order of locking.
    const scopes = this.#volume.scopes.filter((scope) => scope.isOpen && inside(scope)).reverse();
    // All are `locking` from now on, so the deadline holds also for those that wait for their turn.
    const runs = scopes.map((scope) => new LockRun(this.#parts, scope, reason));
    // A lease's own end holds also while somebody else's longer lock is under way.
    const nearest = Math.min(deadline, ...scopes.map((scope) => scope.deadline));
    const lock: TreeLock = { runs, deadline: nearest, after: [] };
    const receipts: LockReceipt[] = [];
    this.#locks.push(lock);
    let at = 0;
    const begin = (): void =>
      repeat((again) => {
        const run = runs[at++];
        if (run !== undefined) {
          run.start((receipt) => {
            receipts.push(receipt);
            again();
          });
          return;
        }
        this.#locks = this.#locks.filter((other) => other !== lock);
        this.#settling.push(...runs.filter((done) => !done.settled));
        done(receipts);
        for (const then of lock.after) then(receipts);
      });
    let before = running.length;
    for (const other of running) {
      other.deadline = Math.min(other.deadline, deadline);
      other.after.push((earlier) => {
        const mine = (one: LockReceipt): boolean =>
          inside(this.#volume.scope(one.scope) as Scope) && !receipts.includes(one);
        receipts.push(...earlier.filter(mine));
        if (--before === 0) begin();
      });
    }
    if (before === 0) begin();
    this.#plan();
  }

  /** Begins locks whose time has come and ends those whose deadline has. Call it often; cheap when nothing is due. */
  tick(now: number): void {
    for (const scope of this.#volume.scopes) {
      if (scope.isOpen && scope.lockAt <= now) {
        const { deadline } = scope;
        scope.lockAt = Number.POSITIVE_INFINITY;
        this.lock([scope.id], 'lease ended', deadline, (receipts) => {
          this.#volume.tell({ kind: 'expired', receipts });
        });
      }
    }
    for (const lock of this.#locks) {
      if (lock.deadline <= now) for (const run of lock.runs) run.expire();
    }
    this.#plan();
  }

  #plan(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const scope of this.#volume.scopes) {
      if (scope.isOpen) next = Math.min(next, scope.lockAt);
    }
    for (const lock of this.#locks) {
      if (lock.runs.some((run) => run.scope.state === 'locking')) {
        next = Math.min(next, lock.deadline);
      }
    }
    this.due = next;
  }
}
