import type { Clock } from '../../base/clock.js';
import { Failure } from '../../base/failure.js';

/** Wrong keys that cost nothing: a person mistypes. */
const FREE = 5;
const FIRST_MS = 1_000;
const LONGEST_MS = 60_000;
/** After so long without a wrong key everything is forgotten. */
const FORGET_MS = 600_000;
const MOST = 10_000;

interface Record {
  wrong: number;
  /** Before it no key is tried. */
  until: number;
  last: number;
  /** A caller was refused during this wait. */
  refused: boolean;
}

/** Slows down whoever guesses: after five wrong keys for one scope by one caller 1 s, doubling, at most a minute. */
export class Throttle {
  readonly #clock: Clock;
  readonly #records = new Map<string, Record>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Why no key is tried now, with `retry_after` in seconds, and whether this is the wait's first; or undefined. */
  refusal(scope: string, uid: number): { failure: Failure; first: boolean } | undefined {
    const record = this.#records.get(`${uid} ${scope}`);
    const left = record === undefined ? 0 : record.until - this.#clock.boottime();
    if (record === undefined || left <= 0) return undefined;
    const first = !record.refused;
    record.refused = true;
    const seconds = Math.ceil(left / 1000);
    const failure = new Failure('throttled', `too many wrong keys: the next one is tried in ${seconds} s`, {
      details: { retry_after: seconds },
      reason: { name: 'keys_throttled', seconds },
    });
    return { failure, first };
  }

  wrong(scope: string, uid: number): void {
    const now = this.#clock.boottime();
    const key = `${uid} ${scope}`;
    const before = this.#records.get(key);
    const wrong = before === undefined || now - before.last > FORGET_MS ? 1 : before.wrong + 1;
    const over = wrong - FREE;
    const wait = over < 0 ? 0 : Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(over, 10));
    this.#records.delete(key);
    this.#records.set(key, { wrong, until: now + wait, last: now, refused: false });
    // Bounded: the one who erred longest ago is forgotten first.
    if (this.#records.size > MOST) {
      const [oldest] = this.#records.keys();
      this.#records.delete(oldest as string);
    }
  }

  right(scope: string, uid: number): void {
    this.#records.delete(`${uid} ${scope}`);
  }
}
