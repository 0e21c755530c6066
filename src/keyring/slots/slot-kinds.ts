import { Failure } from '../../base/failure.js';
import type { SecretInput } from '../../libc/memory.js';
import type { SlotType } from '../../store/rows.js';
import { keyBytes, ownBytes, recoveryLetters, type SlotInput, typedText } from './slot-inputs.js';

/** What is public of a slot of some kinds alone (slot-facts.ts). */
export type KindFact = 'sealed' | 'parentEpoch' | 'set' | 'needed' | 'tags';

/** Everything that differs between the kinds of slots, whoever asks. */
export interface SlotKind {
  /** Its number in what is sealed for its slots: stored, so never reused. */
  readonly code: number;
  /** In which order a secret is tried: cheap ones first, as a passphrase takes most of a second. */
  readonly rank: number;
  readonly input: SlotInput;
  /**
   * Where its secret comes from: whoever makes the slot, an epoch of the parent scope, or scopefs, which gives one share
   * of it to a client (and keeps the other) or all of them to people.
   */
  readonly origin: 'given' | 'parent' | 'share' | 'shares';
  /** Which facts a slot of it has; it has none of the others. */
  readonly facts: readonly KindFact[];
  /**
   * Its secret is for the day that nobody plans: the last such slot stays, with neither end nor window. `needed`: there
   * must be one before a slot of this kind, which a lost client or a server rolled back would else make the end of the data.
   */
  readonly lastResort: 'is' | 'needed' | undefined;
}

const table = {
  passphrase: {
    code: 1,
    rank: 8,
    input: typedText,
    origin: 'given',
    facts: [],
    lastResort: undefined,
  },
  keyfile: {
    code: 2,
    rank: 6,
    input: keyBytes('a key file'),
    origin: 'given',
    facts: [],
    lastResort: undefined,
  },
  recovery: {
    code: 3,
    rank: 1,
    input: recoveryLetters,
    origin: 'given',
    facts: [],
    lastResort: 'is',
  },
  age: {
    code: 4,
    rank: 5,
    input: ownBytes,
    origin: 'given',
    facts: ['sealed'],
    lastResort: undefined,
  },
  cmd: {
    code: 5,
    rank: 7,
    input: keyBytes('what a command gives'),
    origin: 'given',
    facts: [],
    lastResort: undefined,
  },
  parent: {
    code: 6,
    rank: 2,
    input: ownBytes,
    origin: 'parent',
    facts: ['parentEpoch'],
    lastResort: undefined,
  },
  split: {
    code: 7,
    rank: 3,
    input: ownBytes,
    origin: 'share',
    facts: ['set'],
    lastResort: 'needed',
  },
  threshold: {
    code: 8,
    rank: 4,
    input: ownBytes,
    origin: 'shares',
    facts: ['set', 'needed', 'tags'],
    lastResort: undefined,
  },
} as const satisfies Record<SlotType, SlotKind>;

/** The kinds of slots. A new one is a name in store/rows.ts and a row here. */
export const slotKinds: Readonly<Record<SlotType, SlotKind>> = table;

/** Types of slots of whose secrets people and programs keep shares. */
export type SharedType = {
  [Type in keyof typeof table]: (typeof table)[Type]['origin'] extends 'share' | 'shares' ? Type : never;
}[keyof typeof table];
export function hasShares(type: SlotType): type is SharedType {
  const { origin } = slotKinds[type];
  return origin === 'share' || origin === 'shares';
}

/** The kind of a stored slot; undefined where the store names one that this build does not know: it opens nothing. */
export function kindOf({ type }: { readonly type: SlotType }): SlotKind | undefined {
  return Object.hasOwn(slotKinds, type) ? slotKinds[type] : undefined;
}

/** As {@link kindOf}. @throws Failure unsupported_format */
export function knownKind(slot: { readonly number: number; readonly type: SlotType }): SlotKind {
  const kind = kindOf(slot);
  if (kind !== undefined) return kind;
  throw new Failure('unsupported_format', `slot ${slot.number} has a type this build does not know`);
}

/**
 * Refuses what can't be the secret of a new slot as its maker gives it: `sealed` is the same as an age file.
 * @throws Failure usage
 */
export function checkGiven(type: SlotType, given: SecretInput, sealed: string | undefined): void {
  const { facts, origin, input } = slotKinds[type];
  if (facts.includes('sealed') !== (sealed !== undefined)) {
    throw new Failure('usage', 'an age slot comes with its secret as an age file, and no other does', {
      reason: 'sealed_by_age_alone',
    });
  }
  if (origin === 'given') input.check(given);
}
