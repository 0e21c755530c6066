import { Failure } from '../base/failure.js';
import type { ScopeId } from '../base/ids.js';
import type { SlotChangeView, SlotView } from '../control/schemas.js';
import { Issued, type Key, type NewSlotRequest, type Peer, type SecretRequest } from '../control/service.js';
import { MOST_SLOTS } from '../format/slot-list.js';
import { type OpenedScope, ScopeSecrets } from '../keyring/scope-secrets.js';
import { encodeParameters, readParameters, tagsOf } from '../keyring/slot-facts.js';
import { type SlotContext, Slots } from '../keyring/slots.js';
import { type WindowTerms, windowText } from '../keyring/windows.js';
import { type Secret, SecretInput } from '../libc/memory.js';
import type { EpochRow, ScopeSecretRows, SlotRow, SlotType } from '../store/rows.js';
import { AuditLog } from './audit-log.js';
import { EpochAdvance, type NewSlot, seconds } from './epoch-advance.js';
import { ChildKem } from './kem.js';
import { NewSecrets, refuseRootWindow, refuseWithoutRecovery } from './new-secrets.js';
import { ParentSlots } from './parent-slots.js';
import { ShareSlots } from './share-slots.js';
import { slotCopyOf } from './slot-copies.js';
import { missingView, refuseLast, SlotNames } from './slot-names.js';
import { type Opened, SlotOpening } from './slot-opening.js';
import { type SlotServices, storeKeyOf } from './slot-services.js';
import type { CoreCalls } from './transport.js';
import { Turns } from './turns.js';

/** Where a slot's secret is not given. */
const NO_SECRET = new SecretInput();

/** Slots of the scopes of a mounted vault: who can open what, and every change of that. */
export class ScopeSlots {
  readonly #services: SlotServices;
  readonly #core: CoreCalls;
  readonly #slots: Slots;
  readonly #secrets: ScopeSecrets;
  readonly #pathOf: (scope: ScopeId) => string;
  readonly #names: SlotNames;
  readonly #parents: ParentSlots;
  readonly #shares: ShareSlots;
  readonly #newSecrets: NewSecrets;
  readonly #epochs: EpochAdvance;
  readonly #opening: SlotOpening;
  readonly audit: AuditLog;
  readonly #turns = new Turns();

  constructor(services: SlotServices, core: CoreCalls, pathOf: (scope: ScopeId) => string) {
    const { suite, memory, vault } = services;
    this.#services = services;
    this.#core = core;
    this.#slots = new Slots(suite, memory, new ChildKem(memory));
    this.#secrets = new ScopeSecrets(suite, memory, this.#slots, vault.recordHash);
    this.#pathOf = pathOf;
    this.#names = new SlotNames(services, pathOf);
    this.audit = new AuditLog(services);
    this.#parents = new ParentSlots(services, core, pathOf);
    this.#shares = new ShareSlots(services, this.audit, pathOf);
    this.#newSecrets = new NewSecrets(this.#parents, this.#shares);
    const parts = { slots: this.#slots, secrets: this.#secrets, names: this.#names, audit: this.audit };
    this.#epochs = new EpochAdvance(services, core, parts);
    this.#opening = new SlotOpening(
      services,
      { ...parts, parents: this.#parents, shares: this.#shares },
      pathOf,
    );
  }

  /** Runs `work` when everything before it on this scope is done. */
  inTurn<T>(scope: ScopeId, work: () => Promise<T>): Promise<T> {
    return this.#turns.take(scope, work);
  }

  #context(scope: ScopeId): SlotContext {
    return { volume: this.#services.vault.record.volume, scope };
  }
  #rows(scope: ScopeId): ScopeSecretRows {
    const rows = this.#services.store.secretsOf(scope);
    if (rows === undefined) throw new Failure('not_found', `scope ${scope} is not in the metadata store`);
    return rows;
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
      const rows = await this.#secrets.create(this.#context(scope), row, type, input, secret, facts);
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
    return this.#opening.open(scope, this.#rows(scope), key, peer, event);
  }
  noteDamaged(scope: ScopeId, damaged: readonly number[], peer: Peer | undefined): Promise<void> {
    return this.#opening.noteDamaged(scope, damaged, peer);
  }

