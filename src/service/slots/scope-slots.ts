import { setTimeout } from 'node:timers/promises';
import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { SlotView } from '../../control/schemas.js';
import {
  Issued,
  type Key,
  type NewSlotRequest,
  type Peer,
  type SecretRequest,
  type SlotControl,
} from '../../control/service.js';
import { wipeKeys } from '../../keyring/slots/slots.js';
import type { Secret, SecretInput } from '../../libc/memory.js';
import type { ScopeSecretRows } from '../../store/rows.js';
import { type SlotOwner, StoredScopes } from '../scopes/stored-scopes.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import { seconds } from './epochs.js';
import { GuessLine } from './guess-line.js';
import { type Attempt, KeyAttempts, NOT_STRETCHED, type Opened } from './key-attempts.js';
import { NewSlots, refuseWithoutRecovery } from './new-slots.js';
import { ParentSlots } from './parent-slots.js';
import { ShareSlots } from './share-slots.js';
import { SlotChanges } from './slot-changes.js';
import { missingView, SlotNames } from './slot-names.js';

/** Slots of the scopes of a mounted vault: who can open what. What changes that: {@link changes}. */
export class ScopeSlots implements SlotControl {
  readonly #vault: MountedVault;
  readonly #scopes: StoredScopes;
  readonly #names: SlotNames;
  readonly #shares: ShareSlots;
  readonly #newSlots: NewSlots;
  readonly #attempts: KeyAttempts;
  readonly #guesses = new GuessLine();
  readonly changes: SlotChanges;

