import { idBytes, type ScopeId, type VolumeId } from '../base/ids.js';
import { type AeadKey, type AeadSuite, NONCE_BYTES } from '../crypto/aead.js';
import { derive, type KdfLabel } from '../crypto/kdf.js';
import { openRecord, SEAL_OVERHEAD, sealRecord } from '../format/sealed-record.js';
import { pinned, type Secret, type SecretMemory } from '../libc/memory.js';

/** What a sealed value is, and in which form. Part of its associated data: no downgrade, no other column. */
const kinds = {
  path: { code: 1, version: 1 },
  state: { code: 2, version: 1 },
  storeKey: { code: 3, version: 1 },
  chain: { code: 4, version: 1 },
  privateHalf: { code: 5, version: 2 },
  wrap: { code: 6, version: 2 },
  rewrap: { code: 7, version: 2 },
  slotLabel: { code: 8, version: 1 },
  note: { code: 9, version: 1 },
  storeChain: { code: 10, version: 1 },
  share: { code: 11, version: 1 },
} as const;
export type SealedKind = keyof typeof kinds;

/** Where a sealed value belongs. `slot` and `epoch` are 0 where the value has none. */
export interface SealedPlace {
  readonly volume: VolumeId;
  readonly scope: ScopeId;
  readonly kind: SealedKind;
  readonly slot?: number;
  readonly slotType?: number;
  readonly epoch?: number;
}

const CLEAR = 48;
const MOST = 8192;
const SECRET_BYTES = 32;
const work = pinned(CLEAR + SEAL_OVERHEAD + MOST);

function setPlace(place: SealedPlace): void {
  const { bytes } = work;
  idBytes(place.volume).copy(bytes, 0);
  idBytes(place.scope).copy(bytes, 16);
  bytes.writeUInt32LE(place.slot ?? 0, 32);
  bytes.writeUInt16LE(kinds[place.kind].code, 36);
  bytes.writeUInt16LE(kinds[place.kind].version, 38);
  bytes.writeUInt32LE(place.epoch ?? 0, 40);
  bytes.writeUInt32LE(place.slotType ?? 0, 44);
}

/** Seals a value that is no key: `nonce 24 | ciphertext | tag 16`. */
export function sealValue(key: AeadKey, place: SealedPlace, value: Buffer): Buffer {
  setPlace(place);
  value.copy(work.bytes, CLEAR + NONCE_BYTES);
  sealRecord(key, work, 0, CLEAR, value.length);
  return Buffer.from(work.bytes.subarray(CLEAR, CLEAR + SEAL_OVERHEAD + value.length));
}

/** The value, or undefined where it is not authentic at that place. */
export function openValue(key: AeadKey, place: SealedPlace, sealed: Buffer): Buffer | undefined {
  const length = sealed.length - SEAL_OVERHEAD;
  if (length < 0 || length > MOST) return undefined;
  setPlace(place);
  sealed.copy(work.bytes, CLEAR);
  if (!openRecord(key, work, 0, CLEAR, length)) return undefined;
  const at = CLEAR + NONCE_BYTES;
  return Buffer.from(work.bytes.subarray(at, at + length));
}

/** Seals 32 bytes from secret memory; nothing of them passes through the heap. */
export function sealSecret(key: AeadKey, place: SealedPlace, secret: Secret): Buffer {
  setPlace(place);
  key.nonces(work, CLEAR, 0, 1);
  const out = work.address + CLEAR + NONCE_BYTES;
  key.seal(work, CLEAR, work.address, CLEAR, secret.address, SECRET_BYTES, out);
  return Buffer.from(work.bytes.subarray(CLEAR, CLEAR + SEAL_OVERHEAD + SECRET_BYTES));
}

/** Opens into secret memory; undefined where it is not authentic at that place. */
export function openSecret(
  key: AeadKey,
  place: SealedPlace,
  sealed: Buffer,
  memory: SecretMemory,
): Secret | undefined {
  if (sealed.length !== SEAL_OVERHEAD + SECRET_BYTES) return undefined;
  setPlace(place);
  sealed.copy(work.bytes, CLEAR);
  const secret = memory.allocate(SECRET_BYTES);
  const from = work.address + CLEAR + NONCE_BYTES;
  if (key.open(work, CLEAR, work.address, CLEAR, from, SECRET_BYTES, secret.address)) return secret;
  secret.wipe();
  return undefined;
}

/** A derived AEAD key for the length of one call. */
export function withKey<T>(
  suite: AeadSuite,
  memory: SecretMemory,
  secret: Secret,
  label: KdfLabel,
  context: Buffer,
  use: (key: AeadKey) => T,
): T {
  const derived = memory.allocate(32);
  derive(secret, label, context, derived.address);
  const key = suite.key(derived);
  try {
    return use(key);
  } finally {
    key.close();
    derived.wipe();
  }
}
