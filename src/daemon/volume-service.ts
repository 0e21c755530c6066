import { errno, errnoName } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import { freshId, isId, type ScopeId, scopeId } from '../base/ids.js';
import type { LeaseView, ReceiptView, ScopeView, VersionView } from '../control/schemas.js';
import type { ControlService, Peer } from '../control/service.js';
import type { AeadSuite } from '../crypto/aead.js';
import type { ControlResult, KnownScope } from '../filesystem/core.js';
import type { LockReceipt } from '../filesystem/lock.js';
import { keyIdentifier } from '../format/scope-keys.js';
import { type Lease, Leases } from '../keyring/leases.js';
import { type StoreKey, sealState, verifyState } from '../keyring/sealed-rows.js';
import { Slots } from '../keyring/slots.js';
import { randomFill, type Secret, type SecretInput, type SecretMemory } from '../libc/memory.js';
import { systemClock } from '../libc/system.js';
import type { Store } from '../store/store.js';
import type { CoreClient } from './core-client.js';
import type { ScopeStatus } from './messages.js';
import type { VaultInfo } from './vault.js';
import { version } from './version.js';

/** A lock that nobody gave a limit ends after so long, whatever is still to be written. */
const LOCK_LIMIT_MS = 10_000;

interface KnownScopeRecord {
  readonly id: ScopeId;
  readonly parent: ScopeId | undefined;
  /** Below the parent scope's root, latin1; empty for the root scope. */
  path: string;
  readonly created: number;
}

export interface ServiceContext {
  readonly vault: VaultInfo;
  readonly mountPoint: string;
  readonly store: Store;
  readonly storeKey: StoreKey;
  readonly suite: AeadSuite;
  readonly memory: SecretMemory;
}

/** latin1 of raw bytes to text for people, and back. */
const shown = (raw: string): string => Buffer.from(raw, 'latin1').toString('utf8');
const raw = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

/** Scopes, slots and leases of one mounted vault: where the control plane meets keyring, store and core. */
export class VolumeService implements ControlService {
  readonly #context: ServiceContext;
  readonly #core: CoreClient;
  readonly #slots: Slots;
  readonly #leases = new Leases(systemClock);
  readonly #scopes = new Map<ScopeId, KnownScopeRecord>();
  readonly #unmount: () => Promise<void>;
  /** The last unlock under way of each scope. */
  readonly #granting = new Map<ScopeId, Promise<void>>();
  fuseMinor = 0;

  constructor(
    context: ServiceContext,
    core: CoreClient,
    known: readonly KnownScopeRecord[],
    unmount: () => Promise<void>,
  ) {
    this.#context = context;
    this.#core = core;
    this.#slots = new Slots(context.suite, context.memory);
    this.#unmount = unmount;
    for (const scope of known) this.#scopes.set(scope.id, scope);
  }

  /** What the core must know at the start. */
  static known(store: Store, storeKey: StoreKey): (KnownScopeRecord & KnownScope)[] {
    return store.scopes().map((row) => ({
      id: row.id,
      parent: row.parent,
      path: storeKey.openPath(row.id, row.path),
      created: row.created,
    }));
  }

