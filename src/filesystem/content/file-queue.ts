import { Refusal, type Reply } from '../contract.js';
import type { IoBuffers } from '../inodes/io-buffers.js';

/** Bytes of a file that an operation works on, `to` exclusive, and whether it changes them. */
export interface Claim {
  readonly from: number;
  readonly to: number;
  readonly exclusive: boolean;
}

/** All of the file, its header and size too. */
export const WHOLE: Claim = { from: 0, to: Number.POSITIVE_INFINITY, exclusive: true };
/** Only the descriptor: it stays open, and everybody else goes on. */
export const DESCRIPTOR: Claim = { from: 0, to: 0, exclusive: false };

/** One operation, waiting for its turn in a file or inside it. */
export abstract class Turn {
  readonly reply: Reply | undefined;
  claim: Claim;
  left = false;
  /** The turn did not start at once: the file may have changed since it asked. */
  waited = false;
  /** What it works with: plaintext in it is overwritten when the file dies. */
  io: IoBuffers | undefined;

  constructor(claim: Claim, reply: Reply | undefined) {
    this.claim = claim;
    this.reply = reply;
  }
  /** The turn is inside now, until it leaves. */
  abstract start(): void;
  /** The file died while this one waited: it will never start. Its reply is given. */
  abstract refused(): void;
}

function conflict(a: Claim, b: Claim): boolean {
  return (a.exclusive || b.exclusive) && a.from < b.to && b.from < a.to;
}

/**
 * The order of work on a file: operations whose bytes overlap go one after another unless both only read, in the order of
 * arrival. Whoever is inside keeps the file's descriptor open.
 */
export class FileQueue {
  readonly #inside = new Set<Turn>();
  readonly #waiting: Turn[] = [];
  readonly #idle: (() => void)[] = [];
  #admitting = false;
  #again = false;
  #dead = false;

  /** Starts a turn when its claim allows. */
  enter(turn: Turn): void {
    const { claim } = turn;
    if (this.#dead) {
      this.#refuse(turn);
    } else if (!this.#blocked(claim, this.#inside) && !this.#blocked(claim, this.#waiting)) {
      this.#inside.add(turn);
      turn.start();
    } else {
      turn.waited = true;
      this.#waiting.push(turn);
    }
  }
  /** A turn inside needs less from now on: others may begin. */
  narrow(turn: Turn, claim: Claim): void {
    turn.claim = claim;
    this.admit();
  }
  /** A turn inside needs more than it asked for: it starts once more when it can have it, before all who came later. */
  widen(turn: Turn, claim: Claim): void {
    turn.claim = claim;
    turn.waited = true;
    this.#inside.delete(turn);
    this.#waiting.unshift(turn);
    this.admit();
  }

  /** Turns are inside or wait. */
  get busy(): boolean {
    return this.#inside.size > 0 || this.#waiting.length > 0 || this.#admitting;
  }

  /** A turn inside changes the file. */
  get changing(): boolean {
    for (const { claim } of this.#inside) if (claim.exclusive) return true;
    return false;
  }

  /** Calls `then` once nobody is inside or waiting. */
  whenIdle(then: () => void): void {
    if (this.busy) this.#idle.push(then);
    else then();
  }

  leave(turn: Turn): void {
    turn.left = true;
    this.#inside.delete(turn);
    this.admit();
    this.#rest();
  }
  #rest(): void {
    while (!this.busy) {
      const then = this.#idle.shift();
      if (then === undefined) return;
      then();
    }
  }

  /** Lets in whoever can go now. Nobody overtakes somebody who waits for the same bytes. */
  admit(): void {
    // A turn that starts may leave at once: that must not start the next from within.
    this.#again = true;
    if (this.#admitting || this.#waiting.length === 0) return;
    this.#admitting = true;
    while (this.#again) {
      this.#again = false;
      const before: Turn[] = [];
      const at = this.#waiting.findIndex((turn) => {
        const waits = this.#blocked(turn.claim, this.#inside) || this.#blocked(turn.claim, before);
        before.push(turn);
        return !waits;
      });
      const [next] = at < 0 ? [] : this.#waiting.splice(at, 1);
      if (next === undefined) break;
      this.#inside.add(next);
      this.#again = true;
      next.start();
    }
    this.#admitting = false;
    this.#rest();
  }

  #blocked(claim: Claim, by: Iterable<{ readonly claim: Claim }>): boolean {
    for (const other of by) if (conflict(claim, other.claim)) return true;
    return false;
  }

  /** Answers all that is under way or waits with ENOKEY. Whoever is inside leaves when its job is done. */
  kill(): void {
    this.#dead = true;
    for (const turn of this.#inside) {
      // Jobs touch what is sealed alone, and whoever goes on after one sees first that the file is dead.
      turn.io?.edges.bytes.fill(0);
      turn.reply?.refuse(Refusal.for('locked'));
    }
    for (const turn of this.#waiting.splice(0)) this.#refuse(turn);
  }
  #refuse(turn: Turn): void {
    turn.refused();
    turn.reply?.refuse(Refusal.for('locked'));
  }
}
