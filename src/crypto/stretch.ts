import type { Address } from '../libc/ffi.js';
import { type Pinned, pinned, type Secret } from '../libc/memory.js';
import { hmac, ignored, must, scrypt, sha256 } from './evp.js';

/** Cost of scrypt (RFC 7914): N = 2^log2n, r, p. Memory is 128 * N * r bytes. */
export interface ScryptCost {
  log2n: number;
  r: number;
  p: number;
}
/** 128 MiB and about 0.75 s here (FACTS.md). */
export const defaultCost: ScryptCost = { log2n: 17, r: 8, p: 1 };

/** Bounds for a stored cost: an edited row must neither weaken a passphrase nor exhaust the machine. */
export function costIsSane(cost: ScryptCost): boolean {
  return (
    Number.isInteger(cost.log2n) &&
    cost.log2n >= 10 &&
    cost.log2n <= 20 &&
    Number.isInteger(cost.r) &&
    cost.r >= 1 &&
    cost.r <= 16 &&
    Number.isInteger(cost.p) &&
    cost.p >= 1 &&
    cost.p <= 4
  );
}

/**
 * scrypt (RFC 7914) on a thread of the pool: `length` bytes at `secret` into `out`. Their memory must stay until it
 * resolves.
 */
export async function stretch(
  secret: Address,
  length: number,
  salt: Pinned,
  cost: ScryptCost,
  out: Secret,
): Promise<void> {
  const { log2n, r, p } = cost;
  const n = 2 ** log2n;
  const memory = 128 * n * r + 2 ** 20 * 4;
  must(
    await scrypt(secret, length, salt.address, salt.bytes.length, n, r, p, memory, out.address, out.length),
    'EVP_PBE_scrypt',
  );
}

/** For secrets that are random already (key files): HMAC-SHA-256(salt, secret), HKDF's extract step (RFC 5869). */
export function extract(secret: Address, length: number, salt: Pinned, out: Secret): void {
  hmac(sha256, salt.address, salt.bytes.length, secret, length, out.address, ignored.address);
}

export function saltOf(bytes: Buffer): Pinned {
  const salt = pinned(bytes.length);
  bytes.copy(salt.bytes);
  return salt;
}
