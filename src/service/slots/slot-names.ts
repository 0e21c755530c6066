import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { SlotView } from '../../control/schemas.js';
import { readParameters, type SlotFacts, tagsOf } from '../../keyring/slots/slot-facts.js';
import { windowText } from '../../keyring/slots/windows.js';
import { StoreKey } from '../../keyring/store-key.js';
import type { Secret } from '../../libc/memory.js';
import type { SlotRow } from '../../store/rows.js';
import { type SlotServices, storeKeyOf } from '../vault/mounted-vault.js';

const NO_FACTS = { not_after: null, window: null, sealed: null, shares: null, threshold: null } as const;

/** Labels: of slots, by which people name them, and of everything under a new store key. */
export class SlotNames {
  readonly #services: SlotServices;
  readonly #pathOf: (scope: ScopeId) => string;

  constructor(services: SlotServices, pathOf: (scope: ScopeId) => string) {
    this.#services = services;
    this.#pathOf = pathOf;
  }

  view(scope: ScopeId, slot: SlotRow, damaged: readonly number[] | undefined): SlotView {
    return {
      number: slot.number,
      type: slot.type,
      label: this.label(scope, slot) ?? null,
      created: new Date(slot.created * 1000).toISOString(),
      ...this.#facts(slot),
      status: damaged === undefined ? 'unverified' : damaged.includes(slot.number) ? 'damaged' : 'ok',
    };
  }
  #facts(slot: SlotRow): Pick<SlotView, 'not_after' | 'window' | 'sealed' | 'shares' | 'threshold'> {
    try {
      const { notAfter, window, sealed, needed, tags } = readParameters(slot);
      return {
        not_after: notAfter === undefined ? null : new Date(notAfter * 1000).toISOString(),
        window: window === undefined ? null : windowText(window),
        sealed: sealed ?? null,
        shares: tags === undefined ? null : tagsOf(tags).length,
        threshold: needed ?? null,
      };
    } catch {
      return NO_FACTS;
    }
  }
  label(scope: ScopeId, slot: SlotRow): string | undefined {
    const { label, number } = slot;
    return label === undefined ? undefined : this.#services.storeKey?.openLabel(scope, number, label);
  }

  /** A slot by number or label; of those that the list has and the store has not, its number alone. */
  find(
    scope: ScopeId,
    slots: readonly SlotRow[],
    listed: readonly number[],
    reference: string,
  ): SlotRow | { readonly number: number; readonly type: undefined } {
    const found = slots.find(
      (slot) => String(slot.number) === reference || this.label(scope, slot) === reference,
    );
    if (found !== undefined) return found;
    const missing = listed.find((number) => String(number) === reference);
    if (missing !== undefined) return { number: missing, type: undefined };
    throw new Failure('not_found', `${this.#pathOf(scope)} has no slot ${reference}`, {
      hint: 'list them with: scopefs slot list SCOPE',
    });
  }

  refuseLabel(scope: ScopeId, slots: readonly SlotRow[], label: string): void {
    if (/^\d+$/.test(label)) {
      throw new Failure('usage', `a label is not a number: ${label}`, { hint: 'numbers name slots already' });
    }
    if (slots.some((slot) => this.label(scope, slot) === label)) {
      throw new Failure('conflict', `${this.#pathOf(scope)} has a slot ${label} already`, {
        hint: 'choose another label; see: scopefs slot list SCOPE',
      });
    }
  }

  /** Labels go over to a new store key, which the removed holder of a root slot does not have. */
  renewKey(root: ScopeId, epoch: number, epochSecret: Secret): StoreKey {
    const { store, suite, memory, vault } = this.#services;
    const storeKey = storeKeyOf(this.#services);
    const fresh = StoreKey.create(suite, memory, vault.record.volume, epoch);
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
    store.setMeta('store_key', fresh.wrap(suite, memory, root, epochSecret));
    store.setMeta(`store_key_before_${epoch}`, fresh.succeed(suite, memory, root, storeKey));
    return fresh;
  }
}

/** A slot that the list vouches for and the store has lost. */
export function missingView(number: number): SlotView {
  return { number, type: null, label: null, created: null, ...NO_FACTS, status: 'missing' };
}

function factsOf(slot: SlotRow): SlotFacts | undefined {
  try {
    return readParameters(slot);
  } catch {
    return undefined;
  }
}
/** It opens its scope at any time, for ever. */
function isLasting(slot: SlotRow): boolean {
  const facts = factsOf(slot);
  return facts !== undefined && facts.notAfter === undefined && facts.window === undefined;
}
/** A recovery slot that always opens; drafts gave them ends and windows too. */
export function isRecovery(slot: SlotRow): boolean {
  return slot.type === 'recovery' && isLasting(slot);
}

/** Keeps somebody from locking everybody out by mistake. */
export function refuseLast(
  slot: SlotRow | { readonly number: number; readonly type: undefined },
  left: readonly SlotRow[],
  isDamaged: boolean,
  path: string,
): void {
  if (left.length === 0) {
    throw new Failure('conflict', `slot ${slot.number} is the last one of ${path}`, {
      hint: 'add another first: scopefs slot add',
    });
  }
  if (isDamaged || slot.type === undefined) return;
  if (isRecovery(slot) && !left.some(isRecovery)) {
    throw new Failure('conflict', `slot ${slot.number} is the last recovery slot of ${path}`, {
      hint: 'add another recovery slot first: scopefs slot add --slot recovery',
    });
  }
  if (isLasting(slot) && !left.some(isLasting)) {
    throw new Failure(
      'conflict',
      `slot ${slot.number} is the last one of ${path} that has no end and no window`,
      {
        hint: 'add another without them first: scopefs slot add',
      },
    );
  }
}
