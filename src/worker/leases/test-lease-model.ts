import type { LeaseId } from '../../base/ids.js';
import type { EndReason } from '../../keyring/leases/leases.js';
import type { Kind } from './test-lease-steps.js';

export const IDLE_MS = 2_000;
/** An idle lease is looked at eight times in its time. */
const IDLE_LATE_MS = IDLE_MS / 8;

/** A lease as it should be; times in ms. */
export interface Expected {
  readonly client: number;
  /** Of its connection. */
  readonly fd: number | undefined;
  unlockedAt: number;
  createdAt: number;
  deadline: number;
  idle: boolean;
}
/** An unlock that is asked for. */
export interface Asked {
  readonly kind: Kind;
  readonly ro: boolean;
  readonly expected: Expected;
}

/** What should be: one scope, its leases and what time does to them. It knows nothing of the system that it predicts. */
export class LeaseModel {
  now = 1_000;
  readonly leases = new Map<LeaseId, Expected>();
  terms: { kind: Kind; ro: boolean } | undefined;
  /** A lock is under way or not settled: when it must be wiped. */
  closing: number | undefined;
  /** The kernel's cache does not answer: no lock is settled. */
  stalled = false;
  generation = 0;
  usedAt = 0;
  /** Handles that callers keep open. */
  readonly kept: { readonly node: number; readonly handle: number; readonly generation: number }[] = [];

  get state(): string {
    if (this.closing !== undefined) return this.now >= this.closing ? 'wiped, not settled' : 'locking';
    if (this.terms === undefined) return 'locked';
    return `open${this.terms.kind === 'any' ? '' : ' to some'}${this.terms.ro ? ', read-only' : ''}`;
  }
  get open(): boolean {
    return this.terms !== undefined && this.closing === undefined;
  }
  get keeping(): boolean {
    return this.kept.some(({ generation }) => generation === this.generation);
  }
  admits(uid: number): boolean {
    return this.terms?.kind === 'any' || this.terms?.kind === `uid:${uid}`;
  }

  /** The system says that a lease ended. */
  ended(id: LeaseId, reason: EndReason): void {
    const lease = this.leases.get(id);
    if (lease === undefined) return;
    if (reason === 'idle' && (!lease.idle || this.keeping || this.now - this.usedAt < IDLE_MS)) {
      throw new Error('a lease that was not idle ended as if it were');
    }
    if (reason !== 'locked') this.drop(id);
  }
  drop(id: LeaseId): void {
    this.leases.delete(id);
    // What is left may end before the lock's own limit; what is over by now is told of in the same turn.
    if (this.closing !== undefined && this.#lastEnd > this.now)
      this.closing = Math.min(this.closing, this.#lastEnd);
  }

  /** The last lease is over, or a client locks: closed for all from now on. */
  close(limit: number): void {
    this.closing = Math.min(this.closing ?? Number.POSITIVE_INFINITY, limit, this.#lastEnd);
    if (!this.stalled) this.closed();
  }
  /** The leases' own ends hold too, whoever ended them before. */
  get #lastEnd(): number {
    const ends = [...this.leases.values()].map(({ deadline }) => deadline);
    return ends.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...ends);
  }
  /** The lock is settled. */
  closed(): void {
    this.closing = undefined;
    this.#wiped();
  }
  #wiped(): void {
    this.leases.clear();
    this.terms = undefined;
  }

  /** What time alone does: ends of leases. */
  settle(): void {
    if (this.closing !== undefined && this.now >= this.closing) this.#wiped();
    if (!this.open) return;
    const [last] = [...this.leases.values()].sort((a, b) => b.deadline - a.deadline);
    if (last === undefined) return;
    const lockAt = last.deadline - Math.min(1_000, (last.deadline - last.createdAt) / 10);
    if (lockAt <= this.now) {
      this.close(last.deadline);
      if (this.closing !== undefined && this.now >= this.closing) this.#wiped();
      return;
    }
    for (const [id, { deadline }] of this.leases) if (deadline <= this.now) this.leases.delete(id);
  }

  /** What an unlock does; false: it is refused. */
  unlock(id: LeaseId, { kind, ro, expected }: Asked): boolean {
    if (this.terms !== undefined && (this.terms.kind !== kind || this.terms.ro !== ro)) return false;
    if (this.terms === undefined) {
      this.terms = { kind, ro };
      this.generation++;
      this.usedAt = this.now;
    }
    const { now } = this;
    const length = expected.deadline - expected.createdAt;
    this.leases.set(id, { ...expected, unlockedAt: now, createdAt: now, deadline: now + length });
    return true;
  }

  /** Whether all leases that are left end for want of use about now. */
  get idles(): boolean {
    return [...this.leases.values()].every(
      (one) => one.idle && !this.keeping && this.now - this.usedAt >= IDLE_MS,
    );
  }
  /** Whether one should have ended for want of use. */
  get overdue(): boolean {
    return [...this.leases.values()].some(
      (one) =>
        one.idle &&
        !this.keeping &&
        this.now - Math.max(this.usedAt, one.unlockedAt) > IDLE_MS + 2 * IDLE_LATE_MS,
    );
  }
}
