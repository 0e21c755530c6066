import type { Clock } from '../base/clock.js';
import { freshId, type LeaseId, type ScopeId } from '../base/ids.js';

/** One reason why a scope is unlocked. Times are CLOCK_BOOTTIME in ms. */
export interface Lease {
  readonly id: LeaseId;
  readonly scope: ScopeId;
  readonly purpose: string;
  readonly holder: { readonly uid: number; readonly pid: number };
  /** It ends with what it is bound to: the connection that asked for it. */
  readonly bound: Bound | undefined;
  /** When its time began to run: at its creation or last change. */
  readonly createdAt: number;
  /** Wall clock of its creation, for people. */
  readonly created: Date;
  /** Infinity: it has no end of its own. */
  readonly deadline: number;
}

/** What a lease may be bound to. */
export type Bound = 'connection';

/** At most so much before a lease's end an orderly lock begins, and at most a tenth of its length (DESIGN.md). */
const LEAD_MS = 1000;

export interface ScopeDeadline {
  /** When the orderly lock begins. */
  readonly lockAt: number;
  /** When the scope is locked whatever happens. */
  readonly deadline: number;
}

/** All leases. A scope is unlocked while it has one; its end is the last of theirs. */
export class Leases {
  readonly #clock: Clock;
  readonly #leases = new Map<LeaseId, Lease>();
  readonly #watchers = new Map<LeaseId, () => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `ttl` in milliseconds; undefined: until it is ended. */
  add(
    scope: ScopeId,
    ttl: number | undefined,
    purpose: string,
    holder: { uid: number; pid: number },
    id = freshId<LeaseId>(),
    bound?: Bound,
  ): Lease {
    const createdAt = this.#clock.boottime();
    const lease: Lease = {
      id,
      scope,
      purpose,
      holder,
      bound,
      createdAt,
      created: new Date(this.#clock.wall()),
      deadline: ttl === undefined ? Number.POSITIVE_INFINITY : createdAt + ttl,
    };
    this.#leases.set(lease.id, lease);
    return lease;
  }
  get(id: LeaseId): Lease | undefined {
    return this.#leases.get(id);
  }
  /** A new end, `ttl` milliseconds from now; undefined: no end of its own. */
  change(id: LeaseId, ttl: number | undefined): Lease | undefined {
    const lease = this.#leases.get(id);
    if (lease === undefined) return undefined;
    const createdAt = this.#clock.boottime();
    const deadline = ttl === undefined ? Number.POSITIVE_INFINITY : createdAt + ttl;
    const changed = { ...lease, createdAt, deadline };
    this.#leases.set(id, changed);
    return changed;
  }
  all(): Lease[] {
    return [...this.#leases.values()];
  }
  of(scope: ScopeId): Lease[] {
    return this.all().filter((lease) => lease.scope === scope);
  }
  /** Called once when a lease has ended, by whatever ended it; at once where it is gone already. */
  onEnd(id: LeaseId, ended: () => void): void {
    if (this.#leases.has(id)) this.#watchers.set(id, ended);
    else ended();
  }
  #remove(id: LeaseId): void {
    this.#leases.delete(id);
    const watcher = this.#watchers.get(id);
    this.#watchers.delete(id);
    watcher?.();
  }
  /** Ends one; true where its scope has none left. */
  end(id: LeaseId): boolean {
    const lease = this.#leases.get(id);
    if (lease === undefined) return false;
    this.#remove(id);
    return this.of(lease.scope).length === 0;
  }
  /** Ends all of a scope; says how many there were. */
  endAll(scope: ScopeId): number {
    const ended = this.of(scope);
    for (const lease of ended) this.#remove(lease.id);
    return ended.length;
  }
  /** When a scope closes by itself, from the lease that lasts longest. */
  deadline(scope: ScopeId): ScopeDeadline {
    const leases = this.of(scope);
    const last = leases.reduce((a, b) => (b.deadline > a.deadline ? b : a), leases[0] as Lease);
    if (last === undefined || last.deadline === Number.POSITIVE_INFINITY) {
      return { lockAt: Number.POSITIVE_INFINITY, deadline: Number.POSITIVE_INFINITY };
    }
    const lead = Math.min(LEAD_MS, (last.deadline - last.createdAt) / 10);
    return { lockAt: last.deadline - lead, deadline: last.deadline };
  }
}
