import type { AeadKey } from '../crypto/aead.js';
import { Xaes256Gcm } from '../crypto/xaes.js';
import { randomFill, SecretMemory } from '../libc/memory.js';

/** Test support: keys to seal records with. */
const memory = new SecretMemory(64);
const suite = new Xaes256Gcm(memory);

export function freshKey(): AeadKey {
  const secret = memory.allocate(32);
  randomFill(secret.address, secret.length);
  return suite.key(secret);
}
