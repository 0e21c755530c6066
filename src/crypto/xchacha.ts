import { viewAt } from '../libc/ffi.js';
import { type Pinned, pinned, randomFill, type Secret, type SecretMemory } from '../libc/memory.js';
import { type AeadKey, type AeadSuite, NONCE_BYTES } from './aead.js';
import { cipher, cipherInit, cipherUpdate, contextNew, contextReset, ignored, must } from './evp.js';
import { EvpKey } from './evp-key.js';

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

class XChaChaKey extends EvpKey {
  readonly #suite: XChaCha20Poly1305;
  readonly #secret: Secret;

  constructor(suite: XChaCha20Poly1305, secret: Secret) {
    super();
    this.#suite = suite;
    this.#secret = secret;
  }

  nonces(into: Pinned, at: number, stride: number, count: number): void {
    for (let i = 0; i < count; i++) randomFill(into.address + at + i * stride, NONCE_BYTES);
  }

  protected context(nonce: Pinned, at: number, encrypt: 0 | 1): number {
    return this.#suite.keyed(this.#secret, nonce, at, encrypt);
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
