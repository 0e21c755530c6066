import type { Clock } from '../../base/clock.js';
import type { ScopeId } from '../../base/ids.js';
import type { Core } from '../../filesystem/core.js';
import type { Scope } from '../../filesystem/inodes/scope.js';

const LOOK_MS = 20;

/** `left`: the scopes that are still to be locked; what was locked meanwhile may be open again, for others. */
type Then = (drained: boolean, left: readonly ScopeId[]) => void;

interface Drain {
  /** Scopes that were not locked meanwhile. */
  readonly ids: Set<ScopeId>;
  readonly until: number;
  readonly order: number;
  readonly then: Then;
}

export function within(ids: ReadonlySet<ScopeId>, scope: Scope): boolean {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) if (ids.has(at.id)) return true;
  return false;
}

/** Locks that wait for the scopes' handles to be closed first. Meanwhile no lease is given. */
export class Drains {
  readonly #core: Core;
  readonly #clock: Clock;
  #drains: Drain[] = [];
  /** Waited for long enough: their lock is about to come. */
  #ended: Drain[] = [];
  /** CLOCK_BOOTTIME, ms. */
  due = Number.POSITIVE_INFINITY;

  constructor(core: Core, clock: Clock) {
    this.#core = core;
    this.#clock = clock;
  }

  /** Whether something is open in scopes, or below them. */
  busy(ids: readonly ScopeId[]): boolean {
    const all = new Set(ids);
    return this.#core.volume.scopes.some((scope) => scope.handles > 0 && within(all, scope));
  }
  has(scope: Scope): boolean {
    return [...this.#drains, ...this.#ended].some((drain) => within(drain.ids, scope));
  }

  /** Calls `then` when nothing is open in the scopes and those below them, or after `milliseconds` if something is. */
  start(ids: readonly ScopeId[], milliseconds: number, order: number, then: Then): void {
    const now = this.#clock.boottime();
    this.#drains.push({ ids: new Set(ids), until: now + milliseconds, order, then });
    this.tick(now);
  }

  /** The lock has begun that was asked for with it. */
  finish(order: number): void {
    this.#ended = this.#ended.filter((drain) => drain.order !== order);
  }
  /** A scope was locked meanwhile, by another lock. */
  locked(id: ScopeId): void {
    for (const { ids } of [...this.#drains, ...this.#ended]) ids.delete(id);
    if (this.#drains.some(({ ids }) => ids.size === 0)) this.due = 0;
  }

  tick(now: number): void {
    if (this.#drains.length === 0) return;
    const over: [Drain, boolean][] = [];
    this.#drains = this.#drains.filter((drain) => {
      const drained = this.#core.volume.scopes.every(
        (scope) => scope.handles === 0 || !within(drain.ids, scope),
      );
      if (drained || drain.until <= now) over.push([drain, drained]);
      return !drained && drain.until > now;
    });
    this.due = this.#drains.length === 0 ? Number.POSITIVE_INFINITY : now + LOOK_MS;
    this.#ended.push(...over.map(([drain]) => drain));
    for (const [{ then, ids }, drained] of over) then(drained, [...ids]);
  }
}
