import { Failure } from '../base/failure.js';
import type { ScopeId, VolumeId } from '../base/ids.js';
import type { Secret } from '../libc/memory.js';
import type { EpochSecret, ScopeContext, Seal, SealedPlace, SealKey } from './seal.js';

const NO_SCOPE = '00'.repeat(16) as ScopeId;

/**
 * The store key: random, sealed under the root scope's epoch secret, kept until unmount. It seals labels, so that
 * paths of scopes can be read while they are locked, but not in a stolen vault.
 */
export class StoreKey {
  readonly #seal: Seal;
  readonly #volume: VolumeId;
  readonly #secret: Secret;
  readonly #labels: SealKey;
  /** The epoch of the root scope with which it began. */
  readonly generation: number;
  /** Keys of the audit's texts, by generation: its rows stay as they were written. */
  #notes = new Map<number, SealKey>();

  private constructor(seal: Seal, volume: VolumeId, secret: Secret, generation: number) {
    this.#seal = seal;
    this.#volume = volume;
    this.#secret = secret;
    this.generation = generation;
    let labels: SealKey | undefined;
    try {
      labels = seal.key(secret, this.#path(NO_SCOPE));
      this.#addNotes(generation, secret);
    } catch (error) {
      // Secret memory is full.
      labels?.close();
      secret.wipe();
      throw error;
    }
    this.#labels = labels;
  }

  #addNotes(generation: number, storeKey: Secret): void {
    this.#notes.set(generation, this.#seal.key(storeKey, this.#note(undefined, generation)));
  }

  static create(seal: Seal, volume: VolumeId, generation = 1): StoreKey {
    return new StoreKey(seal, volume, seal.fresh(), generation);
  }

  /** Takes over what `before` opens of the audit; the sealed form of that key, for the store's meta table. */
  succeed(root: ScopeId, before: StoreKey): Buffer {
    for (const [generation, note] of before.#notes) this.#notes.set(generation, note);
    before.#notes = new Map();
    return this.#seal.sealSecret(this.#secret, this.#chain(root, this.generation), before.#secret);
  }
  #chain(root: ScopeId, generation: number): SealedPlace {
    return { volume: this.#volume, scope: root, kind: 'storeChain', epoch: generation };
  }
  /** Opens the keys before it, for the audit's older rows: `sealed(g)` is what generation g made of the one before. */
  recall(root: ScopeId, sealed: (generation: number) => Buffer | undefined): void {
    let current = this.#secret;
    for (let generation = this.generation; generation > 1; generation--) {
      const bytes = sealed(generation);
      const place = this.#chain(root, generation);
      const before = bytes === undefined ? undefined : this.#seal.openSecret(current, place, bytes);
      if (current !== this.#secret) current.wipe();
      // Older rows then show without their texts; nothing else depends on it.
      if (before === undefined) return;
      this.#addNotes(generation - 1, before);
      current = before;
    }
    if (current !== this.#secret) current.wipe();
  }

  #note(scope: ScopeId | undefined, generation: number): SealedPlace {
    return { volume: this.#volume, scope: scope ?? NO_SCOPE, kind: 'note', epoch: generation };
  }
  /** The texts of an audit row: what callers and files are called is not for thieves of a disk. */
  sealNote(scope: ScopeId | undefined, text: string): Buffer {
    const key = this.#notes.get(this.generation) as SealKey;
    return key.sealValue(this.#note(scope, this.generation), Buffer.from(text, 'utf8'));
  }
  /** Undefined where it is not authentic, or older than what {@link recall} could open. */
  openNote(scope: ScopeId | undefined, generation: number, sealed: Buffer): string | undefined {
    return this.#notes.get(generation)?.openValue(this.#note(scope, generation), sealed)?.toString('utf8');
  }

  /** The sealed form for the store's meta table, under an epoch of the root scope. */
  wrap(root: ScopeId, epochSecret: Secret): Buffer {
    const place = placeOf({ volume: this.#volume, scope: root }, this.generation);
    return this.#seal.sealSecret(epochSecret, place, this.#secret);
  }

  /** Of the root scope, with the epoch that it began with. @throws Failure integrity where it is not authentic. */
  static unwrap(seal: Seal, root: ScopeContext, { epoch, secret }: EpochSecret, sealed: Buffer): StoreKey {
    const storeKey = seal.openSecret(secret, placeOf(root, epoch), sealed);
    if (storeKey === undefined) {
      throw new Failure('integrity', 'the store key in the metadata store is not authentic');
    }
    return new StoreKey(seal, root.volume, storeKey, epoch);
  }

  #path(scope: ScopeId): SealedPlace {
    return { volume: this.#volume, scope, kind: 'path' };
  }
  /** A scope's path below its parent scope (latin1), sealed for its row. */
  sealPath(scope: ScopeId, path: string): Buffer {
    return this.#labels.sealValue(this.#path(scope), Buffer.from(path, 'latin1'));
  }
  /** Undefined where it is not authentic: a label names a scope for people, its directory says the same. */
  openPath(scope: ScopeId, sealed: Buffer): string | undefined {
    return this.#labels.openValue(this.#path(scope), sealed)?.toString('latin1');
  }

  #slot(scope: ScopeId, slot: number): SealedPlace {
    return { volume: this.#volume, scope, kind: 'slotLabel', slot };
  }
  sealLabel(scope: ScopeId, slot: number, label: string): Buffer {
    return this.#labels.sealValue(this.#slot(scope, slot), Buffer.from(label, 'utf8'));
  }
  /** Undefined where it is not authentic: a label names a slot for people, and opens nothing. */
  openLabel(scope: ScopeId, slot: number, sealed: Buffer): string | undefined {
    return this.#labels.openValue(this.#slot(scope, slot), sealed)?.toString('utf8');
  }

  close(): void {
    for (const note of this.#notes.values()) note.close();
    this.#labels.close();
    this.#secret.wipe();
  }
}

const placeOf = (root: ScopeContext, generation: number): SealedPlace => ({
  ...root,
  kind: 'storeKey',
  epoch: generation,
});

/** The store key of a mounted vault: none until the root scope's first unlock, another one where that begins a new epoch. */
export class CurrentStoreKey {
  #key: StoreKey | undefined;

  get(): StoreKey | undefined {
    return this.#key;
  }
  /** Where something can't be done without it. @throws Failure locked */
  require(): StoreKey {
    if (this.#key !== undefined) return this.#key;
    throw new Failure(
      'locked',
      'the root scope was not unlocked since the mount: names are sealed until then',
      { reason: { name: 'scope_locked', scope: '/' } },
    );
  }
  /** Closes the one before. */
  replace(next: StoreKey): void {
    this.#key?.close();
    this.#key = next;
  }
  close(): void {
    this.#key?.close();
  }
}
