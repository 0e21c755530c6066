import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { SlotView } from '../../control/schemas.js';
import type { EpochSecret } from '../../keyring/seal.js';
import { factsOf, tagsOf } from '../../keyring/slots/slot-facts.js';
import { kindOf } from '../../keyring/slots/slot-kinds.js';
import { windowText } from '../../keyring/slots/windows.js';
import { StoreKey } from '../../keyring/store-key.js';
import type { SlotRow } from '../../store/rows.js';
import type { StoredScope, UnlockedScope } from '../scopes/stored-scopes.js';
import type { MountedVault } from '../vault/mounted-vault.js';

const NO_FACTS = {
  not_after: null,
  window: null,
  sealed: null,
  shares: null,
  threshold: null,
  auto: false,
} as const;

/** A slot that the list vouches for and the store has lost. */
export interface MissingSlot {
  readonly number: number;
  readonly type: undefined;
}
export function missingView(number: number): SlotView {
  return { number, type: null, label: null, created: null, ...NO_FACTS, status: 'missing' };
}

function factsView(slot: SlotRow): Pick<SlotView, keyof typeof NO_FACTS> {
  const facts = factsOf(slot);
  if (facts === undefined) return NO_FACTS;
  const { notAfter, window, sealed, needed, tags, auto } = facts;
  return {
    not_after: notAfter === undefined ? null : new Date(notAfter * 1000).toISOString(),
    window: window === undefined ? null : windowText(window),
    sealed: sealed ?? null,
    shares: tags === undefined ? null : tagsOf(tags).length,
    threshold: needed ?? null,
    auto: auto === true,
  };
}

/** Labels: of slots, by which people name them, and of everything under a new store key. */
export class SlotNames {
  readonly #vault: MountedVault;

  constructor(vault: MountedVault) {
    this.#vault = vault;
  }

  /** `damaged`: undefined where the slot list was not asked. */
  view(scope: ScopeId, slot: SlotRow, damaged: readonly number[] | undefined): SlotView {
    return {
      number: slot.number,
      type: kindOf(slot) === undefined ? null : slot.type,
      label: this.label(scope, slot) ?? null,
      created: new Date(slot.created * 1000).toISOString(),
      ...factsView(slot),
      status: damaged === undefined ? 'unverified' : damaged.includes(slot.number) ? 'damaged' : 'ok',
    };
  }
  label(scope: ScopeId, slot: SlotRow): string | undefined {
    const { label, number } = slot;
    return label === undefined ? undefined : this.#vault.storeKey.get()?.openLabel(scope, number, label);
  }

  #named({ id, slots }: StoredScope, reference: string): SlotRow | undefined {
    return slots.find((slot) => String(slot.number) === reference || this.label(id, slot) === reference);
  }
  /** A slot by number or label. */
  find(scope: StoredScope, reference: string): SlotRow {
    const found = this.#named(scope, reference);
    if (found !== undefined) return found;
    throw new Failure('not_found', `${scope.path} has no slot ${reference}`, { reason: 'slot_unknown' });
  }
  /** As {@link find}; one that the list has and the store has not by its number alone. */
  findListed(scope: UnlockedScope, reference: string): SlotRow | MissingSlot {
    const missing = scope.damaged.find((number) => String(number) === reference);
    if (missing === undefined || this.#named(scope, reference) !== undefined) {
      return this.find(scope, reference);
    }
    return { number: missing, type: undefined };
  }

  refuseLabel(scope: StoredScope, label: string): void {
    if (/^\d+$/.test(label)) {
      throw new Failure('usage', `a label is not a number: ${label}`, { reason: 'label_is_number' });
    }
    if (scope.slots.some((slot) => this.label(scope.id, slot) === label)) {
      throw new Failure('conflict', `${scope.path} has a slot ${label} already`, {
        reason: 'slot_label_taken',
      });
    }
  }

  /** Labels go over to a new store key, which the removed holder of a root slot does not have. */
  renewKey(root: ScopeId, { epoch, secret }: EpochSecret): StoreKey {
    const { store, seal, info } = this.#vault;
    const storeKey = this.#vault.storeKey.require();
    const fresh = StoreKey.create(seal, info.record.volume, epoch);
    for (const row of store.scopes()) {
      // A damaged one stays: the scope's directory brings it back when it is seen.
      const path = storeKey.openPath(row.id, row.path);
      if (path !== undefined) store.setPath(row.id, fresh.sealPath(row.id, path));
      for (const slot of store.slots(row.id)) {
        const label = this.label(row.id, slot);
        if (label !== undefined) {
          store.setLabel(row.id, slot.number, fresh.sealLabel(row.id, slot.number, label));
        }
      }
    }
    store.setMeta('store_key', fresh.wrap(root, secret));
    store.setMeta(`store_key_before_${epoch}`, fresh.succeed(root, storeKey));
    return fresh;
  }
}