  #fullPath(id: ScopeId): string {
    const names: string[] = [];
    for (let at: ScopeId | undefined = id; at !== undefined; ) {
      const scope: KnownScopeRecord | undefined = this.#scopes.get(at);
      if (scope === undefined) break;
      if (scope.path !== '') names.unshift(shown(scope.path));
      at = scope.parent;
    }
    return `/${names.join('/')}`;
  }

  /** A scope by id or by path from the mount's root. */
  #resolve(reference: string): KnownScopeRecord {
    if (isId(reference)) {
      const byId = this.#scopes.get(scopeId(reference));
      if (byId !== undefined) return byId;
    }
    const path = `/${reference
      .split('/')
      .filter((part) => part !== '')
      .join('/')}`;
    for (const scope of this.#scopes.values()) {
      if (this.#fullPath(scope.id) === path) return scope;
    }
    throw new Failure('not_found', `there is no scope ${reference}`, {
      hint: 'list them with: scopefs ls',
    });
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
      path: this.#fullPath(scope.id),
      parent: scope.parent ?? null,
      state: state === 'open' ? 'unlocked' : state,
      generation: status?.generation ?? 0,
      leases: leases.length,
      ...expiry(leases.length === 0 ? Number.POSITIVE_INFINITY : deadline),
      open_handles: status?.openHandles ?? 0,
      slots: this.#context.store.slots(scope.id).length,
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
    const scope = this.#resolve(reference);
    const { scopes } = await this.#core.call({ op: 'status' });
    return this.#view(
      scope,
      scopes.find((state) => state.id === scope.id),
    );
  }

  /** Opens a slot with what the caller gave: the epoch secret, or a failure. */
  async #open(scope: KnownScopeRecord, input: SecretInput): Promise<{ secret: Secret; epoch: number }> {
    const { store, vault, suite, memory } = this.#context;
    const { volume } = vault.record;
    const row = store.scopes().find((candidate) => candidate.id === scope.id);
    if (row === undefined) throw new Failure('not_found', `scope ${scope.id} is not in the store`);
    const context = { volume, scope: row.id, epoch: row.epoch, keyId: row.keyId };
    const opened = await this.#slots.open(context, store.slots(row.id), input);
    if (opened === undefined) {
      throw new Failure('bad_key', `that key opens no slot of ${this.#fullPath(scope.id)}`);
    }
    try {
      verifyState(suite, memory, volume, row.id, opened.secret, row.state, vault.recordHash);
    } catch (error) {
      opened.secret.wipe();
      throw error;
    }
    return { secret: opened.secret, epoch: row.epoch };
  }

  async createScope(
    path: string,
    type: 'passphrase' | 'keyfile',
    input: SecretInput,
    peer: Peer,
  ): Promise<ScopeView> {
    Slots.check(type, input);
    const names = path.split('/').filter((name) => name !== '');
    if (names.length === 0) throw new Failure('conflict', 'the root scope exists already');
    const { store, storeKey, suite, memory, vault } = this.#context;
    const { volume } = vault.record;
    const id = freshId<ScopeId>();
    const secret = memory.allocate(32);
    try {
      randomFill(secret.address, 32);
      const now = Math.floor(systemClock.wall() / 1000);
      const context = { volume, scope: id, epoch: 1, keyId: keyIdentifier(secret, id, memory) };
      const slot = await this.#slots.wrap(context, 0, type, input, secret, now);
      const state = sealState(suite, memory, volume, id, secret, vault.recordHash);
      // The row comes first: a crash then leaves a row without a directory, never a directory without a key.
      const parent = this.#containing(names.slice(0, -1));
      const below = names.slice(pathParts(this.#fullPath(parent.id)).length).join('/');
      const row = {
        id,
        parent: parent.id,
        epoch: 1,
        keyId: context.keyId,
        path: storeKey.sealPath(id, raw(below)),
        state,
        created: now,
      };
      store.addScope(row, slot);
      const made = await this.#core.call({
        op: 'create',
        names: names.map(raw),
        scope: id,
        epoch: 1,
        secret: secret.address,
        owner: { uid: peer.uid, gid: peer.gid, mode: 0o700 },
      });
      if (!made.result.ok) {
        store.removeScope(id);
        throw this.#refused(made.result, path);
      }
      const record = { id, parent: parent.id, path: raw(below), created: now };
      this.#scopes.set(id, record);
      // The core walked the tree; the labels above may have been behind.
      if (made.path !== undefined && made.path !== record.path) this.moved(id, made.path);
      this.#leases.add(id, undefined, 'created', { uid: peer.uid, pid: peer.pid });
      // Somebody may have locked everything meanwhile: a lease on a locked scope would outlive the next unlock's.
      if (!(await this.#plan(id))) this.#leases.endAll(id);
      return await this.scope(id);
    } finally {
      secret.wipe();
    }
  }

  /** The deepest scope whose root is at or above a path. */
  #containing(names: readonly string[]): KnownScopeRecord {
    const path = `/${names.join('/')}`;
    let best: KnownScopeRecord | undefined;
    let length = -1;
    for (const scope of this.#scopes.values()) {
      const root = this.#fullPath(scope.id);
      const inside = root === '/' || path === root || path.startsWith(`${root}/`);
      if (inside && root.length > length) {
        best = scope;
        length = root.length;
      }
    }
    return best as KnownScopeRecord;
  }

  #refused(result: Extract<ControlResult, { ok: false }>, what: string): Failure {
    const at = result.at === undefined ? what : shown(result.at);
    switch (result.errno) {
      case errno.ENOKEY: {
        const parent = result.lockedScope === undefined ? '/' : this.#fullPath(result.lockedScope);
        return new Failure('locked', `${parent} is locked`, {
          hint: `unlock it first: scopefs unlock ${parent} --with SRC`,
          details: { scope: parent },
        });
      }
      case errno.EBUSY:
        return new Failure('busy', `${what} is being locked`, { hint: 'try again in a moment' });
      case errno.ENOENT:
        return new Failure('not_found', `${at} does not exist`, {
          hint: 'make the directories above a scope with mkdir on the mount',
        });
      case errno.EEXIST:
        return new Failure('conflict', `${what} is a scope already`);
      case errno.ENOTEMPTY:
        return new Failure('conflict', `${what} is not empty`, {
          hint: 'create the scope at a new path and move the files into it with cp and rm',
        });
      case errno.ENOTDIR:
        return new Failure('conflict', `${at} is not a directory`);
      case errno.EINVAL:
        return new Failure('usage', `not a path for a scope: ${what}`);
      case errno.EIO:
        return new Failure('integrity', `${at}: its stored records are damaged or were tampered with`);
      case errno.ENOSPC:
        return new Failure('no_space', `no space left for ${what}`);
      default:
        return new Failure('io', `${at}: ${errnoName(result.errno)}`);
    }
  }

  leases(): LeaseView[] {
    return this.#leases.all().map((lease) => this.#leaseView(lease));
  }
  #leaseView(lease: Lease): LeaseView {
    return {
      id: lease.id,
      scope: lease.scope,
      path: this.#fullPath(lease.scope),
      purpose: lease.purpose,
      holder: { ...lease.holder },
      created: lease.created.toISOString(),
      ...expiry(lease.deadline),
    };
  }

  async createLease(
    request: { scope: string; ttl: number | undefined; purpose: string },
    input: SecretInput,
    peer: Peer,
  ): Promise<LeaseView> {
    const scope = this.#resolve(request.scope);
    const { secret, epoch } = await this.#open(scope, input);
    try {
      return await this.#grantLease(scope, secret, epoch, request, peer);
    } finally {
      secret.wipe();
    }
  }

  /** One unlock of a scope after another: two at once would both find it locked. */
  #grantLease(
    scope: KnownScopeRecord,
    secret: Secret,
    epoch: number,
    request: { ttl: number | undefined; purpose: string },
    peer: Peer,
  ): Promise<LeaseView> {
    const before = this.#granting.get(scope.id) ?? Promise.resolve();
    const granted = before.then(() => this.#grant(scope, secret, epoch, request, peer));
    const settled = granted.then(
      () => {},
      () => {},
    );
    this.#granting.set(scope.id, settled);
    return granted;
  }

  async #grant(
    scope: KnownScopeRecord,
    secret: Secret,
    epoch: number,
    request: { ttl: number | undefined; purpose: string },
    peer: Peer,
  ): Promise<LeaseView> {
    const path = this.#fullPath(scope.id);
    const status = await this.#core.call({ op: 'status' });
    const state = status.scopes.find((candidate) => candidate.id === scope.id)?.state;
    if (state !== 'open') {
      const { result } = await this.#core.call({
        op: 'unlock',
        scope: scope.id,
        epoch,
        secret: secret.address,
      });
      if (!result.ok) throw this.#refused(result, path);
    }
    const holder = { uid: peer.uid, pid: peer.pid };
    const lease = this.#leases.add(scope.id, request.ttl, request.purpose, holder);
    if (await this.#plan(scope.id)) return this.#leaseView(lease);
    // It was locked meanwhile.
    this.#leases.end(lease.id);
    throw new Failure('busy', `${path} is being locked`, { hint: 'try again in a moment' });
  }

  /** The root scope at mount: its key was verified already. */
  async unlockRoot(root: ScopeId, secret: Secret, epoch: number): Promise<void> {
    const scope = this.#scopes.get(root) as KnownScopeRecord;
    const request = { ttl: undefined, purpose: 'mount' };
    await this.#grantLease(scope, secret, epoch, request, { uid: 0, gid: 0, pid: process.pid });
  }

  /** Tells the core when a scope's last lease ends. False: the scope is not unlocked any more. */
  async #plan(scope: ScopeId): Promise<boolean> {
    const answer = await this.#core.call({ op: 'deadline', scope, ...this.#leases.deadline(scope) });
    return answer.held;
  }

  async endLease(id: string): Promise<ReceiptView[]> {
    const lease = this.#leases.all().find((candidate) => candidate.id === id);
    if (lease === undefined) throw new Failure('not_found', `there is no lease ${id}`);
    if (this.#leases.of(lease.scope).length === 1) {
      return this.#lock([lease.scope], 'lease ended', undefined);
    }
    this.#leases.end(lease.id);
    await this.#plan(lease.scope);
    return [];
  }

  async #lock(scopes: readonly ScopeId[], reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    const deadline = systemClock.boottime() + (wait ?? LOCK_LIMIT_MS);
    const { receipts } = await this.#core.call({ op: 'lock', scopes, reason, deadline });
    return this.locked(receipts);
  }

  /** Scopes were locked: their leases end. */
  locked(receipts: readonly LockReceipt[]): ReceiptView[] {
    return receipts.map((receipt) => ({
      scope: receipt.scope,
      path: this.#fullPath(receipt.scope),
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
  }

  async lock(reference: string, reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#lock([this.#resolve(reference).id], reason, wait);
  }
  lockAll(reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#lock([...this.#scopes.keys()], reason, wait);
  }

  /** A path below a scope's root (latin1), from the mount's root, for messages. */
  nameOf(id: ScopeId, path: string): string {
    return `${this.#fullPath(id).replace(/\/$/, '')}/${shown(path)}`;
  }

  /** A scope's root got another path below its parent scope: its label follows. */
  moved(id: ScopeId, path: string): void {
    const scope = this.#scopes.get(id);
    if (scope === undefined) return;
    scope.path = path;
    try {
      this.#context.store.setPath(id, this.#context.storeKey.sealPath(id, path));
    } catch (error) {
      // A full disk: the next lookup of that directory reports the move again after a remount.
      process.stderr.write(
        `scopefs: the label of ${this.#fullPath(id)} could not be stored: ${String(error)}\n`,
      );
    }
  }

  unmount(): Promise<void> {
    return this.#unmount();
  }
}

const pathParts = (path: string): string[] => path.split('/').filter((name) => name !== '');

/** A CLOCK_BOOTTIME moment as wall-clock time and seconds from now. */
function expiry(deadline: number): { expires: string | null; expires_seconds: number | null } {
  if (deadline === Number.POSITIVE_INFINITY) return { expires: null, expires_seconds: null };
  const left = deadline - systemClock.boottime();
  return {
    expires: new Date(systemClock.wall() + left).toISOString(),
    expires_seconds: Math.round(left) / 1000,
  };
}
