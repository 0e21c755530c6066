import type { Clock } from '../../base/clock.js';
import { errno } from '../../base/errno.js';
import type { LeaseId, ScopeId } from '../../base/ids.js';
import type { Meter, Terms } from '../../filesystem/contract.js';
import type { Core } from '../../filesystem/core.js';
import type { LockReceipt } from '../../filesystem/events.js';
import type { Scope } from '../../filesystem/inodes/scope.js';
import { type EndReason, type Lease, Leases, type LeaseTerms } from '../../keyring/leases/leases.js';
import { visibilityText } from '../../keyring/leases/visibility.js';
import { close } from '../../libc/files.js';
import { type Hangups, openProcess } from '../../libc/hangups.js';
import { ancestry } from '../../libc/processes.js';
import type { WorkerMessage } from '../messages.js';
import { gateFor } from './gates.js';

/** A lock that nobody gave a limit ends after so long, whatever is still to be written. */
export const LOCK_LIMIT_MS = 10_000;

/** What receipts say of a lock that followed from the end of the last lease. */
const REASONS: Record<EndReason, string> = {
  ttl: 'lease ended',
  revoked: 'lease ended',
  until: 'lease ended',
  locked: 'lease ended',
  idle: 'idle',
  connection: 'connection closed',
  process: 'process ended',
  budget: 'budget spent',
};

/** The watch over descriptors whose other side may go. */
export type Watch = Pick<Hangups, 'fd' | 'add' | 'remove' | 'take'>;

/** The process that is not there, or what failed. */
type Unbound = { readonly gone: number } | { readonly errno: number };

/** What one generation is open for, as text that is the same for the same. */
interface Opened {
  readonly visibility: string;
  readonly readOnly: boolean;
}

/**
 * Leases on the core's thread, which serves the requests that they allow: whatever the main thread does, a deadline, a dead
 * holder or a spent budget closes a scope here.
 */
export class LeaseClock {
  readonly #core: Core;
  readonly #tell: (message: WorkerMessage) => void;
  readonly #clock: Clock;
  readonly #hangups: Watch;
  /** What a lease is bound to, by the descriptor that tells of its end. */
  readonly #anchors = new Map<number, { lease: LeaseId; kind: 'connection' | 'process'; gone: boolean }>();
  readonly #bound = new Map<LeaseId, number[]>();
  readonly #opened = new Map<ScopeId, Opened>();
  /** Scopes with a budget that is spent. */
  readonly #spent = new Set<Scope>();
  /** Scopes that are being locked because of one. */
  readonly #overspent = new Set<ScopeId>();
  readonly leases: Leases;

  constructor(core: Core, tell: (message: WorkerMessage) => void, clock: Clock, hangups: Watch) {
    this.#clock = clock;
    this.#hangups = hangups;
    this.#core = core;
    this.#tell = tell;
    this.leases = new Leases(
      clock,
      (id) => core.scope(id) ?? { operations: 0, handles: 0 },
      (lease, ending) => {
        this.unbind(lease.id);
        tell({ kind: 'leaseEnded', lease, ...ending });
      },
    );
  }

  /** Readable when something that a lease is bound to has ended. */
  get fd(): number {
    return this.#hangups.fd;
  }
  /** CLOCK_BOOTTIME, ms. */
  get due(): number {
    return this.#spent.size > 0 ? 0 : this.leases.due;
  }

  statusOf(scope: ScopeId): { leases: number; deadline: number; visibleTo: string; readOnly: boolean } {
    const { visibility, readOnly } = this.#opened.get(scope) ?? { visibility: 'any', readOnly: false };
    const { deadline } = this.leases.deadline(scope);
    return { leases: this.leases.count(scope), deadline, visibleTo: visibility, readOnly };
  }

  /** Of a scope that is open: whether a lease on these terms may join. Else what it is open for. */
  conflict(scope: ScopeId, terms: LeaseTerms): Opened | undefined {
    const opened = this.#opened.get(scope);
    const same =
      opened !== undefined &&
      opened.visibility === visibilityText(terms.visibility) &&
      opened.readOnly === terms.readOnly;
    return same ? undefined : opened;
  }

  /** What a lease's scope is unlocked for. */
  termsOf({ visibility, readOnly }: LeaseTerms): Terms {
    return { gate: gateFor(visibility), readOnly };
  }

