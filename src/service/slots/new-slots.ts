import { Failure } from '../../base/failure.js';
import { Issued, type SecretRequest } from '../../control/service.js';
import type { SlotFacts, SlotLimits } from '../../keyring/slots/slot-facts.js';
import { checkGiven, kindOf, knownKind, type SharedType } from '../../keyring/slots/slot-kinds.js';
import { SecretInput } from '../../libc/memory.js';
import type { ShareRow, SlotRow, SlotType } from '../../store/rows.js';
import type { SlotOwner } from '../scopes/stored-scopes.js';
import { isLastResort } from './last-slots.js';
import type { ParentSlots } from './parent-slots.js';
import type { ShareSlots } from './share-slots.js';

/** What is asked for of a slot, but for its kind. */
export type SlotRequest = SecretRequest & SlotLimits;
/** The secret of a slot that is made, and what is public of it. */
export interface SlotSecret {
  readonly input: SecretInput;
  readonly facts: SlotFacts;
  /** split: what the server keeps for the client's share. */
  readonly serverShare: ShareRow | undefined;
  /** split, threshold: what goes to people, as text. */
  readonly shares: SecretInput | undefined;
}

/** Secrets of slots that are made or made anew, whoever makes them. */
export class NewSlots {
  readonly #parents: ParentSlots;
  readonly #shares: ShareSlots;

  constructor(parents: ParentSlots, shares: ShareSlots) {
    this.#parents = parents;
    this.#shares = shares;
  }

  /**
   * Lends the secret of a new slot to `use`: given, its parent's, or made here. Shares go out with what comes of it, or
   * not at all.
   */
  async make<T>(
    owner: SlotOwner,
    slot: Pick<SlotRow, 'number' | 'type'>,
    given: SecretInput,
    wanted: SlotRequest,
    use: (secret: SlotSecret) => Promise<T>,
  ): Promise<Issued<T>> {
    const secret = await this.#secret(owner, slot, given, wanted);
    try {
      return new Issued(await use(secret), secret.shares);
    } catch (error) {
      secret.shares?.wipe();
      throw error;
    } finally {
      secret.input.wipe();
    }
  }

  async #secret(
    owner: SlotOwner,
    slot: Pick<SlotRow, 'number' | 'type'>,
    given: SecretInput,
    wanted: SlotRequest,
  ): Promise<SlotSecret> {
    const { number, type } = slot;
    const { origin } = knownKind(slot);
    const { notAfter, window, sealed } = wanted;
    if (origin !== 'shares' && (wanted.shares !== undefined || wanted.needed !== undefined)) {
      const none = origin === 'share' ? 'has one share' : 'has no shares';
      throw new Failure('usage', `a ${type} slot ${none}`, { reason: 'shares_of_other_kind' });
    }
    if (wanted.auto && origin !== 'parent') {
      throw new Failure(
        'usage',
        `a ${type} slot can't open its scope by itself: it has a secret of its own`,
        {
          reason: 'auto_of_other_kind',
        },
      );
    }
    const noShares = { serverShare: undefined, shares: undefined };
    switch (origin) {
      case 'share':
      case 'shares':
        if (given.length > 0) {
          throw new Failure('usage', `scopefs makes the secret of a ${type} slot: none is given`, {
            reason: 'made_secret_given',
          });
        }
        return this.#shares.make(owner.context, { number, type: type as SharedType }, wanted);
      case 'parent': {
        checkGiven(type, given, sealed);
        const { input, epoch } = await this.#parents.secret(owner, number);
        return {
          input,
          facts: { notAfter, window, parentEpoch: epoch, auto: wanted.auto || undefined },
          ...noShares,
        };
      }
      case 'given': {
        checkGiven(type, given, sealed);
        const input = new SecretInput();
        input.copy(given);
        return { input, facts: { notAfter, window, sealed }, ...noShares };
      }
    }
  }
}

/** Refuses an end or a window for slots that are there for a day that nobody plans. */
export function refuseLimits(type: SlotType, { notAfter, window }: SlotLimits): void {
  if (kindOf({ type })?.lastResort !== 'is' || (notAfter === undefined && window === undefined)) return;
  throw new Failure('usage', `a ${type} slot has no end and no window`, { reason: 'recovery_bounded' });
}
/** A client that loses its share, or the server's copy of one that is rolled back, must not be the end of the data. */
export function refuseWithoutRecovery(type: SlotType, slots: readonly SlotRow[], where: string): void {
  if (kindOf({ type })?.lastResort !== 'needed' || slots.some(isLastResort)) return;
  throw new Failure('conflict', `${where}: a ${type} slot needs a recovery slot beside it`, {
    reason: 'recovery_missing',
  });
}
