import type { Address } from '../libc/ffi.js';
import type { Pinned } from '../libc/memory.js';
import { type AeadKey, TAG_BYTES } from './aead.js';
import {
  CTRL_GET_TAG,
  CTRL_SET_TAG,
  cipherControl,
  cipherFinal,
  cipherUpdate,
  clearErrors,
  ignored,
  must,
} from './evp.js';

/**
 * A key of an AEAD cipher of EVP (EVP_EncryptInit(3), "AEAD Interface"): one frame is associated data, text and tag. A
 * suite says how a context comes by key and nonce.
 */
export abstract class EvpKey implements AeadKey {
  abstract nonces(into: Pinned, at: number, stride: number, count: number): void;
  abstract close(): void;

  /** A context that is set up for one frame under the nonce at `nonce.bytes[at]`; `encrypt`: 1, or 0 to decrypt. */
  protected abstract context(nonce: Pinned, at: number, encrypt: 0 | 1): number;

  seal(
    nonce: Pinned,
    nonceAt: number,
    data: Address,
    dataLength: number,
    plaintext: Address,
    length: number,
    out: Address,
  ): void {
    const context = this.context(nonce, nonceAt, 1);
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
    const context = this.context(nonce, nonceAt, 0);
    const written = ignored.address;
    must(cipherControl(context, CTRL_SET_TAG, TAG_BYTES, ciphertext + length), 'tag');
    if (dataLength > 0) must(cipherUpdate(context, 0, written, data, dataLength), 'associated data');
    if (length > 0) must(cipherUpdate(context, out, written, ciphertext, length), 'decryption');
    if (cipherFinal(context, ignored.address + 8, written) === 1) return true;
    clearErrors();
    return false;
  }
}
