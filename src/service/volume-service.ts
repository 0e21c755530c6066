import { Failure } from '../base/failure.js';
import { freshId, type LeaseId, type ScopeId } from '../base/ids.js';
import type {
  AuditView,
  HolderView,
  LeaseView,
  ReceiptView,
  ScopeView,
  ShredView,
  SlotChangeView,
  SlotView,
  VersionView,
} from '../control/schemas.js';
import {
  type ControlService,
  type HeldLease,
  Issued,
  type Key,
  type LeaseRequest,
  type NewSlotRequest,
  type Peer,
  type SecretRequest,
} from '../control/service.js';
import type { LockReceipt } from '../filesystem/events.js';
import type { EndReason, Lease } from '../keyring/leases/leases.js';
import type { WindowTerms } from '../keyring/slots/windows.js';
import type { SecretInput } from '../libc/memory.js';
import type { ScopeStatus } from '../worker/messages.js';
import { LeaseService, plainTerms } from './leases/lease-service.js';
import { expiry } from './leases/lease-view.js';
import { ScopeLocks } from './leases/scope-locks.js';
import { holdersOf } from './scopes/holders.js';
import { Receipts } from './scopes/receipts.js';
import { refused } from './scopes/refusals.js';
import { type KnownScopeRecord, pathParts, raw, shown } from './scopes/scope-paths.js';
import { Shredder } from './shred/shredder.js';
import { ScopeSlots } from './slots/scope-slots.js';
import type { MountedVault } from './vault/mounted-vault.js';
import { version } from './version.js';

/** Scopes, slots and leases of one mounted vault: where the control plane meets keyring, store and core. */
export class VolumeService implements ControlService {
  readonly #vault: MountedVault;
  readonly slots: ScopeSlots;
  readonly #leases: LeaseService;
  readonly #locks: ScopeLocks;
  readonly #shredder: Shredder;
  readonly #unmount: () => Promise<void>;
  fuseMinor = 0;

  constructor(vault: MountedVault, known: readonly KnownScopeRecord[], unmount: () => Promise<void>) {
    this.#vault = vault;
    this.#unmount = unmount;
    this.slots = new ScopeSlots(vault);
    const receipts = new Receipts(vault);
    this.#leases = new LeaseService(vault, this.slots, receipts);
    this.#locks = new ScopeLocks(vault, this.slots, receipts);
    this.#shredder = new Shredder(vault, this.slots, this.#locks);
    for (const scope of known) vault.paths.set(scope.id, scope);
  }

  async version(): Promise<VersionView> {
    const status = await this.#vault.core.call({ op: 'status' });
    return {
      version,
      volume: this.#vault.info.record.volume,
      vault: this.#vault.info.path,
      mount: this.#vault.mountPoint,
      pid: process.pid,
      fuse_minor: this.fuseMinor,
      secret_memory: status.secretMemory,
      inodes: status.inodes,
      requests: status.requests,
      longest_request: status.longest,
    };
  }

