import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { ScopeContext } from '../../keyring/seal.js';
import { epochOf, type SlotChange } from '../../keyring/slots/scope-secrets.js';
import type { Secret } from '../../libc/memory.js';
import type { ScopeSecretRows, SlotRow } from '../../store/rows.js';
import type { MountedVault } from '../vault/mounted-vault.js';

/** Whose a slot is: a scope that may not be stored yet. */
export interface SlotOwner {
  readonly context: ScopeContext;
  readonly parent: ScopeId | undefined;
}

/** A scope of a mounted vault, with what is stored of its secrets. */
export class StoredScope implements SlotOwner {
  readonly #vault: MountedVault;
  readonly id: ScopeId;
  readonly rows: ScopeSecretRows;

  constructor(vault: MountedVault, rows: ScopeSecretRows) {
    this.#vault = vault;
    this.id = rows.scope.id;
    this.rows = rows;
  }

  get context(): ScopeContext {
    return this.#vault.context(this.id);
  }
  /** As people call it now. */
  get path(): string {
    return this.#vault.paths.fullPath(this.id);
  }
  get parent(): ScopeId | undefined {
    return this.rows.scope.parent;
  }
  get slots(): readonly SlotRow[] {
    return this.rows.slots;
  }
  /** The number of its current epoch. */
  get epoch(): number {
    return epochOf(this.rows);
  }

  /** Stores a change of its slots, as a part of a commit. */
  store({ epoch, wraps, state, slotList }: SlotChange): void {
    const { store } = this.#vault;
    if (epoch !== undefined) store.addEpoch(this.id, epoch);
    for (const wrap of wraps) store.putWrap(this.id, wrap);
    store.setState(this.id, state, slotList);
  }

  /** With the secret of its current epoch, which stays the caller's. */
  unlockedBy(secret: Secret): UnlockedScope {
    return new UnlockedScope(this.#vault, this.rows, secret);
  }
}

/** A stored scope with the secret of its current epoch, for as long as that is lent. */
export class UnlockedScope extends StoredScope {
  readonly secret: Secret;
  /** Slots whose rows are not what the slot list vouches for: they open nothing. */
  readonly damaged: readonly number[];

  /** @throws Failure integrity where state or slot list are not that epoch's */
  constructor(vault: MountedVault, rows: ScopeSecretRows, secret: Secret) {
    super(vault, rows);
    this.secret = secret;
    this.damaged = vault.secrets.damaged(this.context, rows, secret);
  }
}

/** The scopes of a mounted vault as they are stored: found, unlocked, and one change of each after another. */
export class StoredScopes {
  readonly #vault: MountedVault;
  /** What is under way on each scope, and began last. */
  readonly #last = new Map<ScopeId, Promise<void>>();

  constructor(vault: MountedVault) {
    this.#vault = vault;
  }

  find(id: ScopeId): StoredScope {
    const rows = this.#vault.store.secretsOf(id);
    if (rows === undefined) throw new Failure('not_found', `scope ${id} is not in the metadata store`);
    return new StoredScope(this.#vault, rows);
  }

  /** Runs `work` when everything before it on this scope is done. */
  inTurn<T>(id: ScopeId, work: () => Promise<T>): Promise<T> {
    const done = (this.#last.get(id) ?? Promise.resolve()).then(work);
    const settled = done.then(
      () => {},
      () => {},
    );
    this.#last.set(id, settled);
    void settled.then(() => {
      if (this.#last.get(id) === settled) this.#last.delete(id);
    });
    return done;
  }

  /** Runs `work` in turn, on an unlocked scope. @throws Failure locked, or busy where another epoch begins */
  async change<T>(id: ScopeId, work: (scope: UnlockedScope) => Promise<T>): Promise<T> {
    this.#vault.refuseReadOnly();
    return this.inTurn(id, () => this.unlocked(id, work));
  }
  /** As {@link change}, whatever else is under way. */
  async unlocked<T>(id: ScopeId, work: (scope: UnlockedScope) => T | Promise<T>): Promise<T> {
    const { seal, core, paths } = this.#vault;
    const secret = seal.memory.allocate(32);
    try {
      const { epoch } = await core.call({ op: 'lend', scope: id, to: secret.address });
      if (epoch < 0) {
        throw new Failure('locked', `${paths.fullPath(id)} is locked`, { reason: 'slot_of_locked_scope' });
      }
      const scope = this.find(id);
      if (scope.rows.epochs.at(-1)?.epoch !== epoch) {
        throw new Failure('busy', `${scope.path} begins a new epoch`, { reason: 'epoch_beginning' });
      }
      return await work(scope.unlockedBy(secret));
    } finally {
      secret.wipe();
    }
  }
}