  /**
   * Watches what a lease will be bound to: a process, the roots of the trees that it is for, the connection (whose
   * descriptor is ours from now on). Or why it can't be: then the lease must not be given.
   */
  bind(
    lease: LeaseId,
    terms: LeaseTerms,
    pid: number | undefined,
    connection: number | undefined,
  ): Unbound | undefined {
    if (connection !== undefined) {
      const failed = this.#watch(connection, lease, 'connection');
      if (failed < 0) return { errno: -failed };
    }
    const trees = terms.visibility.filter((one) => one.kind === 'tree');
    for (const id of new Set([...(pid === undefined ? [] : [pid]), ...trees.map((tree) => tree.id)])) {
      const fd = openProcess(id);
      const failed = fd < 0 ? fd : this.#watch(fd, lease, 'process');
      const meant = trees.find((tree) => tree.id === id)?.started;
      if (failed >= 0 && meant !== undefined && ancestry(id)?.started !== meant) {
        // Its number went to another meanwhile.
        this.unbind(lease);
        return { gone: id };
      }
      if (failed < 0) {
        this.unbind(lease);
        return failed === -errno.ESRCH ? { gone: id } : { errno: -failed };
      }
    }
    return undefined;
  }
  #watch(fd: number, lease: LeaseId, kind: 'connection' | 'process'): number {
    const done = this.#hangups.add(fd, kind);
    if (done < 0) {
      close(fd);
      return done;
    }
    this.#anchors.set(fd, { lease, kind, gone: false });
    this.#bound.set(lease, [...(this.#bound.get(lease) ?? []), fd]);
    return 0;
  }
  /** A lease ended, or was not given at all. */
  unbind(lease: LeaseId): void {
    for (const fd of this.#bound.get(lease) ?? []) {
      this.#anchors.delete(fd);
      this.#hangups.remove(fd);
    }
    this.#bound.delete(lease);
  }

  /** Gives a lease on a scope that is open. */
  add(id: LeaseId, scope: Scope, terms: LeaseTerms): Lease {
    const { visibility, readOnly } = terms;
    this.#opened.set(scope.id, { visibility: visibilityText(visibility), readOnly });
    const lease = this.leases.add(id, scope.id, terms);
    if (terms.budget !== undefined) scope.meter ??= this.#meter(scope);
    this.#plan(scope.id);
    const anchors = (this.#bound.get(id) ?? []).map((fd) => this.#anchors.get(fd));
    const gone = anchors.find((anchor) => anchor?.gone === true);
    if (gone !== undefined) this.#endTold(id, gone.kind);
    return lease;
  }

  /** A new end. Undefined: it is gone, or its scope is being locked. */
  change(id: LeaseId, ttl: number): Lease | undefined {
    const lease = this.leases.get(id);
    if (lease === undefined || this.#core.scope(lease.scope)?.isOpen !== true) return undefined;
    const changed = this.leases.change(id, ttl);
    this.#plan(lease.scope);
    return changed;
  }

  #plan(scope: ScopeId): void {
    const { lockAt, deadline } = this.leases.deadline(scope);
    this.#core.locks.setDeadline(scope, lockAt, deadline);
  }

  /** Ends a lease; the last one locks its scope. `done`: with the receipts of that. */
  end(id: LeaseId, reason: EndReason, done: (receipts: readonly LockReceipt[]) => void): void {
    const lease = this.leases.get(id);
    const outcome = this.leases.end(id, reason);
    if (lease === undefined || outcome === 'gone') {
      done([]);
    } else if (outcome === 'last') {
      // Its own time holds too: when that is over there is none to write back.
      const limit = Math.min(lease.deadline, this.#clock.boottime() + LOCK_LIMIT_MS);
      this.#core.locks.lock([lease.scope], REASONS[reason], limit, done);
      if (reason === 'ttl') this.#core.locks.tick(this.#clock.boottime());
    } else {
      this.#plan(lease.scope);
      done([]);
    }
  }
  #endTold(id: LeaseId, reason: EndReason): void {
    this.end(id, reason, (receipts) => {
      if (receipts.length > 0) this.#tell({ kind: 'expired', receipts });
    });
  }

  /** A scope was wiped: how many leases ended with it. */
  locked(scope: ScopeId): number {
    this.#opened.delete(scope);
    const orderly = this.leases.deadline(scope).lockAt <= this.#clock.boottime();
    const why = this.#overspent.delete(scope) ? 'budget' : orderly ? 'ttl' : 'locked';
    return this.leases.endAll(scope, why);
  }

  tick(now: number): void {
    const changed = new Set<ScopeId>();
    for (const { id, reason } of this.leases.tick(now)) {
      const lease = this.leases.get(id);
      // One before it took it along.
      if (lease === undefined) continue;
      const scope = this.#core.scope(lease.scope);
      if (!this.leases.isLast(id)) {
        this.leases.end(id, reason);
        changed.add(lease.scope);
        continue;
      }
      // Its orderly lock began before its end, and is to have ended with it.
      if (reason === 'ttl' && scope?.isOpen === false) this.leases.end(id, reason);
      else this.#endTold(id, reason);
    }
    for (const scope of changed) this.#plan(scope);
    for (const scope of this.#spent) {
      this.#spent.delete(scope);
      this.#overspent.add(scope.id);
      this.#core.locks.lock([scope.id], REASONS.budget, now + LOCK_LIMIT_MS, (receipts) =>
        this.#tell({ kind: 'expired', receipts }),
      );
    }
  }

  /** Looks whose end {@link fd} told. */
  collect(): void {
    for (const fd of this.#hangups.take()) {
      const anchor = this.#anchors.get(fd);
      if (anchor === undefined) continue;
      // Told once (EPOLLONESHOT): the lease may not have been given yet. Closed with it.
      anchor.gone = true;
      this.#endTold(anchor.lease, anchor.kind);
    }
  }

  /** All budgets of a scope's leases count all that is taken out of it. */
  #meter(scope: Scope): Meter {
    const spend = (bytes: number, files: number): number => {
      const all = this.leases.budgets(scope.id);
      const refusing = all.filter(({ budget }) => !budget.allows(bytes, files));
      if (refusing.length === 0) {
        for (const { budget } of all) budget.charge(bytes, files);
        return 0;
      }
      for (const { id, budget } of refusing) {
        const { terms, used, spent } = budget;
        budget.spent = true;
        if (!spent) this.#tell({ kind: 'spent', scope: scope.id, lease: id, over: terms.over, used });
      }
      if (refusing.every(({ budget }) => budget.terms.over === 'deny')) return -errno.EDQUOT;
      // Not from within a request: before the next one.
      this.#spent.add(scope);
      return -errno.ENOKEY;
    };
    return { open: () => spend(0, 1), read: (bytes) => spend(bytes, 0) };
  }
}
