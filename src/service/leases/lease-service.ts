import { Failure } from '../../base/failure.js';
import { freshId, type LeaseId, type ScopeId } from '../../base/ids.js';
import type { LeaseView, ReceiptView } from '../../control/schemas.js';
import type {
  HeldLease,
  Key,
  LeaseControl,
  LeaseEndRequest,
  LeaseRequest,
  LeaseTermsAsked,
  Peer,
} from '../../control/service.js';
import {
  type Holder,
  type Lease,
  type LeaseEnding,
  type LeaseTerms,
  MOST_LEASES,
  PLAIN,
} from '../../keyring/leases/leases.js';
import { visibilityText } from '../../keyring/leases/visibility.js';
import type { OpenedScope } from '../../keyring/slots/scope-secrets.js';
import { AUTO_TEXT, factsOf } from '../../keyring/slots/slot-facts.js';
import { cgroupOf, commandOf, unitIn } from '../../libc/processes.js';
import type { SlotRow } from '../../store/rows.js';
import type { Unlocked } from '../../worker/messages.js';
import type { AuditedEvent } from '../audit/audit-log.js';
import { type Receipts, SHRED } from '../scopes/receipts.js';
import { refused } from '../scopes/refusals.js';
import { openLabels } from '../scopes/root-labels.js';
import type { ScopeSlots } from '../slots/scope-slots.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import { leaseView } from './lease-view.js';

function holderOf({ uid, pid }: Peer): Holder {
  return { uid, pid, command: commandOf(pid), unit: unitIn(cgroupOf(pid)) };
}

/** What a lease is given on, by whom it was asked for and whether by a connection. */
export function termsFor(request: LeaseTermsAsked, peer: Peer, held: boolean): LeaseTerms {
  const { pid, ...asked } = request;
  const processes = pid !== undefined || request.visibility.some(({ kind }) => kind === 'tree');
  return {
    ...asked,
    holder: holderOf(peer),
    bound: [...(held ? (['connection'] as const) : []), ...(processes ? (['process'] as const) : [])],
  };
}

/** What the audit says of an unlock of which nothing came. */
const UNUSED = 'unused';
const WITH_PARENT = 'with its parent';

/** An edited row may say so as well: the list must vouch for it. */
function refuseUnlessAuto(slots: readonly SlotRow[], { damaged }: OpenedScope): void {
  if (slots.some((slot) => factsOf(slot)?.auto === true && !damaged.includes(slot.number))) return;
  throw new Failure('integrity', 'no slot that the list vouches for opens it with its parent');
}

type Ended = Parameters<LeaseControl['hold']>[4];

/** How long a lease is held: a descriptor of its connection, for the core to keep (or -errno), and who is told its end. */
interface Hold {
  readonly connection: () => number;
  readonly ended: Ended;
}
/** What a lease is asked for, but for its secret. */
interface Wanted {
  readonly peer: Peer;
  /** {@link ScopePaths.locksAsked} when it was asked for. */
  readonly since: number;
  readonly terms: LeaseTerms;
  readonly pid: number | undefined;
  readonly wait: number | undefined;
  readonly hold: Hold | undefined;
}

/** Leases as callers ask for them. The core's thread keeps them (lease-clock.ts): here they are opened and written down. */
export class LeaseService implements LeaseControl {
  readonly #vault: MountedVault;
  readonly #slots: ScopeSlots;
  readonly #receipts: Receipts;
  readonly #watchers = new Map<LeaseId, Ended>();
  /** Leases by slots whose window counts its uses. */
  readonly #counted = new Map<LeaseId, { readonly slot: number; withdrawn: boolean }>();

  constructor(vault: MountedVault, slots: ScopeSlots, receipts: Receipts) {
    this.#vault = vault;
    this.#slots = slots;
    this.#receipts = receipts;
  }

  #show(lease: Lease): LeaseView {
    return leaseView(lease, this.#vault.paths.fullPath(lease.scope));
  }
  async all(): Promise<LeaseView[]> {
    const { leases } = await this.#vault.core.call({ op: 'leases' });
    return leases.map((lease) => this.#show(lease));
  }
  async #find(id: string): Promise<Lease> {
    const {
      leases: [lease],
    } = await this.#vault.core.call({ op: 'leases', lease: id as LeaseId });
    if (lease !== undefined) return lease;
    throw new Failure('not_found', `there is no lease ${id}`, {
      reason: 'lease_unknown',
    });
  }
  async one(id: string): Promise<LeaseView> {
    return this.#show(await this.#find(id));
  }

  async create(request: LeaseRequest, key: Key, peer: Peer): Promise<LeaseView> {
    return this.#show(await this.#open(request, key, peer, undefined));
  }

