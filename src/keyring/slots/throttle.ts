import type { Clock } from '../../base/clock.js';

/** Wrong keys that cost nothing: a person mistypes. */
const FREE = 5;
const FIRST_MS = 1_000;
/** Whoever has the right key on the same connection (a service's pool) waits no longer for his turn. */
const LONGEST_MS = 4_000;
/** After so long without a wrong key everything is forgotten. */
const FORGET_MS = 600_000;
/** From then on one row of the audit stands for all in so long. */
const ROW_MS = 10_000;
const MOST = 10_000;

interface Record {
  wrong: number;
  last: number;
  /** When the last row was written, and how many came since. */
  told: number;
  untold: number;
}

/**
 * What wrong keys cost. Nobody is refused for others of his user: a service is one user and one process, and so would be the
 * owner and whoever guesses. What takes work (a passphrase's stretching) is done one at a time by the caller of this.
 */
export class Throttle {
  readonly #clock: Clock;
  readonly #records = new Map<string, Record>();
  readonly #connections = new WeakMap<object, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How long the answer to one more wrong key on this connection waits, in ms: after five 1 s, doubling, at most 4 s. */
  delay(connection: object): number {
    const wrong = (this.#connections.get(connection) ?? 0) + 1;
    this.#connections.set(connection, wrong);
    return wrong < FREE ? 0 : Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(wrong - FREE, 10));
  }

  /**
   * One more wrong key for a scope by a user: how many the audit's next row stands for, or undefined where none is
   * written: rows without end would fill the disk.
   */
  wrong(scope: string, uid: number): number | undefined {
    const now = this.#clock.boottime();
    const key = `${uid} ${scope}`;
    const before = this.#records.get(key);
    const fresh = before === undefined || now - before.last > FORGET_MS;
    const record = fresh ? { wrong: 0, last: now, told: now, untold: 0 } : before;
    record.wrong++;
    record.untold++;
    record.last = now;
    this.#records.delete(key);
    this.#records.set(key, record);
    // Bounded: the one who erred longest ago is forgotten first.
    if (this.#records.size > MOST) {
      const [oldest] = this.#records.keys();
      this.#records.delete(oldest as string);
    }
    if (record.wrong > FREE && now - record.told < ROW_MS) return undefined;
    const { untold } = record;
    record.told = now;
    record.untold = 0;
    return untold;
  }
}
