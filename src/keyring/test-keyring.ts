import { randomBytes } from 'node:crypto';
import { freshId, type ScopeId, type VolumeId } from '../base/ids.js';
import { decapsulate, encapsulate, generate } from '../crypto/x-wing.js';
import { Xaes256Gcm } from '../crypto/xaes.js';
import { copyMemory, pinned, type Secret, SecretInput, SecretMemory } from '../libc/memory.js';
import type { ScopeSecretRows } from '../store/rows.js';
import { type ScopeContext, Seal } from './seal.js';
import type { Composer } from './slots/composer.js';
import type { Kem } from './slots/kem.js';
import { ScopeSecrets } from './slots/scope-secrets.js';
import { Slots } from './slots/slots.js';

/** What tests of slots share: real cryptography, key pairs in this process. */
export const memory = new SecretMemory(1024);
export const suite = new Xaes256Gcm(memory);
export const volume = freshId<VolumeId>();
export const recordHash = randomBytes(32);

export function secretOf(bytes: Uint8Array): Secret {
  const secret = memory.allocate(bytes.length);
  const from = pinned(bytes.length);
  from.bytes.set(bytes);
  copyMemory(secret.address, from.address, bytes.length);
  return secret;
}
export function reveal(secret: Secret): string {
  const bytes = pinned(32);
  copyMemory(bytes.address, secret.address, 32);
  return bytes.bytes.toString('hex');
}

export class TestKem implements Kem {
  /** How often each operation was asked for. */
  readonly calls = { generate: 0, encapsulate: 0, decapsulate: 0 };
  async generate(): ReturnType<Kem['generate']> {
    this.calls.generate++;
    const { privateHalf, publicKey } = generate();
    const { ciphertext, shared } = encapsulate(publicKey);
    return {
      privateHalf: secretOf(privateHalf),
      publicKey: Buffer.from(publicKey),
      ciphertext: Buffer.from(ciphertext),
      shared: secretOf(shared),
    };
  }
  async encapsulate(publicKeys: readonly Buffer[]): ReturnType<Kem['encapsulate']> {
    this.calls.encapsulate++;
    return publicKeys.map((key) => {
      const { ciphertext, shared } = encapsulate(key);
      return { ciphertext: Buffer.from(ciphertext), shared: secretOf(shared) };
    });
  }
  async decapsulate(privateHalf: Secret, ciphertext: Buffer): Promise<Secret> {
    this.calls.decapsulate++;
    return secretOf(decapsulate(Buffer.from(reveal(privateHalf), 'hex'), ciphertext));
  }
}
/** In this process. */
export const testComposer: Composer = async (text) => {
  const composed = new SecretInput();
  composed.append(Buffer.from(text.view.toString('utf8').normalize('NFC')));
  return composed;
};
export const seal = new Seal(suite, memory);
export const kem = new TestKem();
export const slots = new Slots(seal, kem, testComposer, { log2n: 10, r: 8, p: 1 });
export const secrets = new ScopeSecrets(seal, slots, recordHash);

export function input(text: string | Buffer): SecretInput {
  const secret = new SecretInput();
  secret.append(Buffer.from(text));
  return secret;
}

/** A new scope with one key-file slot. */
export async function freshScope(): Promise<{
  context: ScopeContext;
  rows: ScopeSecretRows;
  secret: Secret;
  key: Buffer;
}> {
  const context = { volume, scope: freshId<ScopeId>() };
  const key = randomBytes(32);
  const secret = secrets.fresh();
  const row = { parent: undefined, path: Buffer.from('p'), created: 7 };
  const rows = await secrets.create(context, row, { type: 'keyfile', input: input(key) }, secret);
  return { context, rows, secret, key };
}
