import { type AeadKey, NONCE_BYTES, TAG_BYTES } from '../crypto/aead.js';
import type { Pinned } from '../libc/memory.js';

/** Bytes that sealing adds to a record. */
export const SEAL_OVERHEAD = NONCE_BYTES + TAG_BYTES;

/**
 * A record at `at`: `clear` bytes, 24 for the nonce, `length` bytes of plaintext, 16 for the tag. Seals it in place;
 * the clear part is the associated data.
 */
export function sealRecord(key: AeadKey, buffer: Pinned, at: number, clear: number, length: number): void {
  const nonce = at + clear;
  const body = buffer.address + nonce + NONCE_BYTES;
  key.nonces(buffer, nonce, 0, 1);
  key.seal(buffer, nonce, buffer.address + at, clear, body, length, body);
}

/** Opens in place what {@link sealRecord} made. False: not authentic, and the bytes are garbage. */
export function openRecord(key: AeadKey, buffer: Pinned, at: number, clear: number, length: number): boolean {
  const nonce = at + clear;
  const body = buffer.address + nonce + NONCE_BYTES;
  return key.open(buffer, nonce, buffer.address + at, clear, body, length, body);
}
