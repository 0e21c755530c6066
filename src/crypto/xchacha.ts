import type { Address } from '../libc/ffi.js';
import { viewAt } from '../libc/ffi.js';
import { type Pinned, pinned, randomFill, type Secret, type SecretMemory } from '../libc/memory.js';
import { type AeadKey, type AeadSuite, NONCE_BYTES, TAG_BYTES } from './aead.js';
import {
  CTRL_GET_TAG,
  CTRL_SET_TAG,
  cipher,
  cipherControl,
  cipherFinal,
  cipherInit,
  cipherUpdate,
  clearErrors,
  contextNew,
  contextReset,
  ignored,
  must,
} from './evp.js';

/**
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): for processors without AES instructions. Every frame has 24 fresh
 * random bytes and so a subkey of its own: HChaCha20 of the key and the first 16, then ChaCha20-Poly1305 (RFC 8439)
 * with four zeros and the last 8.
 */

/** "expand 32-byte k", the constants of ChaCha20's state. */
const CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;
const HASHED = 16;
const BLOCK = 64;
const zeros = pinned(BLOCK);
const iv = pinned(12);

class XChaChaKey implements AeadKey {
  readonly #suite: XChaCha20Poly1305;
  readonly #secret: Secret;

  constructor(suite: XChaCha20Poly1305, secret: Secret) {
    this.#suite = suite;
    this.#secret = secret;
  }

  nonces(into: Pinned, at: number, stride: number, count: number): void {
    for (let i = 0; i < count; i++) randomFill(into.address + at + i * stride, NONCE_BYTES);
  }

  seal(
    nonce: Pinned,
    nonceAt: number,
    data: Address,
    dataLength: number,
    plaintext: Address,
    length: number,
    out: Address,
  ): void {
    const context = this.#suite.keyed(this.#secret, nonce, nonceAt, 1);
    const written = ignored.address;
    if (dataLength > 0) must(cipherUpdate(context, 0, written, data, dataLength), 'associated data');
    if (length > 0) must(cipherUpdate(context, out, written, plaintext, length), 'encryption');
    must(cipherFinal(context, out + length, written), 'EVP_CipherFinal');
    must(cipherControl(context, CTRL_GET_TAG, TAG_BYTES, out + length), 'tag');
  }

  open(
    nonce: Pinned,
    nonceAt: number,
    data: Address,
    dataLength: number,
    ciphertext: Address,
    length: number,
    out: Address,
  ): boolean {
    const context = this.#suite.keyed(this.#secret, nonce, nonceAt, 0);
    const written = ignored.address;
    must(cipherControl(context, CTRL_SET_TAG, TAG_BYTES, ciphertext + length), 'tag');
    if (dataLength > 0) must(cipherUpdate(context, 0, written, data, dataLength), 'associated data');
    if (length > 0) must(cipherUpdate(context, out, written, ciphertext, length), 'decryption');
    if (cipherFinal(context, ignored.address + 8, written) === 1) return true;
    clearErrors();
    return false;
  }

  close(): void {
    this.#suite.forget();
  }
}

export class XChaCha20Poly1305 implements AeadSuite {
  readonly id = 2;
  readonly name = 'XChaCha20-Poly1305';
  readonly #block: Secret;
  /** The block as words. 32-bit integers are never boxed: nothing of it gets into the heap. */
  readonly #words: Int32Array;
  readonly #stream = Number(contextNew());
  readonly #aead = Number(contextNew());

  constructor(memory: SecretMemory) {
    this.#block = memory.allocate(BLOCK);
    const view = viewAt(this.#block.address, BLOCK);
    this.#words = new Int32Array(view.buffer, view.byteOffset, BLOCK / 4);
  }

  key(secret: Secret): AeadKey {
    return new XChaChaKey(this, secret);
  }

  /** The context, set up for one frame. */
  keyed(key: Secret, nonce: Pinned, at: number, encrypt: number): number {
    const block = this.#block.address;
    const written = ignored.address;
    // A ChaCha20 block is its rounds' result plus its first state: take that away again, and HChaCha20 is left.
    must(
      cipherInit(this.#stream, cipher('ChaCha20'), 0, key.address, nonce.address + at, 1),
      'EVP_CipherInit',
    );
    must(cipherUpdate(this.#stream, block, written, zeros.address, BLOCK), 'EVP_CipherUpdate');
    const words = this.#words;
    for (let i = 0; i < 4; i++) {
      words[i] = ((words[i] as number) - (CONSTANTS[i] as number)) | 0;
      words[4 + i] = ((words[12 + i] as number) - nonce.bytes.readInt32LE(at + 4 * i)) | 0;
    }
    nonce.bytes.copy(iv.bytes, 4, at + HASHED, at + NONCE_BYTES);
    const suite = cipher('ChaCha20-Poly1305');
    must(cipherInit(this.#aead, suite, 0, block, iv.address, encrypt), 'EVP_CipherInit');
    return this.#aead;
  }

  forget(): void {
    contextReset(this.#stream);
    contextReset(this.#aead);
    randomFill(this.#block.address, BLOCK);
  }
}
