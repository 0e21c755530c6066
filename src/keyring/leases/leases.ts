import type { Clock } from '../../base/clock.js';
import type { LeaseId, ScopeId } from '../../base/ids.js';
import { Budget, type BudgetTerms } from './budgets.js';
import { ANY, type Visibility } from './visibility.js';

/** The holder of a lease, as people want to read it. */
export interface Holder {
  readonly uid: number;
  readonly pid: number;
  readonly command: string | undefined;
  /** Of systemd. */
  readonly unit: string | undefined;
}

/** What a lease is bound to, and ends with. */
export type Bound = 'connection' | 'process';

/** What is asked for. Durations in milliseconds. */
export interface LeaseTerms {
  readonly purpose: string;
  readonly holder: Holder;
  readonly bound: readonly Bound[];
  readonly ttl: number | undefined;
  /** No renewal reaches further from its creation. */
  readonly maxTtl: number | undefined;
  /** Without an open handle and without an operation for so long. */
  readonly idle: number | undefined;
  /** Wall clock, milliseconds since 1970. */
  readonly until: number | undefined;
  readonly visibility: Visibility;
  readonly readOnly: boolean;
  readonly budget: BudgetTerms | undefined;
}

/** What asks for nothing but its scope. */
export const PLAIN: Omit<LeaseTerms, 'purpose' | 'holder'> = {
  bound: [],
  ttl: undefined,
  maxTtl: undefined,
  idle: undefined,
  until: undefined,
  visibility: ANY,
  readOnly: false,
  budget: undefined,
};

/** One reason why a scope is unlocked. A plain value; times are CLOCK_BOOTTIME in ms. */
export interface Lease extends LeaseTerms {
  readonly id: LeaseId;
  readonly scope: ScopeId;
  /** When its time began to run: at its creation or last change. */
  readonly createdAt: number;
  /** Wall clock of its creation, for people: milliseconds since 1970. */
  readonly created: number;
  /** Infinity: it has no end of its own. */
  readonly deadline: number;
  /** No later deadline is given to it. */
  readonly latest: number;
  readonly used: { readonly bytes: number; readonly files: number } | undefined;
}

/** Why a lease ended. `locked`: its scope was. */
export type EndReason = 'ttl' | 'idle' | 'until' | 'connection' | 'process' | 'budget' | 'revoked' | 'locked';

/** How one ended. */
export interface LeaseEnding {
  readonly reason: EndReason;
  /** Of a lock that it ended with, why that was. */
  readonly cause: EndReason;
  /** Nobody has used the scope since it was opened: the lease gave nothing to anybody. */
  readonly unused: boolean;
}

/** Of one scope, ever growing: how often it was used, and how many handles are open. */
export interface Usage {
  readonly operations: number;
  readonly handles: number;
}

/** Of one scope: what looks at all of them stays short. */
export const MOST_LEASES = 1000;

/** At most so much before a lease's end an orderly lock begins, and at most a tenth of its length (DESIGN.md). */
const LEAD_MS = 1000;
/** An idle lease is looked at eight times in its idle time, within these bounds: it ends late by at most that. */
const IDLE_LOOKS = 8;
const IDLE_LOOK_MS = { least: 25, most: 15_000 } as const;
/** The wall clock may be set forward: how often it is looked at while a lease ends by it. */
const WALL_LOOK_MS = 1000;

export interface ScopeDeadline {
  /** When the orderly lock begins. */
  readonly lockAt: number;
  /** When the scope is locked whatever happens. */
  readonly deadline: number;
}

/** All leases of one scope. */
interface OfScope {
  readonly entries: Set<Entry>;
  /** That are not ending. */
  live: number;
  /** {@link Usage} when it was opened. */
  readonly operations: number;
  budgets: { readonly id: LeaseId; readonly budget: Budget }[];
}

interface Entry {
  lease: Lease;
  readonly budget: Budget | undefined;
  /** Its scope is being locked because of its end. */
  ending: EndReason | undefined;
  operations: number;
  usedAt: number;
  lookAt: number;
}

