import { Failure } from '../base/failure.js';
import { idBytes, type ScopeId, type VolumeId } from '../base/ids.js';
import type { AeadKey, AeadSuite } from '../crypto/aead.js';
import { derive } from '../crypto/kdf.js';
import { randomFill, type Secret, type SecretMemory } from '../libc/memory.js';
import { openSecret, openValue, type SealedPlace, sealSecret, sealValue, withKey } from './sealing.js';

const NO_SCOPE = '00'.repeat(16) as ScopeId;

/**
 * The store key: random, sealed under the root scope's epoch secret, kept until unmount. It seals labels, so that
 * paths of scopes can be read while they are locked, but not in a stolen vault.
 */
export class StoreKey {
  readonly #volume: VolumeId;
  readonly #secret: Secret;
  readonly #labels: AeadKey;
  readonly #labelSecret: Secret;
  /** The epoch of the root scope with which it began. */
  readonly generation: number;
  /** Keys of the audit's texts, by generation: its rows stay as they were written. */
  #notes = new Map<number, { secret: Secret; key: AeadKey }>();

  private constructor(
    suite: AeadSuite,
    memory: SecretMemory,
    volume: VolumeId,
    secret: Secret,
    generation: number,
  ) {
    this.#volume = volume;
    this.#secret = secret;
    this.generation = generation;
    this.#labelSecret = memory.allocate(32);
    derive(secret, 'scopefs/1/label', idBytes(volume), this.#labelSecret.address);
    this.#labels = suite.key(this.#labelSecret);
    this.#addNotes(suite, memory, generation, secret);
  }

  #addNotes(suite: AeadSuite, memory: SecretMemory, generation: number, storeKey: Secret): void {
    const secret = memory.allocate(32);
    derive(storeKey, 'scopefs/1/note', idBytes(this.#volume), secret.address);
    this.#notes.set(generation, { secret, key: suite.key(secret) });
  }

  static create(suite: AeadSuite, memory: SecretMemory, volume: VolumeId, generation = 1): StoreKey {
    const secret = memory.allocate(32);
    randomFill(secret.address, 32);
    return new StoreKey(suite, memory, volume, secret, generation);
  }

  /** Takes over what `before` opens of the audit; the sealed form of that key, for the store's meta table. */
  succeed(suite: AeadSuite, memory: SecretMemory, root: ScopeId, before: StoreKey): Buffer {
    for (const [generation, note] of before.#notes) this.#notes.set(generation, note);
    before.#notes = new Map();
    const place = this.#chain(root, this.generation);
    return withKey(suite, memory, this.#secret, 'scopefs/1/store-chain', idBytes(this.#volume), (key) =>
      sealSecret(key, place, before.#secret),
    );
  }
  #chain(root: ScopeId, generation: number): SealedPlace {
    return { volume: this.#volume, scope: root, kind: 'storeChain', epoch: generation };
  }
  /** Opens the keys before it, for the audit's older rows: `sealed(g)` is what generation g made of the one before. */
  recall(
    suite: AeadSuite,
    memory: SecretMemory,
    root: ScopeId,
    sealed: (generation: number) => Buffer | undefined,
  ): void {
    let current = this.#secret;
    for (let generation = this.generation; generation > 1; generation--) {
      const bytes = sealed(generation);
      const place = this.#chain(root, generation);
      const before =
        bytes === undefined
          ? undefined
          : withKey(suite, memory, current, 'scopefs/1/store-chain', idBytes(this.#volume), (key) =>
              openSecret(key, place, bytes, memory),
            );
      if (current !== this.#secret) current.wipe();
      // Older rows then show without their texts; nothing else depends on it.
      if (before === undefined) return;
      this.#addNotes(suite, memory, generation - 1, before);
      current = before;
    }
    if (current !== this.#secret) current.wipe();
  }

  #note(scope: ScopeId | undefined, generation: number): SealedPlace {
    return { volume: this.#volume, scope: scope ?? NO_SCOPE, kind: 'note', epoch: generation };
  }
  /** The texts of an audit row: what callers and files are called is not for thieves of a disk. */
  sealNote(scope: ScopeId | undefined, text: string): Buffer {
    const { key } = this.#notes.get(this.generation) as { key: AeadKey };
    return sealValue(key, this.#note(scope, this.generation), Buffer.from(text, 'utf8'));
  }
  /** Undefined where it is not authentic, or older than what {@link recall} could open. */
  openNote(scope: ScopeId | undefined, generation: number, sealed: Buffer): string | undefined {
    const note = this.#notes.get(generation);
    if (note === undefined) return undefined;
    return openValue(note.key, this.#note(scope, generation), sealed)?.toString('utf8');
  }

  /** The sealed form for the store's meta table, under an epoch of the root scope. */
  wrap(suite: AeadSuite, memory: SecretMemory, root: ScopeId, epochSecret: Secret): Buffer {
    const place: SealedPlace = {
      volume: this.#volume,
      scope: root,
      kind: 'storeKey',
      epoch: this.generation,
    };
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
    generation: number,
  ): StoreKey {
    const place: SealedPlace = { volume, scope: root, kind: 'storeKey', epoch: generation };
    const secret = withKey(suite, memory, epochSecret, 'scopefs/1/store-key', idBytes(volume), (key) =>
      openSecret(key, place, sealed, memory),
    );
    if (secret === undefined) {
      throw new Failure('integrity', 'the store key in the metadata store is not authentic');
    }
    return new StoreKey(suite, memory, volume, secret, generation);
  }

  #path(scope: ScopeId): SealedPlace {
    return { volume: this.#volume, scope, kind: 'path' };
  }
  /** A scope's path below its parent scope (latin1), sealed for its row. */
  sealPath(scope: ScopeId, path: string): Buffer {
    return sealValue(this.#labels, this.#path(scope), Buffer.from(path, 'latin1'));
  }
  /** Undefined where it is not authentic: a label names a scope for people, its directory says the same. */
  openPath(scope: ScopeId, sealed: Buffer): string | undefined {
    return openValue(this.#labels, this.#path(scope), sealed)?.toString('latin1');
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
    for (const { key, secret } of this.#notes.values()) {
      key.close();
      secret.wipe();
    }
    this.#labels.close();
    this.#labelSecret.wipe();
    this.#secret.wipe();
  }
}
