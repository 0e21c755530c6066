import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { SlotChangeView, SlotView } from '../../control/schemas.js';
import type { Issued, NewSlotRequest, Peer, SecretRequest } from '../../control/service.js';
import { MOST_SLOTS } from '../../format/scope/slot-list.js';
import { MOST_EPOCHS } from '../../keyring/slots/scope-secrets.js';
import { encodeParameters, readParameters, tagsOf } from '../../keyring/slots/slot-facts.js';
import { type WindowTerms, windowText } from '../../keyring/slots/windows.js';
import { type Secret, SecretInput } from '../../libc/memory.js';
import type { SlotRow } from '../../store/rows.js';
import type { StoredScope, StoredScopes, UnlockedScope } from '../scopes/stored-scopes.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import { Epochs, type NewEpoch, type RenewedSlot, seconds } from './epochs.js';
import { refuseLast } from './last-slots.js';
import { type NewSlots, refuseLimits, refuseWithoutRecovery } from './new-slots.js';
import type { ParentSlots } from './parent-slots.js';
import { slotCopyOf } from './slot-copies.js';
import { missingView, SlotNames } from './slot-names.js';

/** Where a slot's secret is not given. */
const NO_SECRET = new SecretInput();

/** Changes of the slots of unlocked scopes, one of a scope after another. */
export class SlotChanges {
  readonly #vault: MountedVault;
  readonly #scopes: StoredScopes;
  readonly #parents: ParentSlots;
  readonly #newSlots: NewSlots;
  readonly #names: SlotNames;
  readonly #epochs: Epochs;

  constructor(vault: MountedVault, scopes: StoredScopes, parents: ParentSlots, newSlots: NewSlots) {
    this.#vault = vault;
    this.#scopes = scopes;
    this.#parents = parents;
    this.#newSlots = newSlots;
    this.#names = new SlotNames(vault);
    this.#epochs = new Epochs(vault, this.#names);
  }

