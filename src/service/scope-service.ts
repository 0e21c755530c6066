import { Failure } from '../base/failure.js';
import { freshId, type LeaseId, type ScopeId } from '../base/ids.js';
import type { CreatedScopeView, HolderView, ScopeView, ShredView } from '../control/schemas.js';
import {
  Issued,
  type LeaseTermsAsked,
  type NewSlotRequest,
  type Peer,
  type ScopeControl,
  type SecretRequest,
} from '../control/service.js';
import type { SecretInput } from '../libc/memory.js';
import type { ScopeStatus } from '../worker/messages.js';
import { termsFor } from './leases/lease-service.js';
import { expiry } from './leases/lease-view.js';
import type { LockService } from './leases/lock-service.js';
import { holdersOf } from './scopes/holders.js';
import { refused } from './scopes/refusals.js';
import { type KnownScopeRecord, pathParts, raw } from './scopes/scope-paths.js';
import { Shredder } from './shred/shredder.js';
import type { ScopeSlots } from './slots/scope-slots.js';
import type { MountedVault } from './vault/mounted-vault.js';

/** The scopes of a mounted vault: seen, made, destroyed, and where they are. */
export class ScopeService implements ScopeControl {
  readonly #vault: MountedVault;
  readonly #slots: ScopeSlots;
  readonly #shredder: Shredder;

  constructor(vault: MountedVault, slots: ScopeSlots, locks: LockService) {
    this.#vault = vault;
    this.#slots = slots;
    this.#shredder = new Shredder(vault, slots, locks);
  }

  resolve(reference: string): ScopeId {
    return this.#vault.paths.resolve(reference).id;
  }
  #record(id: ScopeId): KnownScopeRecord {
    return this.#vault.paths.resolve(id);
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
  async all(): Promise<ScopeView[]> {
    const { scopes } = await this.#vault.core.call({ op: 'status' });
    const states = new Map(scopes.map((scope) => [scope.id, scope]));
    return [...this.#vault.paths.values()]
      .map((scope) => this.#view(scope, states.get(scope.id)))
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  }
  async one(id: ScopeId): Promise<ScopeView> {
    const scope = this.#record(id);
    const { scopes } = await this.#vault.core.call({ op: 'status', scope: id });
    return this.#view(scope, scopes[0]);
  }
  holders(id: ScopeId): HolderView[] {
    const path = this.#vault.paths.fullPath(id);
    return holdersOf(this.#vault.mountPoint + (path === '/' ? '' : path));
  }

  async create(
    path: string,
    wanted: Pick<NewSlotRequest, 'type'> & SecretRequest,
    input: SecretInput,
    asked: LeaseTermsAsked,
    peer: Peer,
  ): Promise<Issued<CreatedScopeView>> {
    this.#vault.refuseReadOnly();
    const names = path.split('/').filter((name) => name !== '');
    if (names.length === 0)
      throw new Failure('conflict', 'the root scope exists already', {
        reason: 'scope_is_root',
      });
    const { store } = this.#vault;
    const id = freshId<ScopeId>();
    const lease = freshId<LeaseId>();
    const parent = this.#vault.paths.containing(names.slice(0, -1));
    const below = raw(names.slice(pathParts(this.#vault.paths.fullPath(parent.id)).length).join('/'));
    const owner = { context: this.#vault.context(id), parent: parent.id };
    const { rows, secret, shares } = await this.#slots.create(owner, wanted, input);
    try {
      // The row comes first: a crash then leaves a row without a directory, never a directory without a key.
      await this.#slots.addScope(rows, below, peer);
      const made = await this.#vault.core.call({
        op: 'create',
        names: names.map(raw),
        scope: id,
        epoch: 1,
        secret: secret.address,
        owner: { uid: peer.uid, gid: peer.gid, mode: 0o700 },
        lease,
        terms: termsFor({ ...asked, purpose: asked.purpose === '' ? 'created' : asked.purpose }, peer, false),
        pid: asked.pid,
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
      await this.#slots.inTurn(id, () => this.#slots.changes.writeCopy(id));
      return new Issued({ ...(await this.one(id)), lease }, shares);
    } catch (error) {
      shares?.wipe();
      throw error;
    } finally {
      secret.wipe();
    }
  }

  async shred(id: ScopeId, yes: string, peer: Peer): Promise<ShredView> {
    this.#vault.refuseReadOnly();
    return this.#shredder.shred(this.#record(id), yes, peer);
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
}