  constructor(vault: MountedVault) {
    this.#vault = vault;
    this.#scopes = new StoredScopes(vault);
    this.#names = new SlotNames(vault);
    const parents = new ParentSlots(vault);
    this.#shares = new ShareSlots(vault);
    this.#newSlots = new NewSlots(parents, this.#shares);
    this.#attempts = new KeyAttempts(vault, parents, this.#shares);
    this.changes = new SlotChanges(vault, this.#scopes, parents, this.#newSlots);
  }

  /** Runs `work` when everything before it on this scope is done. */
  inTurn<T>(scope: ScopeId, work: () => Promise<T>): Promise<T> {
    return this.#scopes.inTurn(scope, work);
  }

  /**
   * Rows and secret of a new scope, its path still unsealed: that belongs to {@link addScope}, as the store key may be
   * replaced while a passphrase is stretched. The secret is the caller's to wipe.
   */
  async create(
    owner: SlotOwner,
    wanted: Pick<NewSlotRequest, 'type'> & SecretRequest,
    given: SecretInput,
  ): Promise<{ rows: ScopeSecretRows; secret: Secret; shares: SecretInput | undefined }> {
    const { context, parent } = owner;
    const { type } = wanted;
    refuseWithoutRecovery(type, [], `a scope's first slot`);
    const made = await this.#newSlots.make(owner, { number: 0, type }, given, wanted, async (slot) => {
      const { secrets } = this.#vault;
      const secret = secrets.fresh();
      const row = { parent, path: Buffer.alloc(0), created: seconds() };
      try {
        return { rows: await secrets.create(context, row, { type, ...slot }, secret), secret };
      } catch (error) {
        secret.wipe();
        throw error;
      }
    });
    return { ...made.view, shares: made.shares };
  }

  /** Stores a new scope and that it was made: sealed and written in one step, so under the store key of now. */
  addScope(rows: ScopeSecretRows, path: string, peer: Peer): Promise<void> {
    const { id } = rows.scope;
    const { store, audit } = this.#vault;
    const storeKey = this.#vault.storeKey.require();
    const [slot] = rows.slots;
    return store.commit(() => {
      const detail = slot === undefined ? {} : { slot: slot.number, detail: slot.type };
      audit.record({ event: 'create', result: 'ok', scope: id, ...detail }, peer);
      store.addScope({ ...rows, scope: { ...rows.scope, path: storeKey.sealPath(id, path) } });
    });
  }

  async list(id: ScopeId): Promise<SlotView[]> {
    let damaged: readonly number[] | undefined;
    try {
      damaged = await this.#scopes.unlocked(id, (scope) => scope.damaged);
    } catch (error) {
      if (!(error instanceof Failure) || (error.code !== 'locked' && error.code !== 'busy')) throw error;
    }
    const { slots } = this.#scopes.find(id);
    const missing = (damaged ?? []).filter((number) => !slots.some((slot) => slot.number === number));
    return [...slots.map((slot) => this.#names.view(id, slot, damaged)), ...missing.map(missingView)].sort(
      (a, b) => a.number - b.number,
    );
  }

  /**
   * Lends what a key opens of a scope, in turn, until `use` has a result. What takes work is done outside of the turn, in a
   * line of its own: nobody who brings a key that needs none waits for who guesses passphrases.
   */
  async #open<T>(
    id: ScopeId,
    key: Key,
    asked: Pick<Attempt, 'peer' | 'event'>,
    use: (opened: Opened) => Promise<T | undefined>,
  ): Promise<T> {
    let stretched = NOT_STRETCHED;
    try {
      for (;;) {
        const done = await this.inTurn(id, async () => {
          for (;;) {
            const scope = this.#scopes.find(id);
            const opened = await this.#attempts.open({ ...asked, scope, stretched }, key);
            if (opened === 'untried') return undefined;
            try {
              const result = await use(opened);
              if (result !== undefined) return { result };
            } finally {
              for (const secret of opened.secrets) secret.wipe();
            }
          }
        });
        if (done !== undefined) return done.result;
        wipeKeys(stretched);
        stretched = NOT_STRETCHED;
        const { secrets } = this.#vault;
        stretched = await this.#guesses.run(id, asked.peer.pid, () =>
          secrets.stretch(this.#scopes.find(id).rows, key as SecretInput),
        );
      }
    } finally {
      wipeKeys(stretched);
    }
  }

  /** The answer to a wrong key comes late on a connection that brought many. */
  async #slowed<T>(peer: Peer, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const wrong = error instanceof Failure && error.code === 'bad_key';
      if (wrong) await setTimeout(this.#attempts.delay(peer), undefined, { ref: false });
      throw error;
    }
  }

  /** Whether a key opens a scope, and by which slot. */
  test(id: ScopeId, key: Key, peer: Peer): Promise<SlotView> {
    const tested = this.#open(id, key, { peer, event: 'slot_test' }, async (opened) => {
      const { number } = opened.slot;
      await this.#vault.audit.write({ event: 'slot_test', result: 'ok', scope: id, slot: number }, peer);
      return this.#names.view(id, opened.slot, opened.damaged);
    });
    return this.#slowed(peer, tested);
  }

  /** Lends a scope's secrets for an unlock, in turn: nothing may be written under an epoch that a stale parent slot opens. */
  unlock<T>(id: ScopeId, key: Key, peer: Peer, use: (opened: Opened) => Promise<T>): Promise<T> {
    const unlocked = this.#open(id, key, { peer, event: 'unlock' }, async (opened) => {
      // Again, in the epoch that has begun.
      if (await this.changes.renewOne(id, opened.secrets.at(-1) as Secret, peer)) return undefined;
      this.#shares.forget((waiting) => waiting === id);
      return { result: await use(opened) };
    });
    return this.#slowed(
      peer,
      unlocked.then(({ result }) => result),
    );
  }

  /** The client's next share of a split slot. */
  async renewShare(id: ScopeId, share: SecretInput, peer: Peer): Promise<Issued<SlotView>> {
    this.#vault.refuseReadOnly();
    const renewed = this.inTurn(id, async () => {
      const { slot, shares } = await this.#attempts.renewShare(this.#scopes.find(id), share, peer);
      return new Issued(this.#names.view(id, slot, undefined), shares);
    });
    return this.#slowed(peer, renewed);
  }
  /** Shares that wait for others are forgotten. */
  forgetShares(which: (scope: ScopeId) => boolean): void {
    this.#shares.forget(which);
  }
}
