import { Failure } from '../base/failure.js';
import { freshId, type LeaseId, type ScopeId } from '../base/ids.js';
import type { Log } from '../base/log.js';
import type {
  AuditView,
  LeaseView,
  ReceiptView,
  ScopeView,
  SlotChangeView,
  SlotView,
  VersionView,
} from '../control/schemas.js';
import type { ControlService, HeldLease, Peer } from '../control/service.js';
import type { LockReceipt } from '../filesystem/lock.js';
import { type Bound, type Lease, Leases } from '../keyring/leases.js';
import type { OpenedScope } from '../keyring/scope-secrets.js';
import { Slots } from '../keyring/slots.js';
import type { Secret, SecretInput } from '../libc/memory.js';
import { systemClock } from '../libc/system.js';
import type { SlotType } from '../store/rows.js';
import type { AuditedEvent } from './audit-log.js';
import { HeldLeases } from './held-leases.js';
import type { ScopeStatus } from './messages.js';
import { refused } from './refusals.js';
import { type KnownScopeRecord, pathParts, raw, ScopePaths, shown } from './scope-paths.js';
import { ScopeSlots } from './scope-slots.js';
import type { SlotServices } from './slot-services.js';
import type { CoreCalls } from './transport.js';
import { version } from './version.js';
import { expiry, leaseView } from './views.js';

/** A lock that nobody gave a limit ends after so long, whatever is still to be written. */
const LOCK_LIMIT_MS = 10_000;

export interface ServiceContext extends SlotServices {
  readonly mountPoint: string;
  readonly log: Log;
}

/** Scopes, slots and leases of one mounted vault: where the control plane meets keyring, store and core. */
export class VolumeService implements ControlService {
  readonly #context: ServiceContext;
  readonly #core: CoreCalls;
  readonly slots: ScopeSlots;
  readonly #leases = new Leases(systemClock);
  readonly #held: HeldLeases;
  readonly #scopes = new ScopePaths();
  readonly #unmount: () => Promise<void>;
  fuseMinor = 0;

  constructor(
    context: ServiceContext,
    core: CoreCalls,
    known: readonly KnownScopeRecord[],
    unmount: () => Promise<void>,
  ) {
    this.#context = context;
    this.#core = core;
    this.slots = new ScopeSlots(context, core, (id) => this.#scopes.fullPath(id));
    this.#unmount = unmount;
    this.#held = new HeldLeases(this.#leases, (id, peer) => this.endLease(id, peer), context.log);
    for (const scope of known) this.#scopes.set(scope.id, scope);
  }

  async version(): Promise<VersionView> {
    const status = await this.#core.call({ op: 'status' });
    return {
      version,
      volume: this.#context.vault.record.volume,
      vault: this.#context.vault.path,
      mount: this.#context.mountPoint,
      pid: process.pid,
      fuse_minor: this.fuseMinor,
      secret_memory: status.secretMemory,
      inodes: status.inodes,
      requests: status.requests,
      longest_request: status.longest,
    };
  }

  #view(scope: KnownScopeRecord, status: ScopeStatus | undefined): ScopeView {
    const leases = this.#leases.of(scope.id);
    const { deadline } = this.#leases.deadline(scope.id);
    const state = status?.state ?? 'locked';
    return {
      id: scope.id,
      path: this.#scopes.fullPath(scope.id),
      parent: scope.parent ?? null,
      state: state === 'open' ? 'unlocked' : state,
      generation: status?.generation ?? 0,
      leases: leases.length,
      ...expiry(leases.length === 0 ? Number.POSITIVE_INFINITY : deadline),
      open_handles: status?.openHandles ?? 0,
      slots: this.#context.store.countSlots(scope.id),
      created: new Date(scope.created * 1000).toISOString(),
    };
  }

