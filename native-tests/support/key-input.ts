import { SecretInput } from '../../src/libc/memory.js';

/** A key as a caller of the API hands it over. */
export function inputOf(key: Buffer): SecretInput {
  const input = new SecretInput();
  input.append(Buffer.from(key));
  return input;
}
