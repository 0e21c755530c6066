/** Descriptors of the child: secrets out, secrets in. */
export const childFd = { out: 3, in: 4 } as const;

export type ChildRequest =
  | { op: 'generate' }
  | { op: 'encapsulate'; publicKeys: string[] }
  | { op: 'decapsulate'; ciphertext: string }
  | { op: 'split'; count: number; needed: number }
  | { op: 'combine'; count: number }
  /** Of so many bytes of text. */
  | { op: 'compose'; bytes: number };
/** What is public of the answer, in base64. */
export interface ChildAnswer {
  readonly publicKey?: string;
  readonly ciphertexts?: string[];
}
