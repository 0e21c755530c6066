import { X_WING } from '../../crypto/x-wing-sizes.js';
import type { Kem } from '../../keyring/slots/kem.js';
import type { Secret, SecretMemory } from '../../libc/memory.js';
import { inChild } from './secret-child.js';

const { privateBytes, sharedBytes } = X_WING;

/** Key pairs in a process of their own for each operation. */
export class ChildKem implements Kem {
  readonly #memory: SecretMemory;
  constructor(memory: SecretMemory) {
    this.#memory = memory;
  }

  async generate(): ReturnType<Kem['generate']> {
    const { answer, secrets } = await inChild(this.#memory, { op: 'generate' }, [privateBytes, sharedBytes]);
    const [privateHalf, shared] = secrets as [Secret, Secret];
    const publicKey = Buffer.from(answer.publicKey ?? '', 'base64');
    const ciphertext = Buffer.from(answer.ciphertexts?.[0] ?? '', 'base64');
    return { privateHalf, publicKey, ciphertext, shared };
  }

  async encapsulate(publicKeys: readonly Buffer[]): ReturnType<Kem['encapsulate']> {
    const keys = publicKeys.map((key) => key.toString('base64'));
    const lengths = keys.map(() => sharedBytes);
    const { answer, secrets } = await inChild(this.#memory, { op: 'encapsulate', publicKeys: keys }, lengths);
    return secrets.map((shared, i) => ({
      ciphertext: Buffer.from(answer.ciphertexts?.[i] ?? '', 'base64'),
      shared,
    }));
  }

  async decapsulate(privateHalf: Secret, ciphertext: Buffer): Promise<Secret> {
    const request = { op: 'decapsulate', ciphertext: ciphertext.toString('base64') } as const;
    const { secrets } = await inChild(this.#memory, request, [sharedBytes], [privateHalf]);
    return secrets[0] as Secret;
  }
}
