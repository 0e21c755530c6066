import type { AeadKey } from '../../crypto/aead.js';
import type { ScopeKeys } from '../../crypto/scope-keys.js';
import { FRAME_PREFIX } from '../../format/file/geometry.js';
import { type Pinned, pinned, type Secret } from '../../libc/memory.js';

const associated = pinned(16);

interface EpochKey {
  readonly epoch: number;
  readonly secret: Secret;
  readonly key: AeadKey;
}

/**
 * The keys of one file: it has one for each epoch of its scope since its first. What is written is sealed under the
 * current epoch's, so that a removed slot's holder can't read it; chunks written before open under the older ones
 * until they are written again. A frame does not say its epoch: the keys are tried, the last that fitted first.
 */
export class FileKeys {
  readonly #scope: ScopeKeys;
  readonly #fileId: Buffer;
  readonly #firstEpoch: number;
  readonly #keys: EpochKey[] = [];
  #sealing: EpochKey;
  #opening: EpochKey;
  /** The file-id tag of the first epoch: what binds the file to its names. */
  readonly tag: Buffer;

  private constructor(scope: ScopeKeys, fileId: Buffer, firstEpoch: number, first: EpochKey, tag: Buffer) {
    this.#scope = scope;
    this.#fileId = fileId;
    this.#firstEpoch = firstEpoch;
    this.#keys.push(first);
    this.#sealing = first;
    this.#opening = first;
    this.tag = tag;
  }

  /** Undefined where secret memory is full or the scope does not have that epoch. */
  static derive(scope: ScopeKeys, fileId: Buffer, firstEpoch: number): FileKeys | undefined {
    const derived = scope.at(firstEpoch)?.file(fileId);
    if (derived === undefined) return undefined;
    const { secret, tag } = derived;
    const first = { epoch: firstEpoch, secret, key: scope.suite.key(secret) };
    return new FileKeys(scope, fileId, firstEpoch, first, tag);
  }

  #at(epoch: number): EpochKey | undefined {
    const known = this.#keys.find((candidate) => candidate.epoch === epoch);
    if (known !== undefined) return known;
    const derived = this.#scope.at(epoch)?.file(this.#fileId);
    if (derived === undefined) return undefined;
    const made = { epoch, secret: derived.secret, key: this.#scope.suite.key(derived.secret) };
    this.#keys.push(made);
    return made;
  }

  /** From now on seals under the current epoch's key. Undefined where secret memory is full, else that epoch. */
  renew(): number | undefined {
    const now = this.#at(this.#scope.epoch);
    if (now === undefined) return undefined;
    this.#sealing = now;
    return now.epoch;
  }

  /** Fresh nonces for {@link seal}. */
  nonces(into: Pinned, at: number, stride: number, count: number): void {
    this.#sealing.key.nonces(into, at, stride, count);
  }

  /** Seals a chunk into the frame at `into.bytes[at]`, whose nonce is there already. */
  seal(into: Pinned, at: number, index: number, length: number, plaintext: number): void {
    into.bytes.writeUInt32LE(length, at + FRAME_PREFIX - 4);
    setAssociated(index, length);
    const body = into.address + at + FRAME_PREFIX;
    this.#sealing.key.seal(into, at, associated.address, 16, plaintext, length, body);
  }

  /** Opens the frame at `from.bytes[at]` into `out`; false where it is not the authentic chunk `index`. */
  open(from: Pinned, at: number, index: number, length: number, out: number): boolean {
    if (from.bytes.readUInt32LE(at + FRAME_PREFIX - 4) !== length) return false;
    setAssociated(index, length);
    const body = from.address + at + FRAME_PREFIX;
    const opens = ({ key }: EpochKey): boolean =>
      key.open(from, at, associated.address, 16, body, length, out);
    if (opens(this.#opening)) return true;
    for (let epoch = this.#scope.epoch; epoch >= this.#firstEpoch; epoch--) {
      const candidate = epoch === this.#opening.epoch ? undefined : this.#at(epoch);
      if (candidate !== undefined && opens(candidate)) {
        this.#opening = candidate;
        return true;
      }
    }
    return false;
  }

  close(): void {
    for (const { key, secret } of this.#keys) {
      key.close();
      secret.wipe();
    }
  }
}

function setAssociated(index: number, length: number): void {
  const { bytes } = associated;
  bytes.writeUInt32LE(index % 0x1_0000_0000, 0);
  bytes.writeUInt32LE(Math.floor(index / 0x1_0000_0000), 4);
  bytes.writeUInt32LE(length, 8);
  bytes.writeUInt32LE(0, 12);
}
