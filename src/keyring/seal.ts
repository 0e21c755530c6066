import { idBytes, type ScopeId, type VolumeId } from '../base/ids.js';
import { type AeadKey, type AeadSuite, NONCE_BYTES } from '../crypto/aead.js';
import { derive, type KdfLabel } from '../crypto/kdf.js';
import { openRecord, SEAL_OVERHEAD, sealRecord } from '../format/sealed-record.js';
import { pinned, randomFill, type Secret, type SecretMemory } from '../libc/memory.js';

/** Which scope of which volume. */
export interface ScopeContext {
  readonly volume: VolumeId;
  readonly scope: ScopeId;
}
/** The secret of one epoch of a scope. */
export interface EpochSecret {
  readonly epoch: number;
  readonly secret: Secret;
}
/** Where a sealed value belongs. `slot` and `epoch` are 0 where the value has none. */
export interface SealedPlace extends ScopeContext {
  readonly kind: SealedKind;
  readonly slot?: number;
  readonly slotType?: number;
  readonly epoch?: number;
}

const ofVolume = ({ volume }: ScopeContext): Buffer => idBytes(volume);
const ofScope = ({ scope }: ScopeContext): Buffer => idBytes(scope);
/** `volume 16 | scope 16 | slot 4 | epoch, or number of the share 4`. */
export function ofSlot({ volume, scope, slot = 0, epoch = 0 }: Omit<SealedPlace, 'kind'>): Buffer {
  const context = Buffer.alloc(40);
  idBytes(volume).copy(context);
  idBytes(scope).copy(context, 16);
  context.writeUInt32LE(slot, 32);
  context.writeUInt32LE(epoch, 36);
  return context;
}

interface SealedForm {
  /** Its number, and in which form: part of its associated data, so no downgrade and no other column. */
  readonly code: number;
  readonly version: number;
  /** How its key follows from the secret that it is sealed under. */
  readonly label: KdfLabel;
  readonly context: (place: SealedPlace) => Buffer;
}
/** What is sealed, one row a kind. */
const kinds = {
  path: { code: 1, version: 1, label: 'scopefs/1/label', context: ofVolume },
  state: { code: 2, version: 1, label: 'scopefs/1/state', context: ofScope },
  storeKey: { code: 3, version: 1, label: 'scopefs/1/store-key', context: ofVolume },
  chain: { code: 4, version: 1, label: 'scopefs/1/chain', context: ofScope },
  privateHalf: { code: 5, version: 2, label: 'scopefs/1/slot', context: ofSlot },
  wrap: { code: 6, version: 2, label: 'scopefs/1/wrap', context: ofSlot },
  rewrap: { code: 7, version: 2, label: 'scopefs/1/rewrap', context: ofSlot },
  slotLabel: { code: 8, version: 1, label: 'scopefs/1/label', context: ofVolume },
  note: { code: 9, version: 1, label: 'scopefs/1/note', context: ofVolume },
  storeChain: { code: 10, version: 1, label: 'scopefs/1/store-chain', context: ofVolume },
  share: { code: 11, version: 1, label: 'scopefs/1/share', context: ofSlot },
} as const satisfies Record<string, SealedForm>;
export type SealedKind = keyof typeof kinds;

const CLEAR = 48;
const MOST = 8192;
const SECRET_BYTES = 32;
const work = pinned(CLEAR + SEAL_OVERHEAD + MOST);

function setPlace(place: SealedPlace): void {
  const { bytes } = work;
  const { code, version } = kinds[place.kind];
  idBytes(place.volume).copy(bytes, 0);
  idBytes(place.scope).copy(bytes, 16);
  bytes.writeUInt32LE(place.slot ?? 0, 32);
  bytes.writeUInt16LE(code, 36);
  bytes.writeUInt16LE(version, 38);
  bytes.writeUInt32LE(place.epoch ?? 0, 40);
  bytes.writeUInt32LE(place.slotType ?? 0, 44);
}

/** A key that was derived from a secret, to seal and open values of its kinds. Whoever has it closes it. */
export class SealKey {
  readonly #secret: Secret;
  readonly #key: AeadKey;

  constructor(suite: AeadSuite, secret: Secret) {
    this.#secret = secret;
    this.#key = suite.key(secret);
  }