  async hold(
    request: LeaseRequest,
    key: Key,
    peer: Peer,
    connection: () => number,
    ended: Ended,
  ): Promise<HeldLease> {
    const lease = await this.#open(request, key, peer, { connection, ended });
    return {
      lease: this.#show(lease),
      release: async () => {
        try {
          await this.end(lease.id, peer, { reason: 'connection', withdrawn: false });
        } catch (error) {
          // The core has seen the connection's end by itself, unless the response was given up while it goes on.
          if (!(error instanceof Failure) || error.code !== 'not_found') throw error;
        }
      },
    };
  }

  async #open(request: LeaseRequest, key: Key, peer: Peer, hold: Hold | undefined): Promise<Lease> {
    const { scope, wait, ...given } = request;
    const asked = { ...given, readOnly: given.readOnly || this.#vault.readOnly };
    const terms = termsFor(asked, peer, hold !== undefined);
    return this.#give(scope, key, { peer, terms, pid: asked.pid, wait, hold });
  }

  /** `check`: judges what the key opened. */
  async #give(
    id: ScopeId,
    key: Key,
    wanted: Omit<Wanted, 'since'>,
    check: (opened: OpenedScope) => void = () => {},
  ): Promise<Lease> {
    const { peer, terms } = wanted;
    const since = this.#vault.paths.locksAsked;
    const { lease, first } = await this.#slots.unlock(id, key, peer, async (opened) => {
      check(opened);
      await this.#readLabels(id, opened, peer);
      // A lease does not outlive the window by which its scope was opened.
      const { closes } = opened;
      const until = closes === undefined ? terms.until : Math.min(terms.until ?? closes, closes);
      return this.#unlock(id, opened, { ...wanted, since, terms: { ...terms, until } });
    });
    if (first) await this.#openBelow(lease, peer);
    return lease;
  }

  /** What opens with its parent (a slot's `auto`): on the parent's terms, until that is locked. */
  async #openBelow({ scope, holder, visibility, readOnly, budget }: Lease, peer: Peer): Promise<void> {
    const terms = { ...PLAIN, purpose: WITH_PARENT, holder, visibility, readOnly, budget };
    const wanted = { peer, terms, pid: undefined, wait: undefined, hold: undefined };
    const open = async (id: ScopeId): Promise<void> => {
      try {
        await this.#give(id, 'parent', wanted, (opened) =>
          refuseUnlessAuto(this.#vault.store.slots(id), opened),
        );
      } catch (error) {
        // The parent is open all the same. What was tried is in the audit.
        this.#vault.log.warn('a scope could not be opened with its parent', { scope: id, error });
      }
    };
    await Promise.all(this.#vault.store.autoBelow(scope, AUTO_TEXT).map(open));
  }

  async #readLabels(id: ScopeId, opened: OpenedScope, peer: Peer): Promise<void> {
    const { paths, audit } = this.#vault;
    if (paths.get(id)?.parent !== undefined) return;
    try {
      await openLabels(this.#vault, id, opened);
    } catch (error) {
      const code = error instanceof Failure ? error.code : 'internal';
      const detail = error instanceof Error ? error.message : '';
      await audit.write({ event: 'unlock', result: code, scope: id, detail }, peer);
      throw error;
    }
  }

  /** The audit row is durable before the key becomes usable. */
  async #unlock(id: ScopeId, opened: OpenedScope, wanted: Wanted): Promise<{ lease: Lease; first: boolean }> {
    const { paths, audit, core, mountPoint } = this.#vault;
    const { peer, since, terms, pid, wait, hold } = wanted;
    const lease = freshId<LeaseId>();
    const { visibility, readOnly, purpose } = terms;
    const kinds = [
      ...(visibility.length === 0 ? [] : [`visible to ${visibilityText(visibility)}`]),
      ...(readOnly ? ['read-only'] : []),
    ];
    const detail = kinds.length === 0 ? {} : { detail: kinds.join(', ') };
    const slot = opened.slot.number;
    const entry = { event: 'unlock', scope: id, slot, lease, purpose, ...detail } as const;
    try {
      await audit.write({ ...entry, result: 'ok' }, peer);
      // In one turn with the order to the core: a lock that is asked for later comes after it there.
      paths.refuseLocked(id, since);
      if (this.#vault.detached) {
        throw new Failure('conflict', `the vault is not mounted on ${mountPoint} any more`, {
          reason: 'mount_detached',
        });
      }
      const connection = hold?.connection();
      if (connection !== undefined && connection < 0) {
        throw new Failure('unreachable', 'the connection is gone');
      }
      // Before the core is asked: its end may be told as soon as it began.
      if (hold !== undefined) this.#watchers.set(lease, hold.ended);
      if (factsOf(opened.slot)?.window?.uses !== undefined)
        this.#counted.set(lease, { slot, withdrawn: false });
      const { unlocked } = await core.call({
        op: 'unlock',
        scope: id,
        lease,
        terms,
        pid,
        connection,
        since,
        wait,
        oldest: opened.oldest,
        secrets: opened.secrets.map((secret) => secret.address),
        stored: { epoch: opened.epoch, list: opened.listVersion },
      });
      if (!unlocked.ok) throw this.#refusal(unlocked, paths.fullPath(id));
      // Nothing changes in a scope that is to be read only. What fails is tried again at the next unlock.
      if (unlocked.copyBehind && !readOnly) await this.#slots.changes.writeCopy(id).catch(() => {});
      return unlocked;
    } catch (error) {
      this.#watchers.delete(lease);
      this.#counted.delete(lease);
      const code = error instanceof Failure ? error.code : 'internal';
      await audit.write({ ...entry, result: code }, peer);
      throw error;
    }
  }

  #refusal({ refusal, conflict, gone, full }: Extract<Unlocked, { ok: false }>, path: string): Failure {
    if (gone !== undefined) {
      return new Failure('not_found', `there is no process ${gone}`, { reason: 'process_unknown' });
    }
    if (full === true) {
      return new Failure('busy', `${path} has ${MOST_LEASES} leases already`, {
        reason: 'leases_full',
      });
    }
    if (conflict !== undefined) {
      const { visibility, readOnly } = conflict;
      return new Failure(
        'conflict',
        `${path} is unlocked for ${visibility === 'any' ? 'any caller' : visibility}, ${readOnly ? 'to be read only' : 'to read and write'}`,
        {
          reason: 'lease_terms_differ',
          details: { visible_to: visibility, read_only: readOnly },
        },
      );
    }
    return refused(refusal ?? { ok: false, errno: 0 }, path, this.#vault.paths);
  }

  /** The row is durable before the key may stay longer. */
  async change(id: string, ttl: number, peer: Peer): Promise<LeaseView> {
    const { scope, purpose } = await this.#find(id);
    const entry = { event: 'lease_change', scope, purpose, detail: `ttl ${ttl / 1000} s` } as const;
    await this.#vault.audit.write({ ...entry, lease: id, result: 'ok' }, peer);
    const { lease } = await this.#vault.core.call({ op: 'changeLease', lease: id as LeaseId, ttl });
    if (lease !== undefined) return this.#show(lease);
    throw new Failure('busy', `${this.#vault.paths.fullPath(scope)} is being locked`, {
      reason: 'scope_locked_meanwhile',
    });
  }

  async end(id: string, peer: Peer, { reason, withdrawn }: LeaseEndRequest): Promise<ReceiptView[]> {
    const lease = await this.#find(id);
    const counted = this.#counted.get(lease.id);
    if (counted !== undefined) counted.withdrawn = withdrawn;
    // First what closes: a row that can't be written must not keep a scope open.
    const { receipts } = await this.#vault.core.call({ op: 'endLease', lease: lease.id, reason });
    if (receipts.length > 0) return this.#receipts.of(receipts);
    // Of one that ended with its connection the core tells.
    if (reason === 'revoked') {
      await this.#audit({ event: 'lease_end', result: 'ok', scope: lease.scope, lease: lease.id }, peer);
    }
    return [];
  }

  /** The core says that one is over. */
  ended(lease: Lease, { reason, cause, unused }: LeaseEnding): void {
    const watcher = this.#watchers.get(lease.id);
    this.#watchers.delete(lease.id);
    if (watcher !== undefined) void this.#tellEnd(lease.scope, cause, watcher);
    const counted = this.#counted.get(lease.id);
    this.#counted.delete(lease.id);
    if (counted?.withdrawn === true && unused) void this.#giveBack(lease, counted.slot);
    // With its scope: the row of that lock says it. Revoked: whoever did it writes it down, by name.
    if (reason === 'locked' || reason === 'revoked') return;
    const { id, scope, purpose } = lease;
    void this.#audit(
      { event: 'lease_end', result: 'ok', scope, lease: id, purpose, detail: reason },
      undefined,
    );
  }
  /** Nothing came of it (its caller was gone, or did not get another scope that he needs): the window has that use again. */
  #giveBack({ id, scope, purpose }: Lease, slot: number): Promise<void> {
    return this.#audit({ event: 'unlock', result: UNUSED, scope, slot, lease: id, purpose }, undefined);
  }
  /** With the receipt, where the scope is not open by other leases. */
  async #tellEnd(scope: ScopeId, cause: LeaseEnding['cause'], watcher: Ended): Promise<void> {
    const locked = this.#receipts.next(scope);
    const { scopes } = await this.#vault.core.call({ op: 'status', scope });
    const open = (scopes[0]?.leases ?? 0) > 0;
    const receipt = await (open ? Promise.race([locked, null]) : locked);
    const how = receipt?.reason === SHRED ? 'shred' : 'lock';
    watcher({ reason: cause === 'locked' ? how : cause, receipt });
  }
  spent(scope: ScopeId, lease: LeaseId, over: string, used: { bytes: number; files: number }): void {
    const detail = `${over}: ${used.bytes} bytes, ${used.files} files`;
    void this.#audit({ event: 'budget', result: 'forbidden', scope, lease, detail }, undefined);
  }
  #audit(entry: AuditedEvent, peer: Peer | undefined): Promise<void> {
    return this.#receipts.audit(entry, peer);
  }
}
