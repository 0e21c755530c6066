import { randomBytes } from 'node:crypto';
import { Failure } from '../../base/failure.js';
import { defaultCost, type ScryptCost, saltOf } from '../../crypto/stretch.js';
import type { Secret, SecretInput } from '../../libc/memory.js';
import type { ScopeSecretRows, SlotRow, SlotType, WrapRow } from '../../store/rows.js';
import type { EpochSecret, ScopeContext, Seal, SealedKind, SealedPlace } from '../seal.js';
import type { Composer } from './composer.js';
import type { Kem } from './kem.js';
import { encodeParameters, readParameters, type SlotFacts, type SlotParameters } from './slot-facts.js';
import { kindOf, slotKinds } from './slot-kinds.js';

/** X-Wing key pairs. The form of slots.kind_version and part of what every wrap is bound to. */
const KIND_VERSION = 2;
const KEM_CIPHERTEXT_BYTES = 1120;

/** A slot that is to be made. */
export interface NewSlot {
  readonly number: number;
  readonly type: SlotType;
  /** Its own secret, which whoever makes it wipes. */
  readonly input: SecretInput;
  /** None where not given. */
  readonly facts?: SlotFacts;
  /** Seconds since 1970. */
  readonly created: number;
}

/** A slot that a secret opened. */
export interface OpenedSlot {
  readonly slot: SlotRow;
  /** Of the asked epoch; not yet checked against its identifier. */
  readonly secret: Secret;
  /** The wrap with its symmetric form, to be stored: the next opening needs no child process. */
  readonly rewrapped: WrapRow | undefined;
}

/** A slot's key, stretched from a secret beforehand; of what it was made. */
export interface StretchedKey {
  readonly parameters: string;
  readonly key: Secret;
}
/** By the number of the slot. Whoever asked for them wipes them. */
export type StretchedKeys = ReadonlyMap<number, StretchedKey>;

/** Which slots are tried with a secret. */
export interface Tried {
  readonly only?: number;
  /** Of stretched kinds those that have a key here, and no other. Not given: all, and they are stretched for it. */
  readonly stretched?: StretchedKeys;
}

/** Where something of a slot is sealed. */
function placeOf(
  context: ScopeContext,
  { number, type }: Pick<SlotRow, 'number' | 'type'>,
  kind: SealedKind,
  epoch: number,
): SealedPlace {
  return { ...context, kind, slot: number, slotType: slotKinds[type].code, epoch };
}

/** Whether people can guess the slot's secret, and this may be a guess. */
const isGuess = (slot: SlotRow, input: SecretInput): boolean => {
  const kind = kindOf(slot)?.input;
  return kind?.stretched === true && kind.fits(input);
};
/** As long as the slot is what the key was made for. */
function keyFor(slot: SlotRow, keys: StretchedKeys): Secret | undefined {
  const made = keys.get(slot.number);
  return made?.parameters === slot.parameters ? made.key : undefined;
}
/** Whether a secret was not tried on a slot, as that takes work that was not done. */
export const isUntried = (slots: readonly SlotRow[], input: SecretInput, keys: StretchedKeys): boolean =>
  slots.some((slot) => isGuess(slot, input) && keyFor(slot, keys) === undefined);
export function wipeKeys(keys: StretchedKeys): void {
  for (const { key } of keys.values()) key.wipe();
}

/**
 * Slots: key pairs whose private half is sealed under a key from the slot's own secret. Epoch secrets are sealed to
 * the public half, so that a new epoch needs nobody's secret; once opened they are also sealed under the slot's
 * secret, which opens in microseconds.
 */
export class Slots {
  readonly #seal: Seal;
  readonly #kem: Kem;
  readonly #composed: Composer;
  readonly #cost: ScryptCost;
  readonly #wall: () => number;

