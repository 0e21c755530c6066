import { combine, split } from 'shamir-secret-sharing';

/**
 * Shamir's secret sharing over GF(2^8) (the npm package was audited). In JavaScript: as with x-wing.ts only a
 * short-lived child process may use it.
 */
export const SHAMIR = {
  secretBytes: 32,
  /** A byte a secret byte, and the share's coordinate. */
  shareBytes: 33,
  /** So many a slot may have: a person writes them down. */
  most: 16,
} as const;

/** @throws where `needed` is not 2 to `count`, or `count` more than 255. */
export function splitSecret(secret: Uint8Array, count: number, needed: number): Promise<Uint8Array[]> {
  return split(secret, count, needed);
}
/** Too few shares, or shares of different secrets, give another secret: nothing here can tell. */
export function combineShares(shares: Uint8Array[]): Promise<Uint8Array> {
  return combine(shares);
}
