import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { SlotChangeView, SlotView } from '../../control/schemas.js';
import { Issued, type NewSlotRequest, type Peer, type SecretRequest } from '../../control/service.js';
import { MOST_SLOTS } from '../../format/scope/slot-list.js';
import { MOST_EPOCHS, type ScopeSecrets } from '../../keyring/slots/scope-secrets.js';
import { encodeParameters, readParameters, tagsOf } from '../../keyring/slots/slot-facts.js';
import type { Slots } from '../../keyring/slots/slots.js';
import { type WindowTerms, windowText } from '../../keyring/slots/windows.js';
import { type Secret, SecretInput } from '../../libc/memory.js';
import type { EpochRow, ScopeSecretRows, SlotRow } from '../../store/rows.js';
import type { CoreCalls } from '../../worker/transport.js';
import type { AuditLog } from '../audit/audit-log.js';
import type { ScopeRows } from '../scopes/scope-rows.js';
import { type SlotServices, storeKeyOf } from '../vault/mounted-vault.js';
import { EpochAdvance, type NewSlot, seconds } from './epoch-advance.js';
import { type NewSecrets, refuseLimitedRecovery, refuseWithoutRecovery } from './new-secrets.js';
import type { ParentSlots } from './parent-slots.js';
import { slotCopyOf } from './slot-copies.js';
import { missingView, refuseLast, type SlotNames } from './slot-names.js';
import type { Turns } from './turns.js';

/** Where a slot's secret is not given. */
const NO_SECRET = new SecretInput();

export interface SlotParts {
  readonly slots: Slots;
  readonly secrets: ScopeSecrets;
  readonly names: SlotNames;
  readonly audit: AuditLog;
  readonly parents: ParentSlots;
  readonly newSecrets: NewSecrets;
  readonly rows: ScopeRows;
  readonly turns: Turns;
}

/** Changes of the slots of unlocked scopes, one of a scope after another. */
export class SlotChanges {
  readonly #services: SlotServices;
  readonly #core: CoreCalls;
  readonly #pathOf: (scope: ScopeId) => string;
  readonly #slots: Slots;
  readonly #secrets: ScopeSecrets;
  readonly #names: SlotNames;
  readonly #audit: AuditLog;
  readonly #parents: ParentSlots;
  readonly #newSecrets: NewSecrets;
  readonly #rows: ScopeRows;
  readonly #turns: Turns;
  readonly #epochs: EpochAdvance;

  constructor(services: SlotServices, core: CoreCalls, parts: SlotParts, pathOf: (scope: ScopeId) => string) {
    this.#services = services;
    this.#core = core;
    this.#pathOf = pathOf;
    this.#slots = parts.slots;
    this.#secrets = parts.secrets;
    this.#names = parts.names;
    this.#audit = parts.audit;
    this.#parents = parts.parents;
    this.#newSecrets = parts.newSecrets;
    this.#rows = parts.rows;
    this.#turns = parts.turns;
    this.#epochs = new EpochAdvance(services, core, parts);
  }

  add(scope: ScopeId, wanted: NewSlotRequest, given: SecretInput, peer: Peer): Promise<Issued<SlotView>> {
    return this.#turns.take(scope, () =>
      this.#rows.withSecret(scope, async (secret, rows) => {
        const context = this.#rows.context(scope);
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
        refuseLimitedRecovery(type, wanted);
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
            this.#audit.record({ event: 'slot_add', result: 'ok', scope, slot: number, detail: type }, peer);
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
    return this.#turns.take(scope, () =>
      this.#rows.withSecret(scope, async (secret, rows) => {
        const context = this.#rows.context(scope);
        this.#refuseDamaged(scope, this.#secrets.damaged(context, rows, secret));
        const slot = this.#names.find(scope, rows.slots, [], reference) as SlotRow;
        refuseLimitedRecovery(slot.type, { window });
        const { number } = slot;
        const parameters = encodeParameters({ ...readParameters(slot), window });
        const changed = { ...slot, parameters };
        const slots = rows.slots.map((one) => (one.number === number ? changed : one));
        refuseLast(slot, slots, false, this.#pathOf(scope));
        const change = this.#secrets.withSlots(context, slots, rows, secret);
        const { store } = this.#services;
        await store.commit(() => {
          const detail = window === undefined ? 'at any time' : windowText(window);
          this.#audit.record({ event: 'slot_window', result: 'ok', scope, slot: number, detail }, peer);
          store.setParameters(scope, number, parameters);
          store.setState(scope, change.state, change.slotList);
        });
        await this.writeCopy(scope);
        return this.#names.view(scope, changed, []);
      }),
    );
  }

  remove(scope: ScopeId, reference: string, peer: Peer): Promise<SlotChangeView> {
    return this.#turns.take(scope, () =>
      this.#rows.withSecret(scope, async (secret, rows) => {
        this.#refuseManyEpochs(scope, rows);
        const damaged = this.#secrets.damaged(this.#rows.context(scope), rows, secret);
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
    return this.#turns.take(scope, () =>
      this.#rows.withSecret(scope, async (secret, rows) => {
        this.#refuseManyEpochs(scope, rows);
        const damaged = this.#secrets.damaged(this.#rows.context(scope), rows, secret);
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
   * before anything more is written. `secret`: of the current epoch. False: there is none. Call it in turn.
   */
  async renewOne(scope: ScopeId, secret: Secret, peer: Peer): Promise<boolean> {
    const rows = this.#rows.rows(scope);
    const damaged = this.#secrets.damaged(this.#rows.context(scope), rows, secret);
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
  /** Of the unlocked scopes below one; those that are locked follow at their next unlock. */
  async #renewBelow(parent: ScopeId, peer: Peer): Promise<void> {
    const below = this.#services.store.scopes().filter((row) => row.parent === parent);
    for (const { id } of below) {
      const renew = (): Promise<boolean> =>
        this.#turns.take(id, () => this.#rows.withSecret(id, (secret) => this.renewOne(id, secret, peer)));
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
    const bytes = slotCopyOf(scope, this.#rows.rows(scope));
    await this.#core.call({ op: 'slotCopy', scope, bytes });
  }

  /** All of them are opened with a scope. What a parent's new epoch begins below it is not refused. */
  #refuseManyEpochs(scope: ScopeId, { epochs }: ScopeSecretRows): void {
    if (epochs.length < MOST_EPOCHS) return;
    throw new Failure(
      'conflict',
      `${this.#pathOf(scope)} has had ${epochs.length} epochs: no more are begun`,
      {
        hint: 'move its files to a new scope',
      },
    );
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
