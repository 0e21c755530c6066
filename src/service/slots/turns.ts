import type { ScopeId } from '../../base/ids.js';

/** One change or opening of a scope after another. */
export class Turns {
  /** The last one under way of each scope. */
  readonly #last = new Map<ScopeId, Promise<void>>();

  /** Runs `work` when everything before it on this scope is done. */
  take<T>(scope: ScopeId, work: () => Promise<T>): Promise<T> {
    const done = (this.#last.get(scope) ?? Promise.resolve()).then(work);
    const settled = done.then(
      () => {},
      () => {},
    );
    this.#last.set(scope, settled);
    void settled.then(() => {
      if (this.#last.get(scope) === settled) this.#last.delete(scope);
    });
    return done;
  }
}