  async scopes(): Promise<ScopeView[]> {
    const { scopes } = await this.#core.call({ op: 'status' });
    const states = new Map(scopes.map((scope) => [scope.id, scope]));
    return [...this.#scopes.values()]
      .map((scope) => this.#view(scope, states.get(scope.id)))
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  }
  async scope(reference: string): Promise<ScopeView> {
    const scope = this.#scopes.resolve(reference);
    const { scopes } = await this.#core.call({ op: 'status' });
    return this.#view(
      scope,
      scopes.find((state) => state.id === scope.id),
    );
  }

  async createScope(path: string, type: SlotType, input: SecretInput, peer: Peer): Promise<ScopeView> {
    Slots.check(type, input);
    const names = path.split('/').filter((name) => name !== '');
    if (names.length === 0)
      throw new Failure('conflict', 'the root scope exists already', {
        hint: 'name a path below the mount: scopefs create users/alice',
      });
    const { store } = this.#context;
    const id = freshId<ScopeId>();
    const parent = this.#scopes.containing(names.slice(0, -1));
    const below = raw(names.slice(pathParts(this.#scopes.fullPath(parent.id)).length).join('/'));
    const { rows, secret } = await this.slots.create(id, parent.id, type, input);
    try {
      // The row comes first: a crash then leaves a row without a directory, never a directory without a key.
      await this.slots.addScope(rows, below, peer);
      const made = await this.#core.call({
        op: 'create',
        names: names.map(raw),
        scope: id,
        epoch: 1,
        secret: secret.address,
        owner: { uid: peer.uid, gid: peer.gid, mode: 0o700 },
      });
      if (!made.result.ok) {
        const failure = refused(made.result, path, this.#scopes);
        await store.commit(() => {
          store.removeScope(id);
          this.slots.audit.record({ event: 'create', result: failure.code, scope: id }, peer);
        });
        throw failure;
      }
      const record = { id, parent: parent.id, path: below, created: rows.scope.created };
      this.#scopes.set(id, record);
      // A scope whose directory was never made (the daemon was killed) or is gone must not answer to this path.
      const here = this.#scopes.fullPath(id);
      for (const other of [...this.#scopes.values()]) {
        if (other.id !== id && this.#scopes.fullPath(other.id) === here)
          this.moved(other.id, `lost-${other.id}`);
      }
      // The core walked the tree; the labels above may have been behind.
      if (made.path !== undefined && made.path !== record.path) this.moved(id, made.path);
      this.#leases.add(id, undefined, 'created', { uid: peer.uid, pid: peer.pid });
      // Somebody may have locked everything meanwhile: a lease on a locked scope would outlive the next unlock's.
      if (!(await this.#plan(id))) this.#leases.endAll(id);
      await this.slots.inTurn(id, () => this.slots.writeCopy(id));
      return await this.scope(id);
    } finally {
      secret.wipe();
    }
  }

  leases(): LeaseView[] {
    return this.#leases.all().map((lease) => this.#show(lease));
  }
  #show(lease: Lease): LeaseView {
    return leaseView(lease, this.#scopes.fullPath(lease.scope));
  }

  async createLease(
    request: { scope: string; ttl: number | undefined; purpose: string },
    input: SecretInput,
    peer: Peer,
    bound?: Bound,
  ): Promise<LeaseView> {
    const { id } = this.#scopes.resolve(request.scope);
    // One unlock of a scope after another: two at once would both find it locked.
    return this.slots.inTurn(id, async () => {
      const opened = await this.slots.open(id, input, peer, 'unlock');
      return this.#grant(id, opened, { ...request, bound }, peer, opened.slot.number);
    });
  }

  async holdLease(
    request: { scope: string; ttl: number | undefined; purpose: string },
    input: SecretInput,
    peer: Peer,
    ended: () => void,
  ): Promise<HeldLease> {
    const lease = await this.createLease(request, input, peer, 'connection');
    return { lease, release: this.#held.hold(lease.id as LeaseId, peer, ended) };
  }

  /** The audit row is durable before the key becomes usable. `opened`'s secrets are wiped. */
  async #grant(
    id: ScopeId,
    opened: OpenedScope,
    request: { ttl: number | undefined; purpose: string; bound?: Bound | undefined },
    peer: Peer,
    slot: number | undefined,
  ): Promise<LeaseView> {
    const path = this.#scopes.fullPath(id);
    const { ttl, purpose, bound } = request;
    const lease = freshId<LeaseId>();
    const entry = { event: 'unlock', scope: id, slot, lease, purpose } as const;
    try {
      await this.slots.audit.write({ ...entry, result: 'ok' }, peer);
      const status = await this.#core.call({ op: 'status' });
      const state = status.scopes.find((candidate) => candidate.id === id)?.state;
      if (state !== 'open') {
        const { result } = await this.#core.call({
          op: 'unlock',
          scope: id,
          oldest: opened.oldest,
          secrets: opened.secrets.map((secret) => secret.address),
          stored: { epoch: opened.epoch, list: opened.listVersion },
        });
        if (!result.ok) throw refused(result, path, this.#scopes);
        if (result.copyBehind === true) await this.slots.writeCopy(id);
      }
      const holder = { uid: peer.uid, pid: peer.pid };
      const granted = this.#leases.add(id, ttl, purpose, holder, lease, bound);
      if (await this.#plan(id)) return this.#show(granted);
      // It was locked meanwhile.
      this.#leases.end(lease);
      throw new Failure('busy', `${path} is being locked`, { hint: 'try again in a moment' });
    } catch (error) {
      const code = error instanceof Failure ? error.code : 'internal';
      await this.slots.audit.write({ ...entry, result: code }, peer);
      throw error;
    } finally {
      for (const secret of opened.secrets) secret.wipe();
    }
  }

  /** The root scope at mount: its key was verified already. Takes the secret over. */
  async unlockRoot(root: ScopeId, secret: Secret, mounter: Peer): Promise<void> {
    const opened = this.slots.unchainRoot(root, secret);
    await this.slots.noteDamaged(root, opened.damaged, mounter);
    await this.#grant(root, opened, { ttl: undefined, purpose: 'mount' }, mounter, undefined);
  }

  /** Tells the core when a scope's last lease ends. False: the scope is not unlocked any more. */
  async #plan(scope: ScopeId): Promise<boolean> {
    const answer = await this.#core.call({ op: 'deadline', scope, ...this.#leases.deadline(scope) });
    return answer.held;
  }

  #lease(id: string): Lease {
    const lease = this.#leases.all().find((candidate) => candidate.id === id);
    if (lease !== undefined) return lease;
    throw new Failure('not_found', `there is no lease ${id}`, {
      hint: 'it may have ended: list those there are with GET /v1/leases',
    });
  }

  /** The row is durable before the key may stay longer. */
  async changeLease(id: string, ttl: number, peer: Peer): Promise<LeaseView> {
    const { scope, purpose } = this.#lease(id);
    const entry = { event: 'lease_change', scope, purpose, detail: `ttl ${ttl / 1000} s` } as const;
    await this.slots.audit.write({ ...entry, lease: id, result: 'ok' }, peer);
    const changed = this.#leases.change(id as LeaseId, ttl);
    if (changed === undefined || !(await this.#plan(scope))) {
      throw new Failure('busy', `${this.#scopes.fullPath(scope)} is being locked`, {
        hint: 'unlock it again',
      });
    }
    this.#held.changed(id as LeaseId);
    return this.#show(changed);
  }

  async endLease(id: string, peer: Peer): Promise<ReceiptView[]> {
    const lease = this.#lease(id);
    if (this.#leases.of(lease.scope).length === 1) {
      return this.#lock([lease.scope], 'lease ended', undefined);
    }
    this.#leases.end(lease.id);
    // First what closes: a row that can't be written must not keep a scope open.
    await this.#plan(lease.scope);
    await this.#auditEnd({ event: 'lease_end', result: 'ok', scope: lease.scope, lease: lease.id }, peer);
    return [];
  }

  async #lock(scopes: readonly ScopeId[], reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    const deadline = systemClock.boottime() + (wait ?? LOCK_LIMIT_MS);
    const { receipts } = await this.#core.call({ op: 'lock', scopes, reason, deadline });
    return this.locked(receipts);
  }

  /** Scopes were locked: their leases end. */
  async locked(receipts: readonly LockReceipt[]): Promise<ReceiptView[]> {
    const views = receipts.map((receipt) => ({
      scope: receipt.scope,
      path: this.#scopes.fullPath(receipt.scope),
      generation: receipt.generation,
      reason: receipt.reason,
      leases_ended: this.#leases.endAll(receipt.scope),
      handles_cut: receipt.handlesCut,
      inodes_invalidated: receipt.inodesInvalidated,
      bytes_flushed: receipt.bytesFlushed,
      errors: receipt.errors.map(({ file, error }) => ({ file: shown(file), error })),
      locked_at: new Date(systemClock.wall()).toISOString(),
      seconds: receipt.seconds,
    }));
    await Promise.all(receipts.map((receipt) => this.#auditLock(receipt)));
    return views;
  }

  /** The lock happened: a row that can't be written does not undo it. */
  async #auditLock(receipt: LockReceipt): Promise<void> {
    const { scope, reason, errors } = receipt;
    const result = errors.length === 0 ? 'ok' : 'io';
    await this.#auditEnd({ event: 'lock', result, scope, detail: reason }, undefined);
  }
  async #auditEnd(entry: AuditedEvent, peer: Peer | undefined): Promise<void> {
    try {
      await this.slots.audit.write(entry, peer);
    } catch (error) {
      this.#context.log.error('an end could not be audited', {
        event: entry.event,
        scope: entry.scope,
        error,
      });
    }
  }

  async lock(reference: string, reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#lock([this.#scopes.resolve(reference).id], reason, wait);
  }
  lockAll(reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#lock([...this.#scopes.keys()], reason, wait);
  }

  slotsOf(reference: string): Promise<SlotView[]> {
    return this.slots.list(this.#scopes.resolve(reference).id);
  }
  addSlot(
    reference: string,
    wanted: { type: SlotType; label: string | undefined },
    input: SecretInput,
    peer: Peer,
  ): Promise<SlotView> {
    return this.slots.add(this.#scopes.resolve(reference).id, wanted, input, peer);
  }
  testSlot(reference: string, input: SecretInput, peer: Peer): Promise<SlotView> {
    return this.slots.test(this.#scopes.resolve(reference).id, input, peer);
  }
  removeSlot(reference: string, slot: string, peer: Peer): Promise<SlotChangeView> {
    return this.slots.remove(this.#scopes.resolve(reference).id, slot, peer);
  }
  rotateSlot(reference: string, slot: string, input: SecretInput, peer: Peer): Promise<SlotChangeView> {
    return this.slots.rotate(this.#scopes.resolve(reference).id, slot, input, peer);
  }

  audit(count: number): AuditView[] {
    return this.slots.audit.tail(count).map((row) => ({
      sequence: row.sequence,
      at: new Date(row.at).toISOString(),
      event: row.event,
      result: row.result,
      scope: row.scope ?? null,
      path: row.scope === undefined || !this.#scopes.has(row.scope) ? null : this.#scopes.fullPath(row.scope),
      slot: row.slot ?? null,
      lease: row.lease ?? null,
      uid: row.uid ?? null,
      pid: row.pid ?? null,
      command: row.command ?? null,
      purpose: row.purpose ?? null,
      detail: row.detail ?? null,
    }));
  }

  /** A path below a scope's root (latin1), from the mount's root, for messages. */
  nameOf(id: ScopeId, path: string): string {
    return `${this.#scopes.fullPath(id).replace(/\/$/, '')}/${shown(path)}`;
  }

  /** A scope's root got another path below its parent scope: its label follows. */
  moved(id: ScopeId, path: string): void {
    const scope = this.#scopes.get(id);
    if (scope === undefined) return;
    scope.path = path;
    const { store, storeKey, log } = this.#context;
    store
      .commit(() => store.setPath(id, storeKey.sealPath(id, path)))
      .catch((error: unknown) => {
        // A full disk: the next lookup of that directory reports the move again after a remount.
        log.error('the label of a scope could not be stored', { scope: id, error });
      });
  }

  unmount(): Promise<void> {
    return this.#unmount();
  }
}
