import type { Clock } from '../../base/clock.js';
import { errno } from '../../base/errno.js';
import type { ScopeId } from '../../base/ids.js';
import type { Core } from '../../filesystem/core.js';
import { MOST_LEASES } from '../../keyring/leases/leases.js';
import type { Command, Unlocked } from '../messages.js';
import { type Drains, within } from './drains.js';
import type { KeyMemory } from './key-memory.js';
import type { LeaseClock } from './lease-clock.js';

/** How long an unlock waits that does not say it: a caller who stalls a lock's last step must not keep others for ever. */
const UNLOCK_WAIT_MS = 10_000;
/** How often waiting unlocks look again: a lock's end is not one event, but its receipt and the kernel's names. */
const LOOK_AGAIN_MS = 5;

export type UnlockCommand = Extract<Command, { op: 'unlock' }>;

/** Unlocks as the core answers them: at once, or when a lock of their scope is over. */
export class UnlockQueue {
  readonly #core: Core;
  readonly #leaseClock: LeaseClock;
  readonly #drains: Drains;
  readonly #clock: Clock;
  readonly #memory: KeyMemory;
  /** Unlocks that wait for a lock of their scope, and until when. Their sender lends the secrets until the answer. */
  readonly #queued = new Map<UnlockCommand, { until: number; answer: (unlocked: Unlocked) => void }>();
  #lookedAt = 0;

  constructor(core: Core, leaseClock: LeaseClock, drains: Drains, clock: Clock, memory: KeyMemory) {
    this.#core = core;
    this.#leaseClock = leaseClock;
    this.#drains = drains;
    this.#clock = clock;
    this.#memory = memory;
  }

  /** CLOCK_BOOTTIME, ms. */
  get due(): number {
    return this.#queued.size === 0 ? Number.POSITIVE_INFINITY : this.#lookedAt + LOOK_AGAIN_MS;
  }
  tick(now: number): void {
    this.#lookedAt = now;
    for (const [command, { until, answer }] of [...this.#queued]) {
      const unlocked = this.#try(command, now >= until);
      if (unlocked === undefined) continue;
      this.#queued.delete(command);
      answer(unlocked);
    }
  }

  ask(command: UnlockCommand, answer: (unlocked: Unlocked) => void): void {
    const { lease, terms, pid, connection } = command;
    const unbound = this.#leaseClock.bind(lease, terms, pid, connection);
    if (unbound !== undefined) {
      answer(
        'gone' in unbound
          ? { ok: false, gone: unbound.gone }
          : { ok: false, refusal: { ok: false, errno: unbound.errno } },
      );
      return;
    }
    const unlocked = this.#try(command, false);
    if (unlocked !== undefined) answer(unlocked);
    else {
      const until = this.#clock.boottime() + (command.wait ?? UNLOCK_WAIT_MS);
      this.#queued.set(command, { until, answer });
    }
  }

  /** A lock is asked for: what was asked for before it, and waits, must not unlock after it. */
  lockAsked(scopes: readonly ScopeId[], order: number): void {
    const ids = new Set(scopes);
    for (const [command, { answer }] of [...this.#queued]) {
      const scope = this.#core.scope(command.scope);
      if (command.since >= order || (scope !== undefined && !within(ids, scope))) continue;
      this.#queued.delete(command);
      this.#leaseClock.unbind(command.lease);
      answer({ ok: false, refusal: { ok: false, errno: errno.EBUSY } });
    }
  }

  /** Undefined: it waits for a lock of its scope, or for those who may finish before one. `last`: it has waited long enough. */
  #try(command: UnlockCommand, last: boolean): Unlocked | undefined {
    const leases = this.#leaseClock;
    const { scope: id, lease, terms } = command;
    const refuse = (why: Omit<Extract<Unlocked, { ok: false }>, 'ok'>): Unlocked => {
      leases.unbind(lease);
      return { ok: false, ...why };
    };
    const scope = this.#core.scope(id);
    if (scope === undefined) return refuse({ refusal: { ok: false, errno: errno.ENOENT } });
    if (leases.leases.count(id) >= MOST_LEASES) return refuse({ full: true });
    if (this.#drains.has(scope)) {
      const waits = command.wait !== undefined && !last;
      return waits ? undefined : refuse({ refusal: { ok: false, errno: errno.EBUSY } });
    }
    if (scope.isOpen) {
      const conflict = leases.conflict(id, terms);
      if (conflict !== undefined) return refuse({ conflict });
      return { ok: true, lease: leases.add(lease, scope, terms), first: false, copyBehind: false };
    }
    if (!this.#memory.hasRoom(command.secrets.length)) {
      return refuse({ refusal: { ok: false, errno: errno.ENFILE } });
    }
    const secrets = command.secrets.map((address) => this.#memory.adopt(address));
    const { oldest, stored } = command;
    const result = this.#core.scopeAccess.unlock(id, oldest, secrets, stored, leases.termsOf(terms));
    if (!result.ok) return result.errno === errno.EBUSY && !last ? undefined : refuse({ refusal: result });
    return {
      ok: true,
      lease: leases.add(lease, scope, terms),
      first: true,
      copyBehind: result.copyBehind === true,
    };
  }
}
