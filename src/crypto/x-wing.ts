import { ml_kem768_x25519 as kem } from '@noble/post-quantum/hybrid.js';

/**
 * X-Wing (draft-connolly-cfrg-xwing-kem: X25519 with ML-KEM-768). In JavaScript, so its secrets pass through the
 * heap: only a short-lived child process may use it (service/secrets/secret-child-main.ts).
 */

/** A fresh key pair. */
export function generate(): { privateHalf: Uint8Array; publicKey: Uint8Array } {
  const { secretKey, publicKey } = kem.keygen();
  return { privateHalf: secretKey, publicKey };
}
/** @throws where the public key is not one. */
export function encapsulate(publicKey: Uint8Array): { ciphertext: Uint8Array; shared: Uint8Array } {
  const { cipherText, sharedSecret } = kem.encapsulate(publicKey);
  return { ciphertext: cipherText, shared: sharedSecret };
}
/** A changed ciphertext gives another secret, not an error (implicit rejection, FIPS 203). */
export function decapsulate(privateHalf: Uint8Array, ciphertext: Uint8Array): Uint8Array {
  return kem.decapsulate(ciphertext, privateHalf);
}