  add(id: ScopeId, wanted: NewSlotRequest, given: SecretInput, peer: Peer): Promise<Issued<SlotView>> {
    return this.#scopes.change(id, (scope) => {
      refuseDamaged(scope, scope.damaged);
      if (scope.slots.length >= MOST_SLOTS) {
        throw new Failure('conflict', `a scope has at most ${MOST_SLOTS} slots`, { reason: 'slots_full' });
      }
      const { type, label } = wanted;
      if (label !== undefined) this.#names.refuseLabel(scope, label);
      const number = Math.max(...scope.slots.map((slot) => slot.number)) + 1;
      refuseWithoutRecovery(type, scope.slots, scope.path);
      refuseLimits(type, wanted);
      return this.#newSlots.make(scope, { number, type }, given, wanted, async (secret) => {
        const { store, storeKey, slots, secrets, audit } = this.#vault;
        const { input, facts, serverShare } = secret;
        const made = await slots.make(
          scope.context,
          { number, type, input, facts, created: seconds() },
          { epoch: scope.epoch, secret: scope.secret },
        );
        const sealed = label === undefined ? undefined : storeKey.require().sealLabel(id, number, label);
        const slot: SlotRow = { ...made.slot, label: sealed };
        const all = [...scope.slots, slot];
        const change = secrets.withSlots(scope.context, scope.rows, scope.secret, all);
        await store.commit(() => {
          audit.record({ event: 'slot_add', result: 'ok', scope: id, slot: number, detail: type }, peer);
          store.addSlot(id, slot);
          if (serverShare !== undefined) store.shares.put(id, number, serverShare);
          store.putWrap(id, made.wrap);
          scope.store(change);
        });
        await this.writeCopy(id);
        return this.#names.view(id, slot, []);
      });
    });
  }

  /** When a slot may open its scope. Its row changes, and the list that vouches for it. */
  setWindow(id: ScopeId, reference: string, window: WindowTerms | undefined, peer: Peer): Promise<SlotView> {
    return this.#scopes.change(id, async (scope) => {
      refuseDamaged(scope, scope.damaged);
      const slot = this.#names.find(scope, reference);
      refuseLimits(slot.type, { window });
      const { number } = slot;
      const parameters = encodeParameters({ ...readParameters(slot), window });
      const changed = { ...slot, parameters };
      const all = scope.slots.map((one) => (one.number === number ? changed : one));
      refuseLast(slot, all, false, scope.path);
      const { store, secrets, audit } = this.#vault;
      const change = secrets.withSlots(scope.context, scope.rows, scope.secret, all);
      await store.commit(() => {
        const detail = window === undefined ? 'at any time' : windowText(window);
        audit.record({ event: 'slot_window', result: 'ok', scope: id, slot: number, detail }, peer);
        store.setParameters(id, number, parameters);
        scope.store(change);
      });
      await this.writeCopy(id);
      return this.#names.view(id, changed, []);
    });
  }

  remove(id: ScopeId, reference: string, peer: Peer): Promise<SlotChangeView> {
    return this.#scopes.change(id, async (scope) => {
      refuseManyEpochs(scope);
      const { damaged } = scope;
      const slot = this.#names.findListed(scope, reference);
      // What is damaged goes when one of them is named, all at once: none opens anything. Never beside a whole one,
      // where an edited recovery slot would vanish unnoticed.
      const isDamaged = damaged.includes(slot.number);
      if (!isDamaged) refuseDamaged(scope, damaged);
      const gone = new Set([slot.number, ...damaged]);
      const stay = scope.slots.filter(({ number }) => !gone.has(number));
      refuseLast(slot, stay, isDamaged, scope.path);
      const view = slot.type === undefined ? missingView(slot.number) : this.#names.view(id, slot, damaged);
      const entry = { event: 'slot_remove', slot: slot.number, detail: slot.type ?? 'missing' } as const;
      return this.#begin({ scope, stay, gone, peer, entry, view });
    });
  }

  rotate(
    id: ScopeId,
    reference: string,
    given: SecretInput,
    wanted: SecretRequest,
    peer: Peer,
  ): Promise<Issued<SlotChangeView>> {
    return this.#scopes.change(id, (scope) => {
      refuseManyEpochs(scope);
      const slot = this.#names.find(scope, reference);
      refuseDamaged(
        scope,
        scope.damaged.filter((number) => number !== slot.number),
      );
      // A damaged row's end is nobody's word.
      const before = scope.damaged.includes(slot.number) ? undefined : readParameters(slot);
      const request = {
        sealed: wanted.sealed,
        needed: wanted.needed ?? before?.needed,
        shares: wanted.shares ?? (before?.tags === undefined ? undefined : tagsOf(before.tags).length),
        notAfter: before?.notAfter,
        window: before?.window,
        auto: before?.auto === true,
      };
      return this.#newSlots.make(scope, slot, given, request, (secret) =>
        this.#anew(scope, { ...secret, slot }, peer),
      );
    });
  }

  #anew(scope: UnlockedScope, anew: RenewedSlot, peer: Peer): Promise<SlotChangeView> {
    const { number, type } = anew.slot;
    // Never to a row that the list does not vouch for: an attacker may have put it there.
    const stay = scope.slots.filter((slot) => slot.number !== number && !scope.damaged.includes(slot.number));
    const entry = { event: 'slot_rotate', slot: number, detail: type } as const;
    const view = this.#names.view(scope.id, anew.slot, []);
    return this.#begin({ scope, stay, anew, gone: new Set([number]), peer, entry, view });
  }

  /** A new epoch; then the copy of the slots in the tree, and what hangs on the old one below. */
  async #begin(epoch: NewEpoch): Promise<SlotChangeView> {
    const done = await this.#epochs.begin(epoch);
    await this.writeCopy(epoch.scope.id);
    await this.#renewBelow(epoch.scope.id, epoch.peer);
    return done;
  }

  /**
   * Makes a parent slot anew that a holder who was removed from the parent still opens: with an epoch of its own, so
   * before anything more is written. False: there is none. Call it in turn; `secret`: of the current epoch.
   */
  renewOne(id: ScopeId, secret: Secret, peer: Peer): Promise<boolean> {
    // Nothing is written there under any epoch.
    if (this.#vault.readOnly) return Promise.resolve(false);
    return this.#renew(this.#scopes.find(id).unlockedBy(secret), peer);
  }
  async #renew(scope: UnlockedScope, peer: Peer): Promise<boolean> {
    const whole = scope.slots.filter(({ number }) => !scope.damaged.includes(number));
    const [slot] = this.#parents.stale(whole, scope);
    if (slot === undefined) return false;
    const { notAfter, window, auto } = readParameters(slot);
    const none = { sealed: undefined, shares: undefined, needed: undefined };
    const wanted = { notAfter, window, auto: auto === true, ...none };
    await this.#newSlots.make(scope, slot, NO_SECRET, wanted, (secret) =>
      this.#anew(scope, { ...secret, slot }, peer),
    );
    return true;
  }
  /** Of the unlocked scopes below one; those that are locked follow at their next unlock. */
  async #renewBelow(parent: ScopeId, peer: Peer): Promise<void> {
    const below = this.#vault.store.scopes().filter((row) => row.parent === parent);
    for (const { id } of below) {
      try {
        while (await this.#scopes.change(id, (scope) => this.#renew(scope, peer)));
      } catch (error) {
        // Locked: at its next unlock. Not found: it was destroyed meanwhile.
        const code = error instanceof Failure ? error.code : 'internal';
        if (code !== 'locked' && code !== 'not_found') throw error;
      }
    }
  }

  /** Repeats an unlocked scope's slots in its root directory. A failure is no harm today: the next unlock tries again. */
  async writeCopy(id: ScopeId): Promise<void> {
    const bytes = slotCopyOf(id, this.#scopes.find(id).rows);
    await this.#vault.core.call({ op: 'slotCopy', scope: id, bytes });
  }
}

/** All epochs are opened with a scope. What a parent's new epoch begins below it is not refused. */
function refuseManyEpochs({ path, rows: { epochs } }: StoredScope): void {
  if (epochs.length < MOST_EPOCHS) return;
  throw new Failure('conflict', `${path} has had ${epochs.length} epochs: no more are begun`, {
    reason: 'epochs_full',
  });
}
function refuseDamaged({ path }: StoredScope, damaged: readonly number[]): void {
  if (damaged.length === 0) return;
  const which = damaged.map((number) => `slot ${number}`).join(', ');
  throw new Failure('integrity', `${path}: ${which} is not what its slot list vouches for`, {
    details: { slots: damaged },
    reason: 'slot_unvouched',
  });
}