  /** `cost`: of new passphrase slots. `wall`: milliseconds since 1970. */
  constructor(
    seal: Seal,
    kem: Kem,
    composed: Composer,
    cost: ScryptCost = defaultCost,
    wall: () => number = Date.now,
  ) {
    this.#seal = seal;
    this.#kem = kem;
    this.#composed = composed;
    this.#cost = cost;
    this.#wall = wall;
  }

  /** A new slot, with an epoch secret sealed to it in both forms. */
  async make(
    context: ScopeContext,
    made: NewSlot,
    { epoch, secret }: EpochSecret,
  ): Promise<{ slot: SlotRow; wrap: WrapRow }> {
    const { number, type, input, created } = made;
    const kind = slotKinds[type];
    kind.input.check(input);
    const parameters: SlotParameters = {
      ...made.facts,
      salt: randomBytes(32),
      cost: kind.input.stretched ? this.#cost : undefined,
    };
    const key = await this.#keyOf(type, input, parameters);
    const pair = await this.#kem.generate().catch((error: unknown) => {
      key.wipe();
      throw error;
    });
    try {
      const place = (sealed: SealedKind, of: number): SealedPlace => placeOf(context, made, sealed, of);
      const privateHalf = this.#seal.sealSecret(key, place('privateHalf', 0), pair.privateHalf);
      const rewrap = this.#seal.sealSecret(key, place('rewrap', epoch), secret);
      const sealed = this.#seal.sealSecret(pair.shared, place('wrap', epoch), secret);
      return {
        slot: {
          number,
          type,
          kindVersion: KIND_VERSION,
          parameters: encodeParameters(parameters),
          publicKey: pair.publicKey,
          privateHalf,
          label: undefined,
          created,
        },
        wrap: { number, epoch, wrap: Buffer.concat([pair.ciphertext, sealed]), rewrap },
      };
    } finally {
      key.wipe();
      pair.privateHalf.wipe();
      pair.shared.wipe();
    }
  }

  /** Seals the secret of a new epoch to slots, by their public halves alone. */
  async sealTo(
    context: ScopeContext,
    slots: readonly SlotRow[],
    { epoch, secret }: EpochSecret,
  ): Promise<WrapRow[]> {
    const pairs = await this.#kem.encapsulate(slots.map((slot) => slot.publicKey));
    return slots.map((slot, i) => {
      const { ciphertext, shared } = pairs[i] as { ciphertext: Buffer; shared: Secret };
      const sealed = this.#seal.sealSecret(shared, placeOf(context, slot, 'wrap', epoch), secret);
      shared.wipe();
      return { number: slot.number, epoch, wrap: Buffer.concat([ciphertext, sealed]), rewrap: undefined };
    });
  }

  /**
   * The keys of the slots that take work to try with a secret: outside of everything that others wait for. None: it
   * fits no such slot. The caller wipes them.
   */
  async stretch(slots: readonly SlotRow[], input: SecretInput): Promise<StretchedKeys> {
    const keys = new Map<number, StretchedKey>();
    try {
      for (const slot of slots.filter((one) => isGuess(one, input))) {
        const { number, type, parameters } = slot;
        keys.set(number, { parameters, key: await this.#keyOf(type, input, readParameters(slot)) });
      }
      return keys;
    } catch (error) {
      wipeKeys(keys);
      throw error;
    }
  }

  /**
   * Tries a secret on every slot that it may open: that slot and the secret of `epoch`; undefined
   * where it opens none. @throws Failure integrity, naming the slot, where the secret is a slot's and its wrap is not authentic.
   */
  async open(
    context: ScopeContext,
    { slots, wraps }: Pick<ScopeSecretRows, 'slots' | 'wraps'>,
    epoch: number,
    input: SecretInput,
    { only, stretched }: Tried = {},
  ): Promise<OpenedSlot | undefined> {
    const tried = slots
      .filter(({ number }) => only === undefined || number === only)
      .filter((slot) => kindOf(slot)?.input.fits(input) === true)
      .filter(
        (slot) => stretched === undefined || !isGuess(slot, input) || keyFor(slot, stretched) !== undefined,
      )
      .sort((a, b) => slotKinds[a.type].rank - slotKinds[b.type].rank);
    for (const slot of tried) {
      const wrap = wraps.find((row) => row.number === slot.number && row.epoch === epoch);
      const ready = stretched === undefined ? undefined : keyFor(slot, stretched);
      const opened = await this.#openOne(context, slot, wrap, { epoch, input, ready });
      if (opened === undefined) continue;
      const { notAfter } = readParameters(slot);
      if (notAfter === undefined || this.#wall() / 1000 < notAfter) return opened;
      opened.secret.wipe();
      throw new Failure(
        'forbidden',
        `slot ${slot.number} ended at ${new Date(notAfter * 1000).toISOString()}`,
        {
          reason: 'slot_ended',
        },
      );
    }
    return undefined;
  }

  async #openOne(
    context: ScopeContext,
    slot: SlotRow,
    wrap: WrapRow | undefined,
    { epoch, input, ready }: { epoch: number; input: SecretInput; ready: Secret | undefined },
  ): Promise<OpenedSlot | undefined> {
    if (slot.kindVersion !== KIND_VERSION) {
      throw new Failure('unsupported_format', `slot ${slot.number} has a form this build does not know`);
    }
    const place = (sealed: SealedKind, of: number): SealedPlace => placeOf(context, slot, sealed, of);
    const key = ready ?? (await this.#keyOf(slot.type, input, readParameters(slot)));
    try {
      if (wrap?.rewrap !== undefined) {
        const secret = this.#seal.openSecret(key, place('rewrap', epoch), wrap.rewrap);
        if (secret !== undefined) return { slot, secret, rewrapped: undefined };
      }
      const privateHalf = this.#seal.openSecret(key, place('privateHalf', 0), slot.privateHalf);
      // Not this slot's secret, or an edited row: which of them, the slot list knows.
      if (privateHalf === undefined) return undefined;
      const damaged = (what: string): Failure =>
        new Failure('integrity', `slot ${slot.number}: its wrap of epoch ${epoch} is ${what}`, {
          details: { slot: slot.number },
          reason: 'slot_wrap_damaged',
        });
      if (wrap === undefined) {
        privateHalf.wipe();
        throw damaged('missing');
      }
      const ciphertext = wrap.wrap.subarray(0, KEM_CIPHERTEXT_BYTES);
      if (ciphertext.length < KEM_CIPHERTEXT_BYTES) {
        privateHalf.wipe();
        throw damaged('cut short');
      }
      const shared = await this.#kem.decapsulate(privateHalf, ciphertext).finally(() => privateHalf.wipe());
      const sealed = wrap.wrap.subarray(KEM_CIPHERTEXT_BYTES);
      let secret: Secret | undefined;
      try {
        secret = this.#seal.openSecret(shared, place('wrap', epoch), sealed);
      } finally {
        shared.wipe();
      }
      if (secret === undefined || wrap.rewrap !== undefined) {
        secret?.wipe();
        throw damaged('not authentic');
      }
      try {
        const rewrap = this.#seal.sealSecret(key, place('rewrap', epoch), secret);
        return { slot, secret, rewrapped: { ...wrap, rewrap } };
      } catch (error) {
        secret.wipe();
        throw error;
      }
    } finally {
      if (ready === undefined) key.wipe();
    }
  }

  /** A slot's key from its secret. The caller wipes it. */
  async #keyOf(type: SlotType, input: SecretInput, { salt, cost }: SlotParameters): Promise<Secret> {
    const key = this.#seal.memory.allocate(32);
    const kind = slotKinds[type].input;
    try {
      if (!kind.stretched) {
        await kind.key(input, saltOf(salt), cost, key);
        return key;
      }
      const text = await this.#composed(input);
      try {
        await kind.key(text, saltOf(salt), cost, key);
      } finally {
        text.wipe();
      }
      return key;
    } catch (error) {
      key.wipe();
      throw error;
    }
  }
}
