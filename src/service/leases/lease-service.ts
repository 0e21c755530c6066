import { Failure } from '../../base/failure.js';
import { freshId, type LeaseId, type ScopeId } from '../../base/ids.js';
import type { LeaseView, ReceiptView } from '../../control/schemas.js';
import type { HeldLease, Key, LeaseControl, LeaseRequest, Peer } from '../../control/service.js';
import {
  type EndReason,
  type Holder,
  type Lease,
  type LeaseTerms,
  MOST_LEASES,
  PLAIN,
} from '../../keyring/leases/leases.js';
import { visibilityText } from '../../keyring/leases/visibility.js';
import type { OpenedScope } from '../../keyring/slots/scope-secrets.js';
import { cgroupOf, commandOf, unitIn } from '../../libc/processes.js';
import type { Granted } from '../../worker/messages.js';
import type { CoreCalls } from '../../worker/transport.js';
import type { AuditedEvent } from '../audit/audit-log.js';
import type { Receipts } from '../scopes/receipts.js';
import { refused } from '../scopes/refusals.js';
import type { RootLabels } from '../scopes/root-labels.js';
import type { ScopePaths } from '../scopes/scope-paths.js';
import type { ScopeSlots } from '../slots/scope-slots.js';
import { leaseView } from './lease-view.js';

function holderOf({ uid, pid }: Peer): Holder {
  return { uid, pid, command: commandOf(pid), unit: unitIn(cgroupOf(pid)) };
}

/** A lease that asks for nothing but its scope. */
export function plainTerms(purpose: string, peer: Peer): LeaseTerms {
  return { ...PLAIN, purpose, holder: holderOf(peer) };
}

/** What a lease is asked for, but for its secret. */
interface Wanted {
  /** {@link ScopePaths.locksAsked} when it was asked for. */
  readonly locks: number;
  readonly terms: LeaseTerms;
  readonly pid?: number | undefined;
  /** A descriptor of the connection that it lives as long as, for the core to keep; or -errno. */
  readonly connection?: (() => number) | undefined;
  readonly ended?: (() => void) | undefined;
}

/** Leases as callers ask for them. The core's thread keeps them (lease-keeper.ts): here they are opened and written down. */
export class LeaseService implements LeaseControl {
  readonly #core: CoreCalls;
  readonly #slots: ScopeSlots;
  readonly #scopes: ScopePaths;
  readonly #labels: RootLabels;
  readonly #receipts: Receipts;
  readonly #watchers = new Map<LeaseId, () => void>();

  constructor(
    core: CoreCalls,
    slots: ScopeSlots,
    scopes: ScopePaths,
    labels: RootLabels,
    receipts: Receipts,
  ) {
    this.#core = core;
    this.#slots = slots;
    this.#scopes = scopes;
    this.#labels = labels;
    this.#receipts = receipts;
  }

  #show(lease: Lease): LeaseView {
    return leaseView(lease, this.#scopes.fullPath(lease.scope));
  }
  async all(): Promise<LeaseView[]> {
    const { leases } = await this.#core.call({ op: 'leases' });
    return leases.map((lease) => this.#show(lease));
  }
  async #find(id: string): Promise<Lease> {
    const {
      leases: [lease],
    } = await this.#core.call({ op: 'leases', lease: id as LeaseId });
    if (lease !== undefined) return lease;
    throw new Failure('not_found', `there is no lease ${id}`, {
      hint: 'it may have ended: scopefs lease list shows those there are',
    });
  }
  async one(id: string): Promise<LeaseView> {
    return this.#show(await this.#find(id));
  }

  async create(request: LeaseRequest, key: Key, peer: Peer): Promise<LeaseView> {
    return this.#show(await this.#open(request, key, peer, {}));
  }

  async hold(
    request: LeaseRequest,
    key: Key,
    peer: Peer,
    connection: () => number,
    ended: () => void,
  ): Promise<HeldLease> {
    const lease = await this.#open(request, key, peer, { connection, ended });
    return {
      lease: this.#show(lease),
      release: async () => {
        try {
          await this.end(lease.id, peer, 'connection');
        } catch (error) {
          // The core has seen the connection's end by itself, unless the response was given up while it goes on.
          if (!(error instanceof Failure) || error.code !== 'not_found') throw error;
        }
      },
    };
  }

