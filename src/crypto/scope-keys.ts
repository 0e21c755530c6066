import { idBytes, type ScopeId } from '../base/ids.js';
import { copyMemory, pinned, type Secret, type SecretMemory } from '../libc/memory.js';
import type { AeadKey, AeadSuite } from './aead.js';
import { derive, type KdfLabel } from './kdf.js';
import { SivKey } from './siv.js';

/** The public identifier of an epoch secret: proves that an opened slot gave the right one. 16 bytes. */
export function keyIdentifier(secret: Secret, scope: ScopeId, memory: SecretMemory): Buffer {
  const out = memory.allocate(64);
  derive(secret, 'scopefs/1/key-id', idBytes(scope), out.address);
  const id = peek(out, 16);
  out.wipe();
  return id;
}

const window = pinned(16);

/** Copies derived bytes that are public by definition (identifiers, tags) out of secret memory. */
function peek(secret: Secret, length: number, at = 0): Buffer {
  copyMemory(window.address, secret.address + at, length);
  return Buffer.from(window.bytes.subarray(0, length));
}

/** Slots of secret memory that an epoch takes: its secret, five keys, and one while they are derived. */
export const EPOCH_SLOTS = 7;

/** The keys that one epoch secret of a scope gives. */
class EpochKeys {
  readonly epoch: number;
  readonly header: AeadKey;
  readonly symlink: AeadKey;
  readonly xattr: AeadKey;
  readonly names: SivKey;
  readonly binding: Secret;
  readonly #scope: ScopeId;
  readonly #memory: SecretMemory;
  readonly #epochSecret: Secret;
  readonly #secrets: Secret[] = [];

  /** Takes over `epochSecret` (32 bytes): it is wiped by {@link close}. */
  constructor(suite: AeadSuite, memory: SecretMemory, scope: ScopeId, epoch: number, epochSecret: Secret) {
    this.epoch = epoch;
    this.#scope = scope;
    this.#memory = memory;
    this.#epochSecret = epochSecret;
    this.header = suite.key(this.#derive('scopefs/1/header'));
    this.symlink = suite.key(this.#derive('scopefs/1/symlink'));
    this.xattr = suite.key(this.#derive('scopefs/1/xattr'));
    this.names = new SivKey(this.#derive('scopefs/1/name'));
    this.binding = this.#derive('scopefs/1/binding');
  }

  #derive(label: KdfLabel): Secret {
    const secret = this.#memory.allocate(label === 'scopefs/1/name' ? 64 : 32);
    derive(this.#epochSecret, label, idBytes(this.#scope), secret.address);
    this.#secrets.push(secret);
    return secret;
  }

  /** The key of one file and its clear tag; undefined where secret memory is full. The caller wipes the secret. */
  file(fileId: Buffer): { secret: Secret; tag: Buffer } | undefined {
    const out = this.#memory.tryAllocate(64);
    if (out === undefined) return undefined;
    derive(this.#epochSecret, 'scopefs/1/file', Buffer.concat([idBytes(this.#scope), fileId]), out.address);
    const tag = peek(out, 16, 32);
    return { secret: out, tag };
  }

  /** Writes the epoch secret to `to` (32 bytes of secret memory). */
  lend(to: number): void {
    copyMemory(to, this.#epochSecret.address, 32);
  }

  close(): void {
    this.header.close();
    this.symlink.close();
    this.xattr.close();
    this.names.close();
    for (const secret of this.#secrets) secret.wipe();
    this.#epochSecret.wipe();
  }
}

/**
 * All keys of one unlocked scope: those of its current epoch, under which everything new is sealed, and of the
 * earlier ones, under which older things still are. `close` wipes them and resets every context; whoever still holds
 * a key then gets an exception, not plaintext.
 */
export class ScopeKeys {
  readonly scope: ScopeId;
  readonly suite: AeadSuite;
  readonly #memory: SecretMemory;
  /** The current epoch first. */
  readonly #epochs: EpochKeys[] = [];

  /** `secrets`: one for each epoch, the first being that of epoch `oldest`. They are taken over. */
  constructor(
    suite: AeadSuite,
    memory: SecretMemory,
    scope: ScopeId,
    oldest: number,
    secrets: readonly Secret[],
  ) {
    this.suite = suite;
    this.scope = scope;
    this.#memory = memory;
    secrets.forEach((secret, i) => {
      this.#add(oldest + i, secret);
    });
    if (this.#epochs.length === 0) throw new Error('a scope needs an epoch');
  }

  #add(epoch: number, secret: Secret): void {
    this.#epochs.unshift(new EpochKeys(this.suite, this.#memory, this.scope, epoch, secret));
  }

  get current(): EpochKeys {
    return this.#epochs[0] as EpochKeys;
  }
  get epoch(): number {
    return this.current.epoch;
  }
  /** The keys of an epoch; undefined for one that this scope does not have (any more, or yet). */
  at(epoch: number): EpochKeys | undefined {
    const index = this.epoch - epoch;
    return index >= 0 ? this.#epochs[index] : undefined;
  }
  /** From the current epoch back to `oldest`. */
  *since(oldest: number): Generator<EpochKeys> {
    for (const keys of this.#epochs) {
      if (keys.epoch < oldest) return;
      yield keys;
    }
  }

  /** Begins a new epoch: everything sealed from now on needs its secret (taken over). */
  advance(epoch: number, secret: Secret): void {
    if (epoch !== this.epoch + 1) throw new RangeError(`epoch ${epoch} after ${this.epoch}`);
    this.#add(epoch, secret);
  }

  close(): void {
    for (const keys of this.#epochs) keys.close();
  }
}
