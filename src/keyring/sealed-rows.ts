import { timingSafeEqual } from 'node:crypto';
import { Failure } from '../base/failure.js';
import { idBytes, type ScopeId, type VolumeId } from '../base/ids.js';
import { type AeadKey, type AeadSuite, NONCE_BYTES, TAG_BYTES } from '../crypto/aead.js';
import { derive, type KdfLabel } from '../crypto/kdf.js';
import { openRecord, SEAL_OVERHEAD, sealRecord } from '../format/sealed-record.js';
import { pinned, randomFill, type Secret, type SecretMemory } from '../libc/memory.js';

/** Which row and column a sealed value belongs to; part of its associated data, so it can't stand elsewhere. */
const columns = { path: 1, state: 2, storeKey: 3 } as const;
type Column = keyof typeof columns;

const CLEAR = 36;
const MOST = 8192;
const STORE_KEY_BYTES = 32;
const work = pinned(CLEAR + SEAL_OVERHEAD + MOST);

function place(volume: VolumeId, scope: ScopeId, column: Column): void {
  idBytes(volume).copy(work.bytes, 0);
  idBytes(scope).copy(work.bytes, 16);
  work.bytes.writeUInt32LE(columns[column], 32);
}

function seal(key: AeadKey, volume: VolumeId, scope: ScopeId, column: Column, value: Buffer): Buffer {
  place(volume, scope, column);
  value.copy(work.bytes, CLEAR + NONCE_BYTES);
  sealRecord(key, work, 0, CLEAR, value.length);
  return Buffer.from(work.bytes.subarray(CLEAR, CLEAR + SEAL_OVERHEAD + value.length));
}

function open(
  key: AeadKey,
  volume: VolumeId,
  scope: ScopeId,
  column: Column,
  sealed: Buffer,
): Buffer | undefined {
  const length = sealed.length - SEAL_OVERHEAD;
  if (length < 0 || length > MOST) return undefined;
  place(volume, scope, column);
  sealed.copy(work.bytes, CLEAR);
  if (!openRecord(key, work, 0, CLEAR, length)) return undefined;
  const at = CLEAR + NONCE_BYTES;
  return Buffer.from(work.bytes.subarray(at, at + length));
}

/** A derived AEAD key for the length of one call. */
function withKey<T>(
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

/** A scope's sealed state: what its row repeats of the volume record, so that an edited record is noticed. */
export function sealState(
  suite: AeadSuite,
  memory: SecretMemory,
  volume: VolumeId,
  scope: ScopeId,
  epochSecret: Secret,
  recordHash: Buffer,
): Buffer {
  return withKey(suite, memory, epochSecret, 'scopefs/1/state', idBytes(scope), (key) =>
    seal(key, volume, scope, 'state', recordHash),
  );
}

/** @throws Failure integrity where the state is not authentic or the volume record is not the one it repeats. */
export function verifyState(
  suite: AeadSuite,
  memory: SecretMemory,
  volume: VolumeId,
  scope: ScopeId,
  epochSecret: Secret,
  sealed: Buffer,
  recordHash: Buffer,
): void {
  const found = withKey(suite, memory, epochSecret, 'scopefs/1/state', idBytes(scope), (key) =>
    open(key, volume, scope, 'state', sealed),
  );
  if (found === undefined) {
    throw new Failure('integrity', "the scope's state in the metadata store is not authentic");
  }
  if (found.length !== recordHash.length || !timingSafeEqual(found, recordHash)) {
    throw new Failure('integrity', 'the volume record was edited after this scope was created', {
      hint: 'restore VAULT/volume from a backup',
    });
  }
}

/**
 * The store key: random, sealed under the root scope's epoch secret, kept until unmount. It seals labels, so that
 * paths of scopes can be read while they are locked, but not in a stolen vault.
 */
export class StoreKey {
  readonly #volume: VolumeId;
  readonly #secret: Secret;
  readonly #labels: AeadKey;
  readonly #labelSecret: Secret;

  private constructor(suite: AeadSuite, memory: SecretMemory, volume: VolumeId, secret: Secret) {
    this.#volume = volume;
    this.#secret = secret;
    this.#labelSecret = memory.allocate(32);
    derive(secret, 'scopefs/1/label', idBytes(volume), this.#labelSecret.address);
    this.#labels = suite.key(this.#labelSecret);
  }

  static create(suite: AeadSuite, memory: SecretMemory, volume: VolumeId): StoreKey {
    const secret = memory.allocate(STORE_KEY_BYTES);
    randomFill(secret.address, STORE_KEY_BYTES);
    return new StoreKey(suite, memory, volume, secret);
  }

  /** The sealed form for the store's meta table. */
  wrap(suite: AeadSuite, memory: SecretMemory, root: ScopeId, epochSecret: Secret): Buffer {
    const context = idBytes(this.#volume);
    return withKey(suite, memory, epochSecret, 'scopefs/1/store-key', context, (key) => {
      place(this.#volume, root, 'storeKey');
      key.nonces(work, CLEAR, 0, 1);
      const out = work.address + CLEAR + NONCE_BYTES;
      key.seal(work, CLEAR, work.address, CLEAR, this.#secret.address, STORE_KEY_BYTES, out);
      return Buffer.from(work.bytes.subarray(CLEAR, CLEAR + SEAL_OVERHEAD + STORE_KEY_BYTES));
    });
  }

  /** @throws Failure integrity where it is not authentic. */
  static unwrap(
    suite: AeadSuite,
    memory: SecretMemory,
    volume: VolumeId,
    root: ScopeId,
    epochSecret: Secret,
    sealed: Buffer,
  ): StoreKey {
    const secret = memory.allocate(STORE_KEY_BYTES);
    const context = idBytes(volume);
    const opened = withKey(suite, memory, epochSecret, 'scopefs/1/store-key', context, (key) => {
      if (sealed.length !== NONCE_BYTES + STORE_KEY_BYTES + TAG_BYTES) return false;
      place(volume, root, 'storeKey');
      sealed.copy(work.bytes, CLEAR);
      const from = work.address + CLEAR + NONCE_BYTES;
      return key.open(work, CLEAR, work.address, CLEAR, from, STORE_KEY_BYTES, secret.address);
    });
    if (!opened) {
      secret.wipe();
      throw new Failure('integrity', 'the store key in the metadata store is not authentic');
    }
    return new StoreKey(suite, memory, volume, secret);
  }

  /** A scope's path below its parent scope (latin1), sealed for its row. */
  sealPath(scope: ScopeId, path: string): Buffer {
    return seal(this.#labels, this.#volume, scope, 'path', Buffer.from(path, 'latin1'));
  }
  /** @throws Failure integrity where it is not authentic. */
  openPath(scope: ScopeId, sealed: Buffer): string {
    const path = open(this.#labels, this.#volume, scope, 'path', sealed);
    if (path === undefined) {
      throw new Failure('integrity', `the label of scope ${scope} in the metadata store is not authentic`);
    }
    return path.toString('latin1');
  }

  close(): void {
    this.#labels.close();
    this.#labelSecret.wipe();
    this.#secret.wipe();
  }
}
