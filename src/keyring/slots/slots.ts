import { randomBytes } from 'node:crypto';
import { Failure } from '../../base/failure.js';
import { idBytes, type ScopeId, type VolumeId } from '../../base/ids.js';
import type { AeadSuite } from '../../crypto/aead.js';
import type { KdfLabel } from '../../crypto/kdf.js';
import { defaultCost, extract, type ScryptCost, saltOf, stretch } from '../../crypto/stretch.js';
import { pinned, randomFill, type Secret, type SecretInput, type SecretMemory } from '../../libc/memory.js';
import type { SlotRow, SlotType, WrapRow } from '../../store/rows.js';
import { openSecret, type SealedKind, type SealedPlace, sealSecret, withKey } from '../sealing.js';
import type { Kem } from './kem.js';
import { readRecoveryText } from './recovery-text.js';
import { encodeParameters, readParameters, type SlotFacts, type SlotParameters } from './slot-facts.js';

/** Bytes of a key file, taken exactly (PRODUCT.md). */
export const KEYFILE = { least: 32, most: 4096 } as const;
/** X-Wing key pairs. The form of slots.kind_version and part of what every wrap is bound to. */
export const KIND_VERSION = 2;
const KEM_CIPHERTEXT_BYTES = 1120;
const typeCode: Record<SlotType, number> = {
  passphrase: 1,
  keyfile: 2,
  recovery: 3,
  age: 4,
  cmd: 5,
  parent: 6,
  split: 7,
  threshold: 8,
};
/** Types whose secrets we make ourselves: so many bytes, which nobody types. */
const OWN_SECRET = 32;
const own: ReadonlySet<SlotType> = new Set(['age', 'parent', 'split', 'threshold']);
/** Cheap ones first: a passphrase takes most of a second. */
const order: readonly SlotType[] = [
  'recovery',
  'parent',
  'split',
  'threshold',
  'age',
  'keyfile',
  'cmd',
  'passphrase',
];

/** Whose slots. */
export interface SlotContext {
  readonly volume: VolumeId;
  readonly scope: ScopeId;
}

/** A slot that a secret opened. */
export interface OpenedSlot {
  readonly slot: SlotRow;
  /** Of the asked epoch; not yet checked against its identifier. */
  readonly secret: Secret;
  /** The wrap with its symmetric form, to be stored: the next opening needs no child process. */
  readonly rewrapped: WrapRow | undefined;
}

const recovery = pinned(32);

/**
 * Slots: key pairs whose private half is sealed under a key from the slot's own secret. Epoch secrets are sealed to
 * the public half, so that a new epoch needs nobody's secret; once opened they are also sealed under the slot's
 * secret, which opens in microseconds.
 */
export class Slots {
  readonly #suite: AeadSuite;
  readonly #memory: SecretMemory;
  readonly #kem: Kem;
  readonly #cost: ScryptCost;
  readonly #wall: () => number;

  /** `cost`: of new passphrase slots. `wall`: milliseconds since 1970. */
  constructor(
    suite: AeadSuite,
    memory: SecretMemory,
    kem: Kem,
    cost: ScryptCost = defaultCost,
    wall: () => number = Date.now,
  ) {
    this.#wall = wall;
    this.#suite = suite;
    this.#memory = memory;
    this.#kem = kem;
    this.#cost = cost;
  }

  /** Why a secret can't be used for a new slot of this type, as a failure; nothing where it can. */
  static check(type: SlotType, secret: SecretInput): void {
    if (type === 'keyfile' || type === 'cmd') {
      if (secret.length < KEYFILE.least || secret.length > KEYFILE.most) {
        const what = type === 'cmd' ? 'what a command gives' : 'a key file';
        throw new Failure(
          'usage',
          `${what} has ${KEYFILE.least} to ${KEYFILE.most} bytes, this one has ${secret.length}`,
          { hint: 'make one with: head -c 32 /dev/urandom > key' },
        );
      }
    } else if (type === 'recovery') {
      const reads = readRecoveryText(secret, recovery.bytes);
      recovery.bytes.fill(0);
      if (!reads) {
        throw new Failure('usage', 'that is not a recovery key: 64 letters of cbdefghijklnrtuv', {
          hint: 'scopefs makes one: scopefs slot add SCOPE --slot recovery --new prompt',
        });
      }
    } else if (own.has(type)) {
      if (secret.length !== OWN_SECRET) {
        throw new Failure(
          'usage',
          `the secret of such a slot has ${OWN_SECRET} bytes, this one has ${secret.length}`,
          {
            hint: 'scopefs makes it: scopefs slot add SCOPE --new age:FILE, parent or share:file:PATH',
          },
        );
      }
    } else if (secret.lengthWithoutNewline === 0) {
      throw new Failure('usage', 'the passphrase is empty');
    } else if (secret.lengthWithoutNewline > KEYFILE.most) {
      throw new Failure('usage', `the passphrase is longer than ${KEYFILE.most} bytes`);
    }
  }

