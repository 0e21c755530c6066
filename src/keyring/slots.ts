import { randomBytes, timingSafeEqual } from 'node:crypto';
import { Failure } from '../base/failure.js';
import { idBytes, type ScopeId, type VolumeId } from '../base/ids.js';
import { type AeadSuite, NONCE_BYTES, TAG_BYTES } from '../crypto/aead.js';
import { derive } from '../crypto/kdf.js';
import { costIsSane, defaultCost, extract, type ScryptCost, saltOf, stretch } from '../crypto/stretch.js';
import { keyIdentifier } from '../format/scope-keys.js';
import { pinned, type Secret, type SecretInput, type SecretMemory } from '../libc/memory.js';
import type { SlotRow, SlotType } from '../store/store.js';

/** Bytes of a key file, taken exactly (PRODUCT.md). */
export const KEYFILE = { least: 32, most: 4096 } as const;
const KIND_VERSION = 1;
const EPOCH_SECRET_BYTES = 32;
const CLEAR = 44;
const WRAP_BYTES = NONCE_BYTES + EPOCH_SECRET_BYTES + TAG_BYTES;

interface Parameters {
  salt: Buffer;
  cost: ScryptCost | undefined;
}

/** What opening needs, from the scope's row. */
export interface SlotContext {
  readonly volume: VolumeId;
  readonly scope: ScopeId;
  readonly epoch: number;
  readonly keyId: Buffer;
}

/** Slots in their first form (kind version 1): the epoch secret sealed under a key from the slot's secret. */
export class Slots {
  readonly #suite: AeadSuite;
  readonly #memory: SecretMemory;
  readonly #cost: ScryptCost;
  readonly #work = pinned(CLEAR + WRAP_BYTES);

  /** `cost`: of new passphrase slots. */
  constructor(suite: AeadSuite, memory: SecretMemory, cost: ScryptCost = defaultCost) {
    this.#suite = suite;
    this.#memory = memory;
    this.#cost = cost;
  }

  /** Why a secret can't be used for a new slot of this type, as a failure; nothing where it can. */
  static check(type: SlotType, secret: SecretInput): void {
    if (type === 'keyfile') {
      if (secret.length < KEYFILE.least || secret.length > KEYFILE.most) {
        throw new Failure(
          'usage',
          `a key file has ${KEYFILE.least} to ${KEYFILE.most} bytes, this one has ${secret.length}`,
          { hint: 'make one with: head -c 32 /dev/urandom > key' },
        );
      }
    } else if (secret.lengthWithoutNewline === 0) {
      throw new Failure('usage', 'the passphrase is empty');
    } else if (secret.lengthWithoutNewline > KEYFILE.most) {
      throw new Failure('usage', `the passphrase is longer than ${KEYFILE.most} bytes`);
    }
  }

  /** Seals an epoch secret to a new slot. */
  async wrap(
    context: SlotContext,
    number: number,
    type: SlotType,
    input: SecretInput,
    epochSecret: Secret,
    created: number,
  ): Promise<SlotRow> {
    Slots.check(type, input);
    const parameters: Parameters = {
      salt: randomBytes(32),
      cost: type === 'passphrase' ? this.#cost : undefined,
    };
    const key = await this.#slotKey(context, number, type, input, parameters);
    try {
      const aead = this.#suite.key(key);
      const work = this.#work;
      this.#clear(context, number, type);
      aead.nonces(work, CLEAR, 0, 1);
      const out = work.address + CLEAR + NONCE_BYTES;
      aead.seal(work, CLEAR, work.address, CLEAR, epochSecret.address, EPOCH_SECRET_BYTES, out);
      aead.close();
      return {
        scope: context.scope,
        number,
        type,
        kindVersion: KIND_VERSION,
        parameters: JSON.stringify({
          salt: parameters.salt.toString('base64'),
          ...(parameters.cost === undefined ? {} : { scrypt: parameters.cost }),
        }),
        wrap: Buffer.from(work.bytes.subarray(CLEAR)),
        created,
      };
    } finally {
      key.wipe();
    }
  }