  /** Seals a value that is no key: `nonce 24 | ciphertext | tag 16`. */
  sealValue(place: SealedPlace, value: Buffer): Buffer {
    setPlace(place);
    value.copy(work.bytes, CLEAR + NONCE_BYTES);
    sealRecord(this.#key, work, 0, CLEAR, value.length);
    return Buffer.from(work.bytes.subarray(CLEAR, CLEAR + SEAL_OVERHEAD + value.length));
  }

  /** The value, or undefined where it is not authentic at that place. */
  openValue(place: SealedPlace, sealed: Buffer): Buffer | undefined {
    const length = sealed.length - SEAL_OVERHEAD;
    if (length < 0 || length > MOST) return undefined;
    setPlace(place);
    sealed.copy(work.bytes, CLEAR);
    if (!openRecord(this.#key, work, 0, CLEAR, length)) return undefined;
    const at = CLEAR + NONCE_BYTES;
    return Buffer.from(work.bytes.subarray(at, at + length));
  }

  /** Seals 32 bytes from secret memory; nothing of them passes through the heap. */
  sealSecret(place: SealedPlace, secret: Secret): Buffer {
    setPlace(place);
    this.#key.nonces(work, CLEAR, 0, 1);
    const out = work.address + CLEAR + NONCE_BYTES;
    this.#key.seal(work, CLEAR, work.address, CLEAR, secret.address, SECRET_BYTES, out);
    return Buffer.from(work.bytes.subarray(CLEAR, CLEAR + SEAL_OVERHEAD + SECRET_BYTES));
  }

  /** Opens into secret memory; undefined where it is not authentic at that place. */
  openSecret(place: SealedPlace, sealed: Buffer, memory: SecretMemory): Secret | undefined {
    if (sealed.length !== SEAL_OVERHEAD + SECRET_BYTES) return undefined;
    setPlace(place);
    sealed.copy(work.bytes, CLEAR);
    const secret = memory.allocate(SECRET_BYTES);
    const from = work.address + CLEAR + NONCE_BYTES;
    if (this.#key.open(work, CLEAR, work.address, CLEAR, from, SECRET_BYTES, secret.address)) return secret;
    secret.wipe();
    return undefined;
  }

  close(): void {
    this.#key.close();
    this.#secret.wipe();
  }
}

/**
 * The seal of a vault: its suite, and the secret memory that keys lie in. What it seals opens under the same secret at
 * the same place alone; the key for that is derived for each call, and gone after it.
 */
export class Seal {
  readonly #suite: AeadSuite;
  readonly memory: SecretMemory;

  constructor(suite: AeadSuite, memory: SecretMemory) {
    this.#suite = suite;
    this.memory = memory;
  }

  /** 32 random bytes. The caller wipes them. */
  fresh(): Secret {
    const secret = this.memory.allocate(SECRET_BYTES);
    randomFill(secret.address, SECRET_BYTES);
    return secret;
  }

  /** The key of a kind of values, for whoever needs it again and again. The caller closes it. */
  key(under: Secret, place: SealedPlace): SealKey {
    const { label, context } = kinds[place.kind];
    const derived = this.memory.allocate(SECRET_BYTES);
    derive(under, label, context(place), derived.address);
    return new SealKey(this.#suite, derived);
  }
  #withKey<T>(under: Secret, place: SealedPlace, use: (key: SealKey) => T): T {
    const key = this.key(under, place);
    try {
      return use(key);
    } finally {
      key.close();
    }
  }

  sealSecret(under: Secret, place: SealedPlace, secret: Secret): Buffer {
    return this.#withKey(under, place, (key) => key.sealSecret(place, secret));
  }
  /** Undefined where it is not authentic at that place. The caller wipes it. */
  openSecret(under: Secret, place: SealedPlace, sealed: Buffer): Secret | undefined {
    return this.#withKey(under, place, (key) => key.openSecret(place, sealed, this.memory));
  }
  sealValue(under: Secret, place: SealedPlace, value: Buffer): Buffer {
    return this.#withKey(under, place, (key) => key.sealValue(place, value));
  }
  openValue(under: Secret, place: SealedPlace, sealed: Buffer): Buffer | undefined {
    return this.#withKey(under, place, (key) => key.openValue(place, sealed));
  }
}
