import type { LeaseId } from '../base/ids.js';
import type { Log } from '../base/log.js';
import type { Peer } from '../control/service.js';
import type { Leases } from '../keyring/leases.js';
import { systemClock } from '../libc/system.js';

/** A timer's longest sleep: it may sleep through a suspend. */
const LOOK_MS = 60_000;

/** Leases bound to a connection: ended with it, and at their own time also where others keep the scope open. */
export class HeldLeases {
  readonly #leases: Leases;
  readonly #end: (id: LeaseId, peer: Peer) => Promise<unknown>;
  readonly #log: Log;
  readonly #timers = new Map<LeaseId, NodeJS.Timeout>();
  readonly #releases = new Map<LeaseId, () => Promise<void>>();

  constructor(leases: Leases, end: (id: LeaseId, peer: Peer) => Promise<unknown>, log: Log) {
    this.#leases = leases;
    this.#end = end;
    this.#log = log;
  }

  /** Gives the way to end it. `ended`: it has ended, whoever did it. */
  hold(id: LeaseId, peer: Peer, ended: () => void): () => Promise<void> {
    const release = async (): Promise<void> => {
      // It may have ended before its connection.
      if (this.#leases.get(id) === undefined) return;
      try {
        await this.#end(id, peer);
      } catch (error) {
        this.#log.error('a held lease could not be ended in order', { lease: id, error });
      }
    };
    this.#releases.set(id, release);
    this.#leases.onEnd(id, () => {
      clearTimeout(this.#timers.get(id));
      this.#timers.delete(id);
      this.#releases.delete(id);
      ended();
    });
    this.changed(id);
    return release;
  }

  /** Its end may be another now. The core closes a scope with its last lease: one that others outlive ends here. */
  changed(id: LeaseId): void {
    const lease = this.#leases.get(id);
    const release = this.#releases.get(id);
    clearTimeout(this.#timers.get(id));
    if (lease === undefined || release === undefined || lease.deadline === Number.POSITIVE_INFINITY) return;
    const left = lease.deadline - systemClock.boottime();
    if (left > 0)
      this.#timers.set(id, setTimeout(() => this.changed(id), Math.min(left + 1, LOOK_MS)).unref());
    else if (this.#leases.of(lease.scope).length > 1) void release();
  }
}