  async #open(
    request: LeaseRequest,
    key: Key,
    peer: Peer,
    held: Pick<Wanted, 'connection' | 'ended'>,
  ): Promise<Lease> {
    const { scope: id, pid, ...asked } = request;
    const processes = pid !== undefined || request.visibility.some(({ kind }) => kind === 'tree');
    const terms: LeaseTerms = {
      ...asked,
      holder: holderOf(peer),
      bound: [
        ...(held.connection === undefined ? [] : (['connection'] as const)),
        ...(processes ? (['process'] as const) : []),
      ],
    };
    const locks = this.#scopes.locksAsked(id);
    // One unlock of a scope after another: each takes its key through a throttle.
    return this.#slots.inTurn(id, async () => {
      const opened = await this.#slots.openRenewed(id, key, peer);
      await this.#readLabels(id, opened, peer);
      // A lease does not outlive the window by which its scope was opened.
      const { closes } = opened;
      const until = closes === undefined ? terms.until : Math.min(terms.until ?? closes, closes);
      return this.#grant(
        id,
        opened,
        { terms: { ...terms, until }, pid, locks, ...held },
        peer,
        opened.slot.number,
      );
    });
  }

  async #readLabels(id: ScopeId, opened: OpenedScope, peer: Peer): Promise<void> {
    if (this.#scopes.get(id)?.parent !== undefined) return;
    try {
      await this.#labels.open(id, opened);
    } catch (error) {
      for (const secret of opened.secrets) secret.wipe();
      const code = error instanceof Failure ? error.code : 'internal';
      const detail = error instanceof Error ? error.message : '';
      await this.#slots.audit.write({ event: 'unlock', result: code, scope: id, detail }, peer);
      throw error;
    }
  }

  /** The audit row is durable before the key becomes usable. `opened`'s secrets are wiped. */
  async #grant(
    id: ScopeId,
    opened: OpenedScope,
    { terms, pid, connection, ended, locks }: Wanted,
    peer: Peer,
    slot: number | undefined,
  ): Promise<Lease> {
    const lease = freshId<LeaseId>();
    const { visibility, readOnly, purpose } = terms;
    const kinds = [
      ...(visibility.length === 0 ? [] : [`visible to ${visibilityText(visibility)}`]),
      ...(readOnly ? ['read-only'] : []),
    ];
    const detail = kinds.length === 0 ? {} : { detail: kinds.join(', ') };
    const entry = { event: 'unlock', scope: id, slot, lease, purpose, ...detail } as const;
    try {
      await this.#slots.audit.write({ ...entry, result: 'ok' }, peer);
      // In one turn with the order to the core: a lock that is asked for later comes after it there.
      this.#scopes.refuseLocked(id, locks);
      const fd = connection?.();
      if (fd !== undefined && fd < 0) throw new Failure('unreachable', 'the connection is gone');
      // Before the core is asked: its end may be told as soon as it began.
      if (ended !== undefined) this.#watchers.set(lease, ended);
      const { granted } = await this.#core.call({
        op: 'grant',
        scope: id,
        lease,
        terms,
        pid,
        connection: fd,
        oldest: opened.oldest,
        secrets: opened.secrets.map((secret) => secret.address),
        stored: { epoch: opened.epoch, list: opened.listVersion },
      });
      if (!granted.ok) throw this.#notGranted(granted, this.#scopes.fullPath(id));
      // Nothing changes in a scope that is to be read only. What fails is tried again at the next unlock.
      if (granted.copyBehind && !readOnly) await this.#slots.changes.writeCopy(id).catch(() => {});
      return granted.lease;
    } catch (error) {
      this.#watchers.delete(lease);
      const code = error instanceof Failure ? error.code : 'internal';
      await this.#slots.audit.write({ ...entry, result: code }, peer);
      throw error;
    } finally {
      for (const secret of opened.secrets) secret.wipe();
    }
  }

  #notGranted({ refusal, conflict, gone, full }: Extract<Granted, { ok: false }>, path: string): Failure {
    if (gone !== undefined) {
      return new Failure('not_found', `there is no process ${gone}`, { hint: 'it may have ended: see ps' });
    }
    if (full === true) {
      return new Failure('busy', `${path} has ${MOST_LEASES} leases already`, {
        hint: 'end some: scopefs lease list, scopefs lease revoke',
      });
    }
    if (conflict !== undefined) {
      const { visibility, readOnly } = conflict;
      return new Failure(
        'conflict',
        `${path} is unlocked for ${visibility === 'any' ? 'any caller' : visibility}, ${readOnly ? 'to be read only' : 'to read and write'}`,
        {
          hint: 'ask for the same, or wait until its leases have ended: scopefs lease list',
          details: { visible_to: visibility, read_only: readOnly },
        },
      );
    }
    return refused(refusal ?? { ok: false, errno: 0 }, path, this.#scopes);
  }

  /** The row is durable before the key may stay longer. */
  async change(id: string, ttl: number, peer: Peer): Promise<LeaseView> {
    const { scope, purpose } = await this.#find(id);
    const entry = { event: 'lease_change', scope, purpose, detail: `ttl ${ttl / 1000} s` } as const;
    await this.#slots.audit.write({ ...entry, lease: id, result: 'ok' }, peer);
    const { lease } = await this.#core.call({ op: 'changeLease', lease: id as LeaseId, ttl });
    if (lease !== undefined) return this.#show(lease);
    throw new Failure('busy', `${this.#scopes.fullPath(scope)} is being locked`, { hint: 'unlock it again' });
  }

  async end(id: string, peer: Peer, reason: 'revoked' | 'connection' = 'revoked'): Promise<ReceiptView[]> {
    const lease = await this.#find(id);
    // First what closes: a row that can't be written must not keep a scope open.
    const { receipts } = await this.#core.call({ op: 'endLease', lease: lease.id, reason });
    if (receipts.length > 0) return this.#receipts.of(receipts);
    // Of one that ended with its connection the core tells.
    if (reason === 'revoked') {
      await this.#audit({ event: 'lease_end', result: 'ok', scope: lease.scope, lease: lease.id }, peer);
    }
    return [];
  }

  /** The core says that one is over. */
  ended(lease: Lease, reason: EndReason): void {
    this.#watchers.get(lease.id)?.();
    this.#watchers.delete(lease.id);
    // With its scope: the row of that lock says it. Revoked: whoever did it writes it down, by name.
    if (reason === 'locked' || reason === 'revoked') return;
    const { id, scope, purpose } = lease;
    void this.#audit(
      { event: 'lease_end', result: 'ok', scope, lease: id, purpose, detail: reason },
      undefined,
    );
  }
  spent(scope: ScopeId, lease: LeaseId, over: string, used: { bytes: number; files: number }): void {
    const detail = `${over}: ${used.bytes} bytes, ${used.files} files`;
    void this.#audit({ event: 'budget', result: 'forbidden', scope, lease, detail }, undefined);
  }
  #audit(entry: AuditedEvent, peer: Peer | undefined): Promise<void> {
    return this.#receipts.audit(entry, peer);
  }
}
