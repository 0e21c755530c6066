import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { SlotView } from '../../control/schemas.js';
import { Issued, type Key, type Peer, type SecretRequest, type SlotControl } from '../../control/service.js';
import { ScopeSecrets } from '../../keyring/slots/scope-secrets.js';
import { Slots } from '../../keyring/slots/slots.js';
import type { Secret, SecretInput } from '../../libc/memory.js';
import type { ScopeSecretRows, SlotType } from '../../store/rows.js';
import type { CoreCalls } from '../../worker/transport.js';
import { AuditLog } from '../audit/audit-log.js';
import { ScopeRows } from '../scopes/scope-rows.js';
import { ChildKem } from '../secrets/kem.js';
import { type SlotServices, storeKeyOf } from '../vault/mounted-vault.js';
import { seconds } from './epoch-advance.js';
import { NewSecrets, refuseWithoutRecovery } from './new-secrets.js';
import { ParentSlots } from './parent-slots.js';
import { ShareSlots } from './share-slots.js';
import { SlotChanges } from './slot-changes.js';
import { missingView, SlotNames } from './slot-names.js';
import { type Opened, SlotOpening } from './slot-opening.js';
import { Turns } from './turns.js';

/** Slots of the scopes of a mounted vault: who can open what. What changes that: {@link changes}. */
export class ScopeSlots implements SlotControl {
  readonly #services: SlotServices;
  readonly #secrets: ScopeSecrets;
  readonly #names: SlotNames;
  readonly #shares: ShareSlots;
  readonly #newSecrets: NewSecrets;
  readonly #opening: SlotOpening;
  readonly #rows: ScopeRows;
  readonly #turns = new Turns();
  readonly audit: AuditLog;
  readonly changes: SlotChanges;

  constructor(services: SlotServices, core: CoreCalls, pathOf: (scope: ScopeId) => string) {
    const { suite, memory, vault } = services;
    this.#services = services;
    const slots = new Slots(suite, memory, new ChildKem(memory));
    this.#secrets = new ScopeSecrets(suite, memory, slots, vault.recordHash);
    this.#names = new SlotNames(services, pathOf);
    this.audit = new AuditLog(services);
    const parents = new ParentSlots(services, core, pathOf);
    this.#shares = new ShareSlots(services, this.audit, pathOf);
    this.#newSecrets = new NewSecrets(parents, this.#shares);
    this.#rows = new ScopeRows(services, core, pathOf);
    const parts = { slots, secrets: this.#secrets, names: this.#names, audit: this.audit, parents };
    this.changes = new SlotChanges(
      services,
      core,
      { ...parts, newSecrets: this.#newSecrets, rows: this.#rows, turns: this.#turns },
      pathOf,
    );
    this.#opening = new SlotOpening(services, { ...parts, shares: this.#shares }, pathOf);
  }

  /** Runs `work` when everything before it on this scope is done. */
  inTurn<T>(scope: ScopeId, work: () => Promise<T>): Promise<T> {
    return this.#turns.take(scope, work);
  }

  /**
   * Rows and secret of a new scope, its path still unsealed: that belongs to {@link addScope}, as the store key may be
   * replaced while a passphrase is stretched. The secret is the caller's to wipe.
   */
  async create(
    scope: ScopeId,
    parent: ScopeId,
    type: SlotType,
    given: SecretInput,
    wanted: SecretRequest,
  ): Promise<{ rows: ScopeSecretRows; secret: Secret; shares: SecretInput | undefined }> {
    if (type === 'split') refuseWithoutRecovery([], `a scope's first slot`);
    const { input, facts, shares } = await this.#newSecrets.of(
      scope,
      parent,
      { number: 0, type },
      given,
      wanted,
    );
    const secret = this.#secrets.fresh();
    const row = { parent, path: Buffer.alloc(0), created: seconds() };
    try {
      const rows = await this.#secrets.create(this.#rows.context(scope), row, type, input, secret, facts);
      return { rows, secret, shares };
    } catch (error) {
      secret.wipe();
      shares?.wipe();
      throw error;
    } finally {
      input.wipe();
    }
  }

  /** Stores a new scope and that it was made: sealed and written in one step, so under the store key of now. */
  addScope(rows: ScopeSecretRows, path: string, peer: Peer): Promise<void> {
    const { id } = rows.scope;
    const { store } = this.#services;
    const storeKey = storeKeyOf(this.#services);
    const [slot] = rows.slots;
    return store.commit(() => {
      const detail = slot === undefined ? {} : { slot: slot.number, detail: slot.type };
      this.audit.record({ event: 'create', result: 'ok', scope: id, ...detail }, peer);
      store.addScope({ ...rows, scope: { ...rows.scope, path: storeKey.sealPath(id, path) } });
    });
  }

  /** As {@link SlotOpening}'s. Call it {@link inTurn}. */
  open(scope: ScopeId, key: Key, peer: Peer, event: 'unlock' | 'slot_test'): Promise<Opened> {
    return this.#opening.open(scope, this.#rows.rows(scope), key, peer, event);
  }

  async list(scope: ScopeId): Promise<SlotView[]> {
    const judge = (secret: Secret, rows: ScopeSecretRows): readonly number[] =>
      this.#secrets.damaged(this.#rows.context(scope), rows, secret);
    let damaged: readonly number[] | undefined;
    try {
      damaged = await this.#rows.withSecret(scope, judge);
    } catch (error) {
      if (!(error instanceof Failure) || (error.code !== 'locked' && error.code !== 'busy')) throw error;
    }
    const { slots } = this.#rows.rows(scope);
    const missing = (damaged ?? []).filter((number) => !slots.some((slot) => slot.number === number));
    return [...slots.map((slot) => this.#names.view(scope, slot, damaged)), ...missing.map(missingView)].sort(
      (a, b) => a.number - b.number,
    );
  }
  /** In turn, as every opening: many guesses at once would all pass the throttle before the first counts. */
  test(scope: ScopeId, key: Key, peer: Peer): Promise<SlotView> {
    return this.#turns.take(scope, async () => {
      const opened = await this.open(scope, key, peer, 'slot_test');
      for (const secret of opened.secrets) secret.wipe();
      await this.audit.write({ event: 'slot_test', result: 'ok', scope, slot: opened.slot.number }, peer);
      return this.#names.view(scope, opened.slot, opened.damaged);
    });
  }

  /** The client's next share of a split slot. */
  renewShare(scope: ScopeId, share: SecretInput, peer: Peer): Promise<Issued<SlotView>> {
    return this.#turns.take(scope, async () => {
      const { slot, shares } = await this.#opening.renewShare(scope, this.#rows.rows(scope), share, peer);
      return new Issued(this.#names.view(scope, slot, undefined), shares);
    });
  }
  /** Shares that wait for others are forgotten. */
  forgetShares(which: (scope: ScopeId) => boolean): void {
    this.#shares.forget(which);
  }

  /** As {@link open}, for an unlock: nothing may be written under an epoch that a stale parent slot opens. */
  async openRenewed(scope: ScopeId, key: Key, peer: Peer): Promise<Opened> {
    for (;;) {
      const opened = await this.open(scope, key, peer, 'unlock');
      let renewed = true;
      try {
        renewed = await this.changes.renewOne(scope, opened.secrets.at(-1) as Secret, peer);
      } finally {
        // Again, in the epoch that has begun.
        if (renewed) for (const secret of opened.secrets) secret.wipe();
      }
      if (renewed) continue;
      this.#shares.forget((waiting) => waiting === scope);
      return opened;
    }
  }
}