  /** The root scope's other epochs: its current secret came with the mount. */
  unchainRoot(scope: ScopeId, current: Secret): OpenedScope {
    return this.#secrets.unchain(this.#context(scope), this.#rows(scope), current);
  }

  /** Lends the secret of an unlocked scope's current epoch. */
  async #withSecret<T>(
    scope: ScopeId,
    use: (secret: Secret, rows: ScopeSecretRows) => T | Promise<T>,
  ): Promise<T> {
    const secret = this.#services.memory.allocate(32);
    try {
      const { epoch } = await this.#core.call({ op: 'lend', scope, to: secret.address });
      if (epoch < 0) {
        throw new Failure('locked', `${this.#pathOf(scope)} is locked`, {
          hint: 'its slots can be changed while it is unlocked: name a key with --with SRC',
        });
      }
      const rows = this.#rows(scope);
      if (rows.epochs.at(-1)?.epoch !== epoch) {
        throw new Failure('busy', `${this.#pathOf(scope)} begins a new epoch`, { hint: 'try again' });
      }
      return await use(secret, rows);
    } finally {
      secret.wipe();
    }
  }

  async list(scope: ScopeId): Promise<SlotView[]> {
    const judge = (secret: Secret, rows: ScopeSecretRows): readonly number[] =>
      this.#secrets.damaged(this.#context(scope), rows, secret);
    let damaged: readonly number[] | undefined;
    try {
      damaged = await this.#withSecret(scope, judge);
    } catch (error) {
      if (!(error instanceof Failure) || (error.code !== 'locked' && error.code !== 'busy')) throw error;
    }
    const { slots } = this.#rows(scope);
    const missing = (damaged ?? []).filter((number) => !slots.some((slot) => slot.number === number));
    return [...slots.map((slot) => this.#names.view(scope, slot, damaged)), ...missing.map(missingView)].sort(
      (a, b) => a.number - b.number,
    );
  }
  /** In turn, as every opening: many guesses at once would all pass the throttle before the first counts. */
  test(scope: ScopeId, key: Key, peer: Peer): Promise<SlotView> {
    return this.inTurn(scope, async () => {
      const opened = await this.open(scope, key, peer, 'slot_test');
      for (const secret of opened.secrets) secret.wipe();
      await this.audit.write({ event: 'slot_test', result: 'ok', scope, slot: opened.slot.number }, peer);
      return this.#names.view(scope, opened.slot, opened.damaged);
    });
  }

  /** The client's next share of a split slot. */
  renewShare(scope: ScopeId, share: SecretInput, peer: Peer): Promise<Issued<SlotView>> {
    return this.inTurn(scope, async () => {
      const { slot, shares } = await this.#opening.renewShare(scope, this.#rows(scope), share, peer);
      return new Issued(this.#names.view(scope, slot, undefined), shares);
    });
  }
  /** Shares that wait for others are forgotten. */
  forgetShares(scope: ScopeId): void {
    this.#shares.forget(scope);
  }

  add(scope: ScopeId, wanted: NewSlotRequest, given: SecretInput, peer: Peer): Promise<Issued<SlotView>> {
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const context = this.#context(scope);
        this.#refuseDamaged(scope, this.#secrets.damaged(context, rows, secret));
        if (rows.slots.length >= MOST_SLOTS) {
          throw new Failure('conflict', `a scope has at most ${MOST_SLOTS} slots`, {
            hint: 'remove one that nobody uses: scopefs slot rm SCOPE SLOT',
          });
        }
        const { type, label } = wanted;
        if (label !== undefined) this.#names.refuseLabel(scope, rows.slots, label);
        const number = Math.max(...rows.slots.map((slot) => slot.number)) + 1;
        const epoch = (rows.epochs.at(-1) as EpochRow).epoch;
        const { parent } = rows.scope;
        if (type === 'split') refuseWithoutRecovery(rows.slots, this.#pathOf(scope));
        refuseRootWindow(rows, wanted.window);
        const { input, facts, row, shares } = await this.#newSecrets.of(
          scope,
          parent,
          { number, type },
          given,
          wanted,
        );
        return this.#withShares(shares, async () => {
          const made = await this.#slots
            .make(context, number, type, input, epoch, secret, seconds(), facts)
            .finally(() => input.wipe());
          const sealed =
            label === undefined ? undefined : storeKeyOf(this.#services).sealLabel(scope, number, label);
          const slot: SlotRow = { ...made.slot, label: sealed };
          const change = this.#secrets.withSlots(context, [...rows.slots, slot], rows, secret);
          const { store } = this.#services;
          await store.commit(() => {
            this.audit.record({ event: 'slot_add', result: 'ok', scope, slot: number, detail: type }, peer);
            store.addSlot(scope, slot);
            if (row !== undefined) store.shares.put(scope, number, row);
            store.putWrap(scope, made.wrap);
            store.setState(scope, change.state, change.slotList);
          });
          await this.writeCopy(scope);
          return this.#names.view(scope, slot, []);
        });
      }),
    );
  }

  /** When a slot may open its scope. Its row changes, and the list that vouches for it. */
  setWindow(
    scope: ScopeId,
    reference: string,
    window: WindowTerms | undefined,
    peer: Peer,
  ): Promise<SlotView> {
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const context = this.#context(scope);
        this.#refuseDamaged(scope, this.#secrets.damaged(context, rows, secret));
        const slot = this.#names.find(scope, rows.slots, [], reference) as SlotRow;
        refuseRootWindow(rows, window);
        const { number } = slot;
        const parameters = encodeParameters({ ...readParameters(slot), window });
        const changed = { ...slot, parameters };
        const slots = rows.slots.map((one) => (one.number === number ? changed : one));
        const change = this.#secrets.withSlots(context, slots, rows, secret);
        const { store } = this.#services;
        await store.commit(() => {
          const detail = window === undefined ? 'at any time' : windowText(window);
          this.audit.record({ event: 'slot_window', result: 'ok', scope, slot: number, detail }, peer);
          store.setParameters(scope, number, parameters);
          store.setState(scope, change.state, change.slotList);
        });
        await this.writeCopy(scope);
        return this.#names.view(scope, changed, []);
      }),
    );
  }

  remove(scope: ScopeId, reference: string, peer: Peer): Promise<SlotChangeView> {
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const damaged = this.#secrets.damaged(this.#context(scope), rows, secret);
        const slot = this.#names.find(scope, rows.slots, damaged, reference);
        // What is damaged goes when one of them is named, all at once: none opens anything. Never beside a whole one,
        // where an edited recovery slot would vanish unnoticed.
        const isDamaged = damaged.includes(slot.number);
        if (!isDamaged) this.#refuseDamaged(scope, damaged);
        const gone = new Set([slot.number, ...damaged]);
        const left = rows.slots.filter(({ number }) => !gone.has(number));
        refuseLast(slot, left, isDamaged, this.#pathOf(scope));
        const view = 'publicKey' in slot ? this.#names.view(scope, slot, damaged) : missingView(slot.number);
        const detail = { event: 'slot_remove', slot: slot.number, detail: view.type ?? 'missing' } as const;
        return this.#changed(
          scope,
          peer,
          this.#epochs.advance(scope, rows, secret, left, gone, detail, peer, view),
        );
      }),
    );
  }

  rotate(
    scope: ScopeId,
    reference: string,
    given: SecretInput,
    wanted: SecretRequest,
    peer: Peer,
  ): Promise<Issued<SlotChangeView>> {
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const damaged = this.#secrets.damaged(this.#context(scope), rows, secret);
        const slot = this.#names.find(scope, rows.slots, [], reference) as SlotRow;
        this.#refuseDamaged(
          scope,
          damaged.filter((number) => number !== slot.number),
        );
        // A damaged row's end is nobody's word.
        const before = damaged.includes(slot.number) ? undefined : readParameters(slot);
        const { input, facts, row, shares } = await this.#newSecrets.of(
          scope,
          rows.scope.parent,
          slot,
          given,
          {
            sealed: wanted.sealed,
            needed: wanted.needed ?? before?.needed,
            shares: wanted.shares ?? (before?.tags === undefined ? undefined : tagsOf(before.tags).length),
            notAfter: before?.notAfter,
            window: before?.window,
          },
        );
        return this.#withShares(shares, () => {
          const change = this.#anew(scope, rows, secret, { slot, input, facts, row }, damaged, peer);
          return this.#changed(scope, peer, change).finally(() => input.wipe());
        });
      }),
    );
  }

  /** Shares go out with what came of them, or not at all. */
  async #withShares<T>(shares: SecretInput | undefined, work: () => Promise<T>): Promise<Issued<T>> {
    try {
      return new Issued(await work(), shares);
    } catch (error) {
      shares?.wipe();
      throw error;
    }
  }

  #anew(
    scope: ScopeId,
    rows: ScopeSecretRows,
    secret: Secret,
    anew: NewSlot,
    damaged: readonly number[],
    peer: Peer,
  ): Promise<SlotChangeView> {
    const { number, type } = anew.slot;
    // Never to a row that the list does not vouch for: somebody may have put it there.
    const others = rows.slots.filter((slot) => slot.number !== number && !damaged.includes(slot.number));
    const detail = { event: 'slot_rotate', slot: number, detail: type } as const;
    const view = this.#names.view(scope, anew.slot, []);
    return this.#epochs.advance(scope, rows, secret, others, new Set([number]), detail, peer, view, anew);
  }

  /** After a new epoch: the copy of the slots in the tree, and what hangs on the old one below. */
  async #changed(scope: ScopeId, peer: Peer, change: Promise<SlotChangeView>): Promise<SlotChangeView> {
    const done = await change;
    await this.writeCopy(scope);
    await this.#renewBelow(scope, peer);
    return done;
  }

  /**
   * Makes a parent slot anew that somebody who was removed from the parent still opens: with an epoch of its own, so
   * before anything more is written. `secret`: of the current epoch. False: there is none.
   */
  async #renewOne(scope: ScopeId, secret: Secret, peer: Peer): Promise<boolean> {
    const rows = this.#rows(scope);
    const damaged = this.#secrets.damaged(this.#context(scope), rows, secret);
    const whole = rows.slots.filter(({ number }) => !damaged.includes(number));
    const [slot] = this.#parents.stale(whole, rows.scope.parent);
    if (slot === undefined) return false;
    const { notAfter, window } = readParameters(slot);
    const wanted = { notAfter, window, sealed: undefined, shares: undefined, needed: undefined };
    const { input, facts, row } = await this.#newSecrets.of(
      scope,
      rows.scope.parent,
      slot,
      NO_SECRET,
      wanted,
    );
    try {
      const change = this.#anew(scope, rows, secret, { slot, input, facts, row }, damaged, peer);
      await this.#changed(scope, peer, change);
    } finally {
      input.wipe();
    }
    return true;
  }
  /** As {@link open}, for an unlock: nothing may be written under an epoch that a stale parent slot opens. */
  async openRenewed(scope: ScopeId, key: Key, peer: Peer): Promise<Opened> {
    for (;;) {
      const opened = await this.open(scope, key, peer, 'unlock');
      let renewed = true;
      try {
        renewed = await this.#renewOne(scope, opened.secrets.at(-1) as Secret, peer);
      } finally {
        // Again, in the epoch that has begun.
        if (renewed) for (const secret of opened.secrets) secret.wipe();
      }
      if (renewed) continue;
      this.#shares.forget(scope);
      return opened;
    }
  }
  /** Of the unlocked scopes below one; those that are locked follow at their next unlock. */
  async #renewBelow(parent: ScopeId, peer: Peer): Promise<void> {
    const below = this.#services.store.scopes().filter((row) => row.parent === parent);
    for (const { id } of below) {
      const renew = (): Promise<boolean> =>
        this.inTurn(id, () => this.#withSecret(id, (secret) => this.#renewOne(id, secret, peer)));
      try {
        while (await renew());
      } catch (error) {
        // Locked: at its next unlock. Not found: it was destroyed meanwhile.
        const code = error instanceof Failure ? error.code : 'internal';
        if (code !== 'locked' && code !== 'not_found') throw error;
      }
    }
  }

  /** Repeats an unlocked scope's slots in its root directory. A failure is no harm today: the next unlock tries again. */
  async writeCopy(scope: ScopeId): Promise<void> {
    const bytes = slotCopyOf(scope, this.#rows(scope));
    await this.#core.call({ op: 'slotCopy', scope, bytes });
  }

  #refuseDamaged(scope: ScopeId, damaged: readonly number[]): void {
    if (damaged.length === 0) return;
    const which = damaged.map((number) => `slot ${number}`).join(', ');
    throw new Failure('integrity', `${this.#pathOf(scope)}: ${which} is not what its slot list vouches for`, {
      details: { slots: damaged },
      hint: 'remove it first: scopefs slot rm SCOPE SLOT',
    });
  }
}
