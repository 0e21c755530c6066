import { EPOCH_SLOTS } from '../../crypto/scope-keys.js';
import { copyMemory, type Secret, type SecretMemory } from '../../libc/memory.js';

/** The secret memory of the core, as far as scopes are concerned that are unlocked. */
export class KeyMemory {
  readonly #memory: SecretMemory;

  constructor(memory: SecretMemory) {
    this.#memory = memory;
  }

  /** Whether a scope with so many epochs can be unlocked. */
  hasRoom(epochs: number): boolean {
    return this.#memory.free >= epochs * EPOCH_SLOTS;
  }
  /** Takes a copy of a secret of 32 bytes that the main thread lends until the answer. */
  adopt(address: number): Secret {
    const secret = this.#memory.allocate(32);
    copyMemory(secret.address, address, 32);
    return secret;
  }
}
