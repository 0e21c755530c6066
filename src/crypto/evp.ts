import { Failure } from '../base/failure.js';
import { opensslAsync, opensslFunction } from '../libc/ffi.js';
import { pinned } from '../libc/memory.js';

/**
 * OpenSSL's EVP interface by address: the symbols that the node binary exports, else those of the system's libcrypto
 * (EVP_EncryptInit(3), HMAC(3), EVP_PBE_scrypt(3)). Keys are read where they lie, in secret memory; only a live context holds a copy.
 */
function need<T>(call: T | undefined, name: string): T {
  if (call === undefined) {
    throw new Failure(
      'unsupported_system',
      `neither this node binary nor libcrypto.so.3 has OpenSSL's ${name}`,
      {
        reason: 'openssl_missing',
      },
    );
  }
  return call;
}
const evp = (name: string, result: string, args: string) => need(opensslFunction(name, result, args), name);

const cipherFetch = evp('EVP_CIPHER_fetch', 'p', 'ppp');
export const contextNew = evp('EVP_CIPHER_CTX_new', 'p', '');
export const contextFree = evp('EVP_CIPHER_CTX_free', 'i', 'p');
export const contextReset = evp('EVP_CIPHER_CTX_reset', 'i', 'p');
export const contextCopy = evp('EVP_CIPHER_CTX_copy', 'i', 'pp');
/** (context, cipher, engine, key, iv, encrypt): 1 on success. 0 leaves a parameter as it is. */
export const cipherInit = evp('EVP_CipherInit_ex', 'i', 'pppppi');
/** (context, out, outLength, in, inLength): out 0 means associated data. */
export const cipherUpdate = evp('EVP_CipherUpdate', 'i', 'ppppi');
export const cipherFinal = evp('EVP_CipherFinal_ex', 'i', 'ppp');
export const cipherControl = evp('EVP_CIPHER_CTX_ctrl', 'i', 'piip');
export const clearErrors = evp('ERR_clear_error', 'i', '');
/** (md, key, keyLength, data, dataLength, out, outLength). */
export const hmac = evp('HMAC', 'p', 'ppipppp');
export const sha256 = Number(evp('EVP_sha256', 'p', '')());
/** (password, length, salt, length, N, r, p, maxMemory, out, outLength), on a thread of the pool. */
export const scrypt = need(opensslAsync('EVP_PBE_scrypt', 'i', 'pppppppppp'), 'EVP_PBE_scrypt');

export const CTRL_GET_TAG = 0x10;
export const CTRL_SET_TAG = 0x11;

/** Where EVP writes lengths that we know already, and empty finals. */
export const ignored = pinned(32);

const fetched = new Map<string, number>();
/** A cipher, fetched once a thread: an implicit fetch on each init is slow (FACTS.md). */
export function cipher(name: string): number {
  let found = fetched.get(name);
  if (found === undefined) {
    const text = pinned(32);
    text.bytes.write(name);
    found = Number(cipherFetch(0, text.address, 0));
    if (found === 0) {
      throw new Failure('unsupported_system', `OpenSSL has no ${name}`);
    }
    fetched.set(name, found);
  }
  return found;
}

/** Passes 1 on; anything else is a bug or no memory, never a matter of input. */
export function must(result: number, call: string): void {
  if (result !== 1) {
    clearErrors();
    throw new Error(`OpenSSL's ${call} failed`);
  }
}
