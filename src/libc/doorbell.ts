import { Poll, ring, unring } from './system.js';

/** What may be waiting for the thread that owns the bell: each has a word of its own. */
export const word = { MAIL: 0, JOBS: 1, SLEEPING: 2 } as const;
type Reason = typeof word.MAIL | typeof word.JOBS;

/** A doorbell as it travels to another thread. */
export interface DoorbellParts {
  readonly words: Int32Array<SharedArrayBuffer>;
  /** An eventfd(2). */
  readonly bell: number;
}

/**
 * How threads tell one that may sleep in poll(2) that there is something for it: a word in shared memory, which it
 * looks at between two requests, and the eventfd only where it said that it goes to sleep. Each side writes its own
 * word before it reads the other's (Atomics are sequentially consistent), so no ring is lost.
 */
export class Doorbell {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly bell: number;

  constructor({ words, bell }: DoorbellParts) {
    this.#words = words;
    this.bell = bell;
  }
  static parts(bell: number): DoorbellParts {
    return { words: new Int32Array(new SharedArrayBuffer(12)), bell };
  }

  ring(reason: Reason): void {
    Atomics.store(this.#words, reason, 1);
    if (Atomics.load(this.#words, word.SLEEPING) === 1) ring(this.bell);
  }
  /** Whether it was rung for this since the last call. */
  take(reason: Reason): boolean {
    if (Atomics.load(this.#words, reason) === 0) return false;
    Atomics.store(this.#words, reason, 0);
    return true;
  }
  get #rung(): boolean {
    return Atomics.load(this.#words, word.MAIL) !== 0 || Atomics.load(this.#words, word.JOBS) !== 0;
  }

  /** Sleeps in `poll`, whose descriptor number `index` is the bell, for at most `timeout` ms (-1: for ever). What is ready. */
  sleep(poll: Poll, index: number, timeout: number): number {
    Atomics.store(this.#words, word.SLEEPING, 1);
    const ready = this.#rung ? 0 : poll.wait(timeout);
    Atomics.store(this.#words, word.SLEEPING, 0);
    if (ready > 0 && (ready & (1 << index)) !== 0) unring(this.bell);
    return Math.max(0, ready);
  }
  /** Sleeps until it is rung. */
  wait(): void {
    this.#alone ??= new Poll([this.bell]);
    this.sleep(this.#alone, 0, -1);
  }
  #alone: Poll | undefined;
}
