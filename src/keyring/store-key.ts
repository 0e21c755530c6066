import { Failure } from '../base/failure.js';
import { idBytes, type ScopeId, type VolumeId } from '../base/ids.js';
import type { AeadKey, AeadSuite } from '../crypto/aead.js';
import { derive } from '../crypto/kdf.js';
import { randomFill, type Secret, type SecretMemory } from '../libc/memory.js';
import { openSecret, openValue, type SealedPlace, sealSecret, sealValue, withKey } from './sealing.js';

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
    const secret = memory.allocate(32);
    randomFill(secret.address, 32);
    return new StoreKey(suite, memory, volume, secret);
  }

  /** The sealed form for the store's meta table, under an epoch of the root scope. */
  wrap(suite: AeadSuite, memory: SecretMemory, root: ScopeId, epochSecret: Secret): Buffer {
    const place: SealedPlace = { volume: this.#volume, scope: root, kind: 'storeKey' };
    return withKey(suite, memory, epochSecret, 'scopefs/1/store-key', idBytes(this.#volume), (key) =>
      sealSecret(key, place, this.#secret),
    );
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
    const place: SealedPlace = { volume, scope: root, kind: 'storeKey' };
    const secret = withKey(suite, memory, epochSecret, 'scopefs/1/store-key', idBytes(volume), (key) =>
      openSecret(key, place, sealed, memory),
    );
    if (secret === undefined) {
      throw new Failure('integrity', 'the store key in the metadata store is not authentic');
    }
    return new StoreKey(suite, memory, volume, secret);
  }

  #path(scope: ScopeId): SealedPlace {
    return { volume: this.#volume, scope, kind: 'path' };
  }
  /** A scope's path below its parent scope (latin1), sealed for its row. */
  sealPath(scope: ScopeId, path: string): Buffer {
    return sealValue(this.#labels, this.#path(scope), Buffer.from(path, 'latin1'));
  }
  /** @throws Failure integrity where it is not authentic. */
  openPath(scope: ScopeId, sealed: Buffer): string {
    const path = openValue(this.#labels, this.#path(scope), sealed);
    if (path === undefined) {
      throw new Failure('integrity', `the label of scope ${scope} in the metadata store is not authentic`);
    }
    return path.toString('latin1');
  }

  #slot(scope: ScopeId, slot: number): SealedPlace {
    return { volume: this.#volume, scope, kind: 'slotLabel', slot };
  }
  sealLabel(scope: ScopeId, slot: number, label: string): Buffer {
    return sealValue(this.#labels, this.#slot(scope, slot), Buffer.from(label, 'utf8'));
  }
  /** Undefined where it is not authentic: a label names a slot for people, and opens nothing. */
  openLabel(scope: ScopeId, slot: number, sealed: Buffer): string | undefined {
    return openValue(this.#labels, this.#slot(scope, slot), sealed)?.toString('utf8');
  }

  close(): void {
    this.#labels.close();
    this.#labelSecret.wipe();
    this.#secret.wipe();
  }
}
