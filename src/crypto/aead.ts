import type { Address } from '../libc/ffi.js';
import type { Pinned, Secret } from '../libc/memory.js';

/** Bytes of a nonce and of a tag: the same in every suite, so that the stored format has one geometry. */
export const NONCE_BYTES = 24;
export const TAG_BYTES = 16;

/** An AEAD key in use. All lengths are bytes. Not thread-safe: it belongs to one thread. */
export interface AeadKey {
  /**
   * Writes `count` fresh nonces, the first at `into.bytes[at]`, the next `stride` bytes further. Every nonce may be
   * used for one seal only.
   */
  nonces(into: Pinned, at: number, stride: number, count: number): void;
  /** Encrypts `length` bytes to `out` (ciphertext, then the tag) under the nonce at `nonce.bytes[nonceAt]`. */
  seal(
    nonce: Pinned,
    nonceAt: number,
    data: Address,
    dataLength: number,
    plaintext: Address,
    length: number,
    out: Address,
  ): void;
  /**
   * Decrypts `length` bytes of ciphertext, followed by the tag, to `out`. False where the tag does not match: then
   * `out` holds garbage that must not be shown.
   */
  open(
    nonce: Pinned,
    nonceAt: number,
    data: Address,
    dataLength: number,
    ciphertext: Address,
    length: number,
    out: Address,
  ): boolean;
  /** Resets its contexts (they hold copies of the key schedule). The key itself belongs to its {@link Secret}. */
  close(): void;
}

/** A cipher suite: what the volume record's `suite` byte selects. */
export interface AeadSuite {
  /** As stored. */
  readonly id: number;
  readonly name: string;
  key(secret: Secret): AeadKey;
  /** Drops what deriving keys left in memory. Called when a scope is locked. */
  forget(): void;
}
