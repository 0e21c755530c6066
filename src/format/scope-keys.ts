import { idBytes, type ScopeId } from '../base/ids.js';
import type { AeadKey, AeadSuite } from '../crypto/aead.js';
import { derive, type KdfLabel } from '../crypto/kdf.js';
import { SivKey } from '../crypto/siv.js';
import { copyMemory, pinned, type Secret, type SecretMemory } from '../libc/memory.js';

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

/**
 * All keys of one unlocked scope, derived from its epoch secret into secret memory. `close` wipes them and resets
 * every context; whoever still holds a key then gets an exception, not plaintext.
 */
export class ScopeKeys {
  readonly scope: ScopeId;
  readonly epoch: number;
  readonly suite: AeadSuite;
  readonly header: AeadKey;
  readonly symlink: AeadKey;
  readonly names: SivKey;
  readonly binding: Secret;
  readonly #memory: SecretMemory;
  readonly #epochSecret: Secret;
  readonly #secrets: Secret[] = [];

  /** Takes over `epochSecret` (32 bytes): it is wiped by {@link close}. */
  constructor(suite: AeadSuite, memory: SecretMemory, scope: ScopeId, epoch: number, epochSecret: Secret) {
    this.suite = suite;
    this.scope = scope;
    this.epoch = epoch;
    this.#memory = memory;
    this.#epochSecret = epochSecret;
    this.header = suite.key(this.#derive('scopefs/1/header'));
    this.symlink = suite.key(this.#derive('scopefs/1/symlink'));
    const names = this.#derive('scopefs/1/name');
    this.names = new SivKey(names);
    this.binding = this.#derive('scopefs/1/binding');
  }

  #derive(label: KdfLabel): Secret {
    const secret = this.#memory.allocate(label === 'scopefs/1/name' ? 64 : 32);
    derive(this.#epochSecret, label, idBytes(this.scope), secret.address);
    this.#secrets.push(secret);
    return secret;
  }

  /** The key of one file and its clear tag; undefined where secret memory is full. The caller wipes the secret. */
  file(fileId: Buffer): { secret: Secret; tag: Buffer } | undefined {
    const out = this.#memory.tryAllocate(64);
    if (out === undefined) return undefined;
    derive(this.#epochSecret, 'scopefs/1/file', Buffer.concat([idBytes(this.scope), fileId]), out.address);
    const tag = peek(out, 16, 32);
    return { secret: out, tag };
  }

  close(): void {
    this.header.close();
    this.symlink.close();
    this.names.close();
    for (const secret of this.#secrets) secret.wipe();
    this.#epochSecret.wipe();
  }
}
