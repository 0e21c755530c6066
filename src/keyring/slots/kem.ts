import type { Secret } from '../../libc/memory.js';

/**
 * The key pairs of slots. What is secret comes and goes in secret memory; the work itself happens where its copies
 * end with the process (service/secrets/kem.ts).
 */
export interface Kem {
  /** A fresh key pair, and a secret shared with it at once. */
  generate(): Promise<{ privateHalf: Secret; publicKey: Buffer; ciphertext: Buffer; shared: Secret }>;
  /** A secret shared with each of these public keys. */
  encapsulate(publicKeys: readonly Buffer[]): Promise<{ ciphertext: Buffer; shared: Secret }[]>;
  /** The secret behind a ciphertext. A changed one gives another secret. */
  decapsulate(privateHalf: Secret, ciphertext: Buffer): Promise<Secret>;
}
