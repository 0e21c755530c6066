import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { SecretRequest } from '../../control/service.js';
import type { SlotFacts } from '../../keyring/slots/slot-facts.js';
import { refuseSealed, Slots } from '../../keyring/slots/slots.js';
import { SecretInput } from '../../libc/memory.js';
import type { SlotRow, SlotType } from '../../store/rows.js';
import type { NewSlot } from './epoch-advance.js';
import type { ParentSlots } from './parent-slots.js';
import type { ShareSlots } from './share-slots.js';
import { isRecovery } from './slot-names.js';

/** Secrets of slots that are made or made anew, whoever makes them. */
export class NewSecrets {
  readonly #parents: ParentSlots;
  readonly #shares: ShareSlots;

  constructor(parents: ParentSlots, shares: ShareSlots) {
    this.#parents = parents;
    this.#shares = shares;
  }

  /** The secret of a new slot and what is public of it: given, its parent's, or made here. The caller wipes secrets. */
  async of(
    scope: ScopeId,
    parent: ScopeId | undefined,
    slot: { number: number; type: SlotType },
    given: SecretInput,
    wanted: SecretRequest & Pick<SlotFacts, 'notAfter' | 'window'>,
  ): Promise<Omit<NewSlot, 'slot'> & { shares: SecretInput | undefined }> {
    const { notAfter, window, sealed } = wanted;
    const { number, type } = slot;
    if (type === 'split' && (wanted.shares !== undefined || wanted.needed !== undefined)) {
      throw new Failure('usage', 'a split slot has one share', { hint: 'use --slot threshold' });
    }
    if (type === 'split' || type === 'threshold') {
      if (given.length === 0) return this.#shares.make(scope, { number, type }, wanted, { notAfter, window });
      throw new Failure('usage', `scopefs makes the secret of a ${type} slot: none is given`, {
        hint: 'name where its shares go: --new share:file:PATH',
      });
    }
    if (wanted.shares !== undefined || wanted.needed !== undefined) {
      throw new Failure('usage', `a ${type} slot has no shares`, { hint: 'use --slot threshold' });
    }
    const rest = { row: undefined, shares: undefined };
    refuseSealed(type, sealed);
    if (slot.type === 'parent') {
      const { input, epoch } = await this.#parents.secret(scope, parent, slot.number);
      return { input, facts: { notAfter, window, parentEpoch: epoch }, ...rest };
    }
    Slots.check(slot.type, given);
    const input = new SecretInput();
    input.copy(given);
    return { input, facts: { notAfter, window, sealed }, ...rest };
  }
}

/** What a recovery slot is for is a day that nobody plans. */
export function refuseLimitedRecovery(
  type: SlotType,
  { notAfter, window }: Pick<SlotFacts, 'notAfter' | 'window'>,
): void {
  if (type !== 'recovery' || (notAfter === undefined && window === undefined)) return;
  throw new Failure('usage', 'a recovery slot has no end and no window', {
    hint: 'give those to slots of other types',
  });
}
/** A client that loses its share, or the server's copy of one that is rolled back, must not be the end of the data. */
export function refuseWithoutRecovery(slots: readonly SlotRow[], where: string): void {
  if (slots.some(isRecovery)) return;
  throw new Failure('conflict', `${where}: a split slot needs a recovery slot beside it`, {
    hint: 'add that first: scopefs slot add SCOPE --slot recovery --new prompt',
  });
}