  /** Tries a secret on every slot that it may open: the slot and the epoch secret, or undefined. */
  async open(
    context: SlotContext,
    slots: readonly SlotRow[],
    input: SecretInput,
  ): Promise<{ slot: SlotRow; secret: Secret } | undefined> {
    // Key files are tried first: they cost microseconds, a passphrase most of a second.
    const order = [...slots].sort((a, b) => a.type.localeCompare(b.type));
    for (const slot of order) {
      const length = slot.type === 'keyfile' ? input.length : input.lengthWithoutNewline;
      const fits = slot.type === 'keyfile' ? length >= KEYFILE.least : length > 0;
      if (!fits || length > KEYFILE.most) continue;
      const secret = await this.#openOne(context, slot, input);
      if (secret !== undefined) return { slot, secret };
    }
    return undefined;
  }

  async #openOne(context: SlotContext, slot: SlotRow, input: SecretInput): Promise<Secret | undefined> {
    if (slot.kindVersion !== KIND_VERSION || slot.wrap.length !== WRAP_BYTES) {
      throw new Failure('unsupported_format', `slot ${slot.number} has a form this build does not know`);
    }
    const parameters = readParameters(slot);
    const key = await this.#slotKey(context, slot.number, slot.type, input, parameters);
    const secret = this.#memory.allocate(EPOCH_SECRET_BYTES);
    const aead = this.#suite.key(key);
    const work = this.#work;
    this.#clear(context, slot.number, slot.type);
    slot.wrap.copy(work.bytes, CLEAR);
    const sealed = work.address + CLEAR + NONCE_BYTES;
    const opened = aead.open(work, CLEAR, work.address, CLEAR, sealed, EPOCH_SECRET_BYTES, secret.address);
    aead.close();
    key.wipe();
    if (opened) {
      const id = keyIdentifier(secret, context.scope, this.#memory);
      if (id.length === context.keyId.length && timingSafeEqual(id, context.keyId)) return secret;
    }
    secret.wipe();
    return undefined;
  }

  /** The associated data of a wrap: no row may stand in for another. */
  #clear(context: SlotContext, number: number, type: SlotType): void {
    const { bytes } = this.#work;
    idBytes(context.volume).copy(bytes, 0);
    idBytes(context.scope).copy(bytes, 16);
    bytes.writeUInt32LE(number, 32);
    bytes.writeUInt16LE(KIND_VERSION, 36);
    bytes.writeUInt16LE(type === 'passphrase' ? 1 : 2, 38);
    bytes.writeUInt32LE(context.epoch, 40);
  }

  async #slotKey(
    context: SlotContext,
    number: number,
    type: SlotType,
    input: SecretInput,
    parameters: Parameters,
  ): Promise<Secret> {
    const stretched = this.#memory.allocate(32);
    const salt = saltOf(parameters.salt);
    if (type === 'keyfile') {
      extract(input.address, input.length, salt, stretched);
    } else {
      const cost = parameters.cost ?? defaultCost;
      await stretch(input.address, input.lengthWithoutNewline, salt, cost, stretched);
    }
    const key = this.#memory.allocate(32);
    const place = Buffer.alloc(36);
    idBytes(context.volume).copy(place);
    idBytes(context.scope).copy(place, 16);
    place.writeUInt32LE(number, 32);
    derive(stretched, 'scopefs/1/slot', place, key.address);
    stretched.wipe();
    return key;
  }
}

function readParameters(slot: SlotRow): Parameters {
  const damaged = (): Failure => new Failure('integrity', `slot ${slot.number}: its parameters are damaged`);
  let parsed: { salt?: unknown; scrypt?: ScryptCost };
  try {
    parsed = JSON.parse(slot.parameters) as typeof parsed;
  } catch {
    throw damaged();
  }
  const salt = typeof parsed.salt === 'string' ? Buffer.from(parsed.salt, 'base64') : undefined;
  if (salt?.length !== 32) throw damaged();
  if (slot.type === 'passphrase' && (parsed.scrypt === undefined || !costIsSane(parsed.scrypt))) {
    throw damaged();
  }
  return { salt, cost: parsed.scrypt };
}
