import type { Clock } from '../../base/clock.js';
import type { ScopeId } from '../../base/ids.js';
import type { Share } from './share-text.js';

/** So long after the last share was brought the ones before are forgotten. */
export const SHARES_LAST_MS = 600_000;
/** Scopes whose shares are waited for at the same time. */
const MOST = 32;

interface Waiting {
  readonly scope: ScopeId;
  readonly set: string;
  /** What whoever brought them asked for: nobody makes something else of them. */
  readonly terms: string;
  readonly shares: Map<number, Share>;
  until: number;
}

/** Shares of threshold slots that came one by one, in secret memory, until there are enough or too much time has passed. */
export class PendingShares {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Waiting>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Takes verified shares of one slot over; which numbers are there, whether one is new, and for how long (ms). Or the terms
   * on which others were brought, where these differ: then none is taken.
   */
  add(
    scope: ScopeId,
    slot: number,
    shares: readonly Share[],
    terms: string,
  ): { numbers: number[]; fresh: boolean; left: number } | { others: string } {
    this.expire();
    const key = `${scope} ${slot}`;
    const before = this.#waiting.get(key);
    if (before !== undefined && before.set === shares[0]?.set && before.terms !== terms) {
      return { others: before.terms };
    }
    let fresh = false;
    for (const share of shares) {
      let entry = this.#waiting.get(key);
      if (entry !== undefined && entry.set !== share.set) {
        this.#drop(key);
        entry = undefined;
      }
      entry ??= { scope, terms, set: share.set, shares: new Map(), until: 0 };
      this.#waiting.set(key, entry);
      fresh ||= !entry.shares.has(share.number);
      entry.shares.get(share.number)?.value.wipe();
      entry.shares.set(share.number, share);
      entry.until = this.#clock.boottime() + SHARES_LAST_MS;
    }
    if (this.#waiting.size > MOST) this.#drop([...this.#waiting.keys()][0] as string);
    const numbers = [...(this.#waiting.get(key)?.shares.keys() ?? [])].sort((a, b) => a - b);
    return { numbers, fresh, left: SHARES_LAST_MS };
  }
  /** The shares of a slot that are here; they stay until they are forgotten. */
  of(scope: ScopeId, slot: number): Share[] {
    return [...(this.#waiting.get(`${scope} ${slot}`)?.shares.values() ?? [])];
  }
  /** Shares of these scopes are forgotten: they opened them, or these are locked, or gone. */
  forget(which: (scope: ScopeId) => boolean): void {
    for (const [key, { scope }] of [...this.#waiting]) if (which(scope)) this.#drop(key);
  }
  /** Forgets what is too old. When to look again (ms from now); undefined: nothing waits. */
  expire(): number | undefined {
    const now = this.#clock.boottime();
    let next: number | undefined;
    for (const [key, { until }] of this.#waiting) {
      if (until <= now) this.#drop(key);
      else next = Math.min(next ?? Number.POSITIVE_INFINITY, until - now);
    }
    return next;
  }
  #drop(key: string): void {
    for (const { value } of this.#waiting.get(key)?.shares.values() ?? []) value.wipe();
    this.#waiting.delete(key);
  }
}
