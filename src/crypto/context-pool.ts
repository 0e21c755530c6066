import { contextNew, contextReset } from './evp.js';

/** A key that borrows a context: the pool may take it back for another key. */
export interface ContextHolder {
  /** The context was taken back (and reset): forget it. */
  lost(context: number): void;
}

/**
 * A bounded pool of EVP contexts. A live context keeps a key schedule in ordinary memory, so their number is the
 * number of such copies. Taken in turn: the one taken longest ago is reset and given to the next who asks.
 */
export class ContextPool {
  readonly #contexts: number[] = [];
  readonly #holders: (ContextHolder | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #limit: number;
  #hand = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  take(holder: ContextHolder): number {
    let index = this.#free.pop();
    if (index === undefined && this.#contexts.length < this.#limit) {
      index = this.#contexts.length;
      this.#contexts.push(Number(contextNew()));
    }
    if (index === undefined) {
      index = this.#hand;
      this.#hand = (this.#hand + 1) % this.#limit;
      const context = this.#contexts[index] as number;
      contextReset(context);
      this.#holders[index]?.lost(context);
    }
    this.#holders[index] = holder;
    return this.#contexts[index] as number;
  }

  /** Resets a context and makes it free. */
  give(context: number): void {
    const index = this.#contexts.indexOf(context);
    contextReset(context);
    this.#holders[index] = undefined;
    this.#free.push(index);
  }

  /** Contexts in use. */
  get live(): number {
    return this.#contexts.length - this.#free.length;
  }
}