/** All leases, on the thread that keeps them. A scope is unlocked while it has one; its end is the last of theirs. */
export class Leases {
  readonly #clock: Clock;
  readonly #usage: (scope: ScopeId) => Usage;
  readonly #ended: (lease: Lease, ending: LeaseEnding) => void;
  readonly #entries = new Map<LeaseId, Entry>();
  readonly #ofScope = new Map<ScopeId, OfScope>();
  /** The next moment at which {@link tick} has something to do. */
  due = Number.POSITIVE_INFINITY;

  /** `ended`: told once for each. */
  constructor(
    clock: Clock,
    usage: (scope: ScopeId) => Usage,
    ended: (lease: Lease, ending: LeaseEnding) => void,
  ) {
    this.#clock = clock;
    this.#usage = usage;
    this.#ended = ended;
  }

  add(id: LeaseId, scope: ScopeId, terms: LeaseTerms): Lease {
    const createdAt = this.#clock.boottime();
    const created = this.#clock.wall();
    const after = (duration: number | undefined): number =>
      createdAt + (duration ?? Number.POSITIVE_INFINITY);
    // A wall clock that is set back later prolongs nothing: what counts is how far it was then.
    const until = after(terms.until === undefined ? undefined : Math.max(0, terms.until - created));
    const latest = Math.min(after(terms.maxTtl), until);
    const deadline = Math.min(after(terms.ttl), latest);
    const lease = { ...terms, id, scope, createdAt, created, deadline, latest, used: undefined };
    const { operations } = this.#usage(scope);
    const entry: Entry = {
      lease,
      budget: terms.budget === undefined ? undefined : new Budget(terms.budget, this.#clock),
      ending: undefined,
      operations,
      usedAt: createdAt,
      lookAt: createdAt,
    };
    this.#entries.set(id, entry);
    const mine = this.#ofScope.get(scope) ?? { entries: new Set(), live: 0, operations, budgets: [] };
    this.#ofScope.set(scope, mine);
    mine.entries.add(entry);
    mine.live++;
    if (entry.budget !== undefined) mine.budgets.push({ id, budget: entry.budget });
    this.#look(entry, createdAt);
    this.due = Math.min(this.due, entry.lookAt);
    return lease;
  }

  get(id: LeaseId): Lease | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined ? undefined : this.#shown(entry);
  }
  #shown({ lease, budget }: Entry): Lease {
    return budget === undefined ? lease : { ...lease, used: budget.used };
  }
  all(): Lease[] {
    return [...this.#entries.values()].map((entry) => this.#shown(entry));
  }
  count(scope: ScopeId): number {
    return this.#ofScope.get(scope)?.entries.size ?? 0;
  }
  budgets(scope: ScopeId): readonly { readonly id: LeaseId; readonly budget: Budget }[] {
    return this.#ofScope.get(scope)?.budgets ?? [];
  }

  /** A new end, `ttl` milliseconds from now, not beyond its latest. Undefined: it is gone or about to be. */
  change(id: LeaseId, ttl: number): Lease | undefined {
    const entry = this.#entries.get(id);
    const now = this.#clock.boottime();
    if (entry === undefined || entry.ending !== undefined || entry.lease.deadline <= now) return undefined;
    const deadline = Math.min(now + ttl, entry.lease.latest);
    entry.lease = { ...entry.lease, createdAt: now, deadline };
    const { lookAt } = entry;
    this.#look(entry, now);
    // Renewed again and again it is looked at all the same.
    entry.lookAt = Math.min(entry.lookAt, lookAt);
    this.due = Math.min(this.due, entry.lookAt);
    return this.#shown(entry);
  }

  /** Whether this is the last one that holds its scope: then its end is a lock. */
  isLast(id: LeaseId): boolean {
    const entry = this.#entries.get(id);
    return (
      entry !== undefined && entry.ending === undefined && this.#ofScope.get(entry.lease.scope)?.live === 1
    );
  }
  /** Ends it; or, where it is the last, only marks it: it is gone when its scope is locked. */
  end(id: LeaseId, reason: EndReason): 'gone' | 'last' | 'ended' {
    const entry = this.#entries.get(id);
    if (entry === undefined) return 'gone';
    // Its scope is being locked because of it.
    if (entry.ending !== undefined) return 'last';
    if (this.isLast(id)) {
      entry.ending = reason;
      (this.#ofScope.get(entry.lease.scope) as OfScope).live--;
      return 'last';
    }
    this.#remove(entry, reason);
    return 'ended';
  }
  /** A scope was locked, and why: ends all of it. Says how many there were. */
  endAll(scope: ScopeId, why: EndReason): number {
    const ended = [...(this.#ofScope.get(scope)?.entries ?? [])];
    for (const entry of ended) this.#remove(entry, 'locked', entry.ending ?? why);
    return ended.length;
  }
  #remove(entry: Entry, reason: EndReason, cause: EndReason = reason): void {
    const { id, scope } = entry.lease;
    this.#entries.delete(id);
    const mine = this.#ofScope.get(scope);
    const unused = mine?.operations === this.#usage(scope).operations;
    if (mine?.entries.delete(entry) === true) {
      if (entry.ending === undefined) mine.live--;
      if (entry.budget !== undefined) mine.budgets = mine.budgets.filter((one) => one.id !== id);
      if (mine.entries.size === 0) this.#ofScope.delete(scope);
    }
    this.#ended(this.#shown(entry), { reason, cause, unused });
  }

  /** When a scope closes by itself, from the lease that lasts longest. */
  deadline(scope: ScopeId): ScopeDeadline {
    let last: Lease | undefined;
    for (const { lease, ending } of this.#ofScope.get(scope)?.entries ?? []) {
      if (ending === undefined && (last === undefined || lease.deadline > last.deadline)) last = lease;
    }
    if (last === undefined || last.deadline === Number.POSITIVE_INFINITY) {
      return { lockAt: Number.POSITIVE_INFINITY, deadline: Number.POSITIVE_INFINITY };
    }
    const lead = Math.min(LEAD_MS, (last.deadline - last.createdAt) / 10);
    return { lockAt: last.deadline - lead, deadline: last.deadline };
  }

  /** Sets when this one must be looked at again. */
  #look(entry: Entry, now: number): void {
    const { idle, until, deadline } = entry.lease;
    let next = deadline;
    if (idle !== undefined) {
      const step = Math.min(Math.max(idle / IDLE_LOOKS, IDLE_LOOK_MS.least), IDLE_LOOK_MS.most);
      next = Math.min(next, now + step);
    }
    if (until !== undefined) next = Math.min(next, now + WALL_LOOK_MS);
    entry.lookAt = next;
  }

  /** Which leases are over at `now` (CLOCK_BOOTTIME, ms), and why. They are the caller's to {@link end}. */
  tick(now: number): { id: LeaseId; reason: EndReason }[] {
    const over: { id: LeaseId; reason: EndReason }[] = [];
    const wall = this.#clock.wall();
    this.due = Number.POSITIVE_INFINITY;
    for (const entry of this.#entries.values()) {
      if (entry.ending !== undefined) continue;
      if (entry.lookAt <= now) {
        const reason = this.#over(entry, now, wall);
        if (reason !== undefined) {
          over.push({ id: entry.lease.id, reason });
          continue;
        }
        this.#look(entry, now);
      }
      this.due = Math.min(this.due, entry.lookAt);
    }
    return over;
  }

  #over(entry: Entry, now: number, wall: number): EndReason | undefined {
    const { scope, deadline, until, idle } = entry.lease;
    if (deadline <= now) return 'ttl';
    if (until !== undefined && until <= wall) return 'until';
    if (idle === undefined) return undefined;
    const { operations, handles } = this.#usage(scope);
    if (handles > 0) entry.usedAt = now;
    // A look that comes late comes after a suspend: it was used before that.
    else if (operations !== entry.operations) entry.usedAt = Math.min(now, entry.lookAt);
    entry.operations = operations;
    return now - entry.usedAt >= idle ? 'idle' : undefined;
  }
}
