import { randomInt } from 'node:crypto';
import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';

/** So many wait for one scope at the most: at 0.75 s each the last one gets his turn within seconds. */
export const MOST_WAITING = 6;

interface Waiting {
  readonly pid: number;
  start(): void;
  refuse(failure: Failure): void;
}

/**
 * Passphrases are stretched one at a time for each scope, which is what slows down guessing (0.75 s and 128 MiB each).
 * Where more wait than can be served within seconds, one of the process that has the most waiting is refused, by lot: nobody
 * knows which of them is the owner, and a turn by age would keep him out for as long as others hammer on.
 */
export class GuessLine {
  readonly #lines = new Map<ScopeId, Waiting[]>();

  /** Runs `work` in turn. @throws Failure throttled */
  async run<T>(scope: ScopeId, pid: number, work: () => Promise<T>): Promise<T> {
    await this.#turn(scope, pid);
    try {
      return await work();
    } finally {
      const line = this.#lines.get(scope) as Waiting[];
      const next = line.shift();
      if (next === undefined) this.#lines.delete(scope);
      else next.start();
    }
  }

  #turn(scope: ScopeId, pid: number): Promise<void> {
    const line = this.#lines.get(scope);
    if (line === undefined) {
      this.#lines.set(scope, []);
      return Promise.resolve();
    }
    return new Promise((start, refuse) => {
      line.push({ pid, start, refuse });
      if (line.length <= MOST_WAITING) return;
      const counts = new Map<number, number>();
      for (const one of line) counts.set(one.pid, (counts.get(one.pid) ?? 0) + 1);
      const most = Math.max(...counts.values());
      const loud = line.filter((one) => counts.get(one.pid) === most);
      const victim = loud[randomInt(loud.length)] as Waiting;
      line.splice(line.indexOf(victim), 1);
      const details = { retry_after: 1 };
      const reason = { name: 'keys_throttled', seconds: 1 } as const;
      victim.refuse(new Failure('throttled', 'too many passphrases are tried at once', { details, reason }));
    });
  }
}
