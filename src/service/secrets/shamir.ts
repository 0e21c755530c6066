import { SHAMIR } from '../../crypto/shamir.js';
import type { Sharing } from '../../keyring/shares/shares.js';
import type { Secret, SecretMemory } from '../../libc/memory.js';
import { inChild } from './secret-child.js';

/** Shamir's sharing in a process of its own for each operation. */
export class ChildSharing implements Sharing {
  readonly #memory: SecretMemory;
  constructor(memory: SecretMemory) {
    this.#memory = memory;
  }

  async split(secret: Secret, count: number, needed: number): Promise<Secret[]> {
    const lengths = Array.from({ length: count }, () => SHAMIR.shareBytes);
    const request = { op: 'split', count, needed } as const;
    return (await inChild(this.#memory, request, lengths, [secret])).secrets;
  }
  async combine(shares: readonly Secret[]): Promise<Secret> {
    const request = { op: 'combine', count: shares.length } as const;
    const { secrets } = await inChild(this.#memory, request, [SHAMIR.secretBytes], shares);
    return secrets[0] as Secret;
  }
}