  /** A new slot, with an epoch secret sealed to it in both forms. */
  async make(
    context: SlotContext,
    number: number,
    type: SlotType,
    input: SecretInput,
    epoch: number,
    epochSecret: Secret,
    created: number,
    facts: SlotFacts = {},
  ): Promise<{ slot: SlotRow; wrap: WrapRow }> {
    Slots.check(type, input);
    const parameters: SlotParameters = {
      ...facts,
      salt: randomBytes(32),
      cost: type === 'passphrase' ? this.#cost : undefined,
    };
    const id = { number, type };
    const stretched = await this.#stretched(type, input, parameters);
    const pair = await this.#kem.generate().catch((error: unknown) => {
      stretched.wipe();
      throw error;
    });
    try {
      const privateHalf = this.#seal(context, id, stretched, 'privateHalf', 0, pair.privateHalf);
      const rewrap = this.#seal(context, id, stretched, 'rewrap', epoch, epochSecret);
      const sealed = this.#seal(context, id, pair.shared, 'wrap', epoch, epochSecret);
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
      stretched.wipe();
      pair.privateHalf.wipe();
      pair.shared.wipe();
    }
  }

  /** Seals the secret of a new epoch to slots, by their public halves alone. */
  async sealTo(
    context: SlotContext,
    slots: readonly SlotRow[],
    epoch: number,
    epochSecret: Secret,
  ): Promise<WrapRow[]> {
    const shared = await this.#kem.encapsulate(slots.map((slot) => slot.publicKey));
    return slots.map((slot, i) => {
      const { ciphertext, shared: secret } = shared[i] as { ciphertext: Buffer; shared: Secret };
      const sealed = this.#seal(context, slot, secret, 'wrap', epoch, epochSecret);
      secret.wipe();
      return { number: slot.number, epoch, wrap: Buffer.concat([ciphertext, sealed]), rewrap: undefined };
    });
  }

  /**
   * Tries a secret on every slot that it may open (`only`: that one): that slot and the secret of `epoch`; undefined
   * where it opens none. @throws Failure integrity, naming the slot, where the secret is a slot's and its wrap is not authentic.
   */
  async open(
    context: SlotContext,
    slots: readonly SlotRow[],
    wraps: readonly WrapRow[],
    epoch: number,
    input: SecretInput,
    only?: number,
  ): Promise<OpenedSlot | undefined> {
    const sorted = slots
      .filter(({ number }) => only === undefined || number === only)
      .sort((a, b) => order.indexOf(a.type) - order.indexOf(b.type));
    for (const slot of sorted) {
      if (!fits(slot.type, input)) continue;
      const wrap = wraps.find((row) => row.number === slot.number && row.epoch === epoch);
      const opened = await this.#openOne(context, slot, wrap, epoch, input);
      if (opened === undefined) continue;
      const { notAfter } = readParameters(slot);
      if (notAfter === undefined || this.#wall() / 1000 < notAfter) return opened;
      opened.secret.wipe();
      throw new Failure(
        'forbidden',
        `slot ${slot.number} ended at ${new Date(notAfter * 1000).toISOString()}`,
        {
          hint: 'open the scope with another slot, and remove this one: scopefs slot rm',
        },
      );
    }
    return undefined;
  }

  async #openOne(
    context: SlotContext,
    slot: SlotRow,
    wrap: WrapRow | undefined,
    epoch: number,
    input: SecretInput,
  ): Promise<OpenedSlot | undefined> {
    if (slot.kindVersion !== KIND_VERSION) {
      throw new Failure('unsupported_format', `slot ${slot.number} has a form this build does not know`);
    }
    const stretched = await this.#stretched(slot.type, input, readParameters(slot));
    try {
      if (wrap?.rewrap !== undefined) {
        const secret = this.#open(context, slot, stretched, 'rewrap', epoch, wrap.rewrap);
        if (secret !== undefined) return { slot, secret, rewrapped: undefined };
      }
      const privateHalf = this.#open(context, slot, stretched, 'privateHalf', 0, slot.privateHalf);
      // Not this slot's secret, or an edited row: which of them, the slot list knows.
      if (privateHalf === undefined) return undefined;
      const damaged = (what: string): Failure =>
        new Failure('integrity', `slot ${slot.number}: its wrap of epoch ${epoch} is ${what}`, {
          details: { slot: slot.number },
          hint: 'open the scope with another slot, then make this one anew: scopefs slot rotate',
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
      const secret = this.#open(context, slot, shared, 'wrap', epoch, sealed);
      shared.wipe();
      if (secret === undefined || wrap.rewrap !== undefined) {
        secret?.wipe();
        throw damaged('not authentic');
      }
      const rewrap = this.#seal(context, slot, stretched, 'rewrap', epoch, secret);
      return { slot, secret, rewrapped: { ...wrap, rewrap } };
    } finally {
      stretched.wipe();
    }
  }

  #place(
    context: SlotContext,
    slot: { number: number; type: SlotType },
    kind: SealedKind,
    epoch: number,
  ): SealedPlace {
    return { ...context, kind, slot: slot.number, slotType: typeCode[slot.type], epoch };
  }
  #seal(
    context: SlotContext,
    slot: { number: number; type: SlotType },
    under: Secret,
    kind: SlotKind,
    epoch: number,
    secret: Secret,
  ): Buffer {
    const place = this.#place(context, slot, kind, epoch);
    return withKey(this.#suite, this.#memory, under, label[kind], keyContext(place), (key) =>
      sealSecret(key, place, secret),
    );
  }
  #open(
    context: SlotContext,
    slot: SlotRow,
    under: Secret,
    kind: SlotKind,
    epoch: number,
    sealed: Buffer,
  ): Secret | undefined {
    const place = this.#place(context, slot, kind, epoch);
    return withKey(this.#suite, this.#memory, under, label[kind], keyContext(place), (key) =>
      openSecret(key, place, sealed, this.#memory),
    );
  }

  async #stretched(type: SlotType, input: SecretInput, parameters: SlotParameters): Promise<Secret> {
    const stretched = this.#memory.allocate(32);
    const salt = saltOf(parameters.salt);
    if (type === 'keyfile' || type === 'cmd' || own.has(type)) {
      extract(input.address, input.length, salt, stretched);
    } else if (type === 'recovery') {
      readRecoveryText(input, recovery.bytes);
      extract(recovery.address, 32, salt, stretched);
      randomFill(recovery.address, 32);
    } else {
      const cost = parameters.cost ?? defaultCost;
      try {
        await stretch(input.address, input.lengthWithoutNewline, salt, cost, stretched);
      } catch (error) {
        stretched.wipe();
        throw error;
      }
    }
    return stretched;
  }
}