  #view(scope: KnownScopeRecord, status: ScopeStatus | undefined): ScopeView {
    const state = status?.state ?? 'locked';
    return {
      id: scope.id,
      path: this.#vault.paths.fullPath(scope.id),
      parent: scope.parent ?? null,
      state: state === 'open' ? 'unlocked' : state,
      generation: status?.generation ?? 0,
      leases: status?.leases ?? 0,
      ...expiry(status?.deadline ?? Number.POSITIVE_INFINITY),
      visible_to: status?.visibleTo ?? 'any',
      read_only: status?.readOnly ?? false,
      open_handles: status?.openHandles ?? 0,
      slots: this.#vault.store.countSlots(scope.id),
      created: new Date(scope.created * 1000).toISOString(),
    };
  }

  async scopes(): Promise<ScopeView[]> {
    const { scopes } = await this.#vault.core.call({ op: 'status' });
    const states = new Map(scopes.map((scope) => [scope.id, scope]));
    return [...this.#vault.paths.values()]
      .map((scope) => this.#view(scope, states.get(scope.id)))
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  }
  async scope(reference: string): Promise<ScopeView> {
    const scope = this.#vault.paths.resolve(reference);
    const { scopes } = await this.#vault.core.call({ op: 'status', scope: scope.id });
    return this.#view(scope, scopes[0]);
  }

  async createScope(
    path: string,
    wanted: Pick<NewSlotRequest, 'type'> & SecretRequest,
    input: SecretInput,
    peer: Peer,
  ): Promise<Issued<ScopeView>> {
    const names = path.split('/').filter((name) => name !== '');
    if (names.length === 0)
      throw new Failure('conflict', 'the root scope exists already', {
        reason: 'scope_is_root',
      });
    const { store } = this.#vault;
    const id = freshId<ScopeId>();
    const parent = this.#vault.paths.containing(names.slice(0, -1));
    const below = raw(names.slice(pathParts(this.#vault.paths.fullPath(parent.id)).length).join('/'));
    const owner = { context: this.#vault.context(id), parent: parent.id };
    const { rows, secret, shares } = await this.slots.create(owner, wanted, input);
    try {
      // The row comes first: a crash then leaves a row without a directory, never a directory without a key.
      await this.slots.addScope(rows, below, peer);
      const made = await this.#vault.core.call({
        op: 'create',
        names: names.map(raw),
        scope: id,
        epoch: 1,
        secret: secret.address,
        owner: { uid: peer.uid, gid: peer.gid, mode: 0o700 },
        lease: freshId<LeaseId>(),
        terms: plainTerms('created', peer),
      });
      if (!made.result.ok) {
        const failure = refused(made.result, path, this.#vault.paths);
        await store.commit(() => {
          store.removeScope(id);
          this.#vault.audit.record({ event: 'create', result: failure.code, scope: id }, peer);
        });
        throw failure;
      }
      const record = { id, parent: parent.id, path: below, created: rows.scope.created };
      this.#vault.paths.set(id, record);
      // A scope whose directory was never made (the daemon was killed) or is gone must not answer to this path.
      const here = this.#vault.paths.fullPath(id);
      for (let other = this.#vault.paths.at(here); other !== undefined && other.id !== id; ) {
        this.moved(other.id, `lost-${other.id}`);
        other = this.#vault.paths.at(here);
      }
      // The core walked the tree; the labels above may have been behind.
      if (made.path !== undefined && made.path !== record.path) this.moved(id, made.path);
      await this.slots.inTurn(id, () => this.slots.changes.writeCopy(id));
      return new Issued(await this.scope(id), shares);
    } catch (error) {
      shares?.wipe();
      throw error;
    } finally {
      secret.wipe();
    }
  }

  leases(): Promise<LeaseView[]> {
    return this.#leases.all();
  }
  lease(id: string): Promise<LeaseView> {
    return this.#leases.one(id);
  }
  async createLease(request: LeaseRequest, key: Key, peer: Peer): Promise<LeaseView> {
    this.#refuseStrangers(request);
    return this.#leases.create(request, key, peer);
  }
  async holdLease(
    request: LeaseRequest,
    key: Key,
    peer: Peer,
    connection: () => number,
    ended: () => void,
  ): Promise<HeldLease> {
    this.#refuseStrangers(request);
    return this.#leases.hold(request, key, peer, connection, ended);
  }
  /** Some transports can't tell who calls. */
  #refuseStrangers({ visibility }: LeaseRequest): void {
    if (visibility.length === 0 || this.#vault.knowsCallers) return;
    throw new Failure(
      'usage',
      'this transport does not know who calls: a scope is open for all or for nobody',
      {
        reason: 'transport_without_callers',
      },
    );
  }
  changeLease(id: string, ttl: number, peer: Peer): Promise<LeaseView> {
    return this.#leases.change(id, ttl, peer);
  }
  endLease(id: string, peer: Peer): Promise<ReceiptView[]> {
    return this.#leases.end(id, peer);
  }

  /** Something happened in the core. */
  leaseEnded(lease: Lease, reason: EndReason): void {
    this.#leases.ended(lease, reason);
  }
  budgetSpent(scope: ScopeId, lease: LeaseId, over: string, used: { bytes: number; files: number }): void {
    this.#leases.spent(scope, lease, over, used);
  }
  locked(receipts: readonly LockReceipt[]): Promise<ReceiptView[]> {
    return this.#locks.locked(receipts);
  }
  shred(reference: string, yes: string, peer: Peer): Promise<ShredView> {
    return this.#shredder.shred(this.#vault.paths.resolve(reference), yes, peer);
  }
  holders(reference: string): HolderView[] {
    const path = this.#vault.paths.fullPath(this.#vault.paths.resolve(reference).id);
    return holdersOf(this.#vault.mountPoint + (path === '/' ? '' : path));
  }
  async lock(reference: string, reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#locks.lock(this.#vault.paths.resolve(reference).id, reason, wait);
  }
  lockAll(reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#locks.lockAll(reason, wait);
  }
  closeAll(reason: string): Promise<ReceiptView[]> {
    return this.#locks.closeAll(reason);
  }

  slotsOf(reference: string): Promise<SlotView[]> {
    return this.slots.list(this.#vault.paths.resolve(reference).id);
  }
  addSlot(
    reference: string,
    wanted: NewSlotRequest,
    input: SecretInput,
    peer: Peer,
  ): Promise<Issued<SlotView>> {
    return this.slots.changes.add(this.#vault.paths.resolve(reference).id, wanted, input, peer);
  }
  testSlot(reference: string, key: Key, peer: Peer): Promise<SlotView> {
    return this.slots.test(this.#vault.paths.resolve(reference).id, key, peer);
  }
  setWindow(reference: string, slot: string, window: WindowTerms | undefined, peer: Peer): Promise<SlotView> {
    return this.slots.changes.setWindow(this.#vault.paths.resolve(reference).id, slot, window, peer);
  }
  removeSlot(reference: string, slot: string, peer: Peer): Promise<SlotChangeView> {
    return this.slots.changes.remove(this.#vault.paths.resolve(reference).id, slot, peer);
  }
  rotateSlot(
    reference: string,
    slot: string,
    input: SecretInput,
    wanted: SecretRequest,
    peer: Peer,
  ): Promise<Issued<SlotChangeView>> {
    return this.slots.changes.rotate(this.#vault.paths.resolve(reference).id, slot, input, wanted, peer);
  }
  renewShare(reference: string, share: SecretInput, peer: Peer): Promise<Issued<SlotView>> {
    return this.slots.renewShare(this.#vault.paths.resolve(reference).id, share, peer);
  }

  audit(count: number): AuditView[] {
    return this.#vault.audit.tail(count).map((row) => ({
      sequence: row.sequence,
      at: new Date(row.at).toISOString(),
      event: row.event,
      result: row.result,
      scope: row.scope ?? null,
      path:
        row.scope === undefined || !this.#vault.paths.has(row.scope)
          ? null
          : this.#vault.paths.fullPath(row.scope),
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
    return `${this.#vault.paths.fullPath(id).replace(/\/$/, '')}/${shown(path)}`;
  }

  /** A scope's root got another path below its parent scope: its label follows. */
  moved(id: ScopeId, path: string): void {
    if (!this.#vault.paths.move(id, path)) return;
    const { store, log } = this.#vault;
    store
      .commit(() => store.setPath(id, this.#vault.storeKey.require().sealPath(id, path)))
      .catch((error: unknown) => {
        // A full disk: the next lookup of that directory reports the move again after a remount.
        log.error('the label of a scope could not be stored', { scope: id, error });
      });
  }

  unmount(): Promise<void> {
    return this.#unmount();
  }
}
