/**
 * Group commit: a caller that waits is told by the first sync that began after it asked, so callers at the same time share
 * one. A failed sync stays failed: what the disk still has of the writes before it is unknown (fsync(2), EIO).
 */
export class GroupSync {
  readonly #sync: () => Promise<void>;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  /** How often it synced. */
  count = 0;

  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** Resolves when everything written before the call is durable. */
  wait(): Promise<void> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      this.count++;
      this.#running = this.#sync();
      return this.#running;
    });
    return this.#next;
  }
}