type SlotKind = 'privateHalf' | 'wrap' | 'rewrap';
const label: Record<SlotKind, KdfLabel> = {
  privateHalf: 'scopefs/1/slot',
  rewrap: 'scopefs/1/rewrap',
  wrap: 'scopefs/1/wrap',
};

function keyContext(place: SealedPlace): Buffer {
  const context = Buffer.alloc(40);
  idBytes(place.volume).copy(context);
  idBytes(place.scope).copy(context, 16);
  context.writeUInt32LE(place.slot ?? 0, 32);
  context.writeUInt32LE(place.epoch ?? 0, 36);
  return context;
}

function fits(type: SlotType, input: SecretInput): boolean {
  if (own.has(type)) return input.length === OWN_SECRET;
  if (type === 'keyfile' || type === 'cmd')
    return input.length >= KEYFILE.least && input.length <= KEYFILE.most;
  if (type === 'passphrase') {
    return input.lengthWithoutNewline > 0 && input.lengthWithoutNewline <= KEYFILE.most;
  }
  const reads = readRecoveryText(input, recovery.bytes);
  randomFill(recovery.address, 32);
  return reads;
}

/** @throws Failure usage unless an age slot, and no other, comes with its secret as an age file */
export function refuseSealed(type: SlotType, sealed: string | undefined): void {
  if ((type === 'age') === (sealed !== undefined)) return;
  throw new Failure('usage', 'an age slot comes with its secret as an age file, and no other does', {
    hint: 'scopefs slot add SCOPE --new age:FILE makes one',
  });
}
