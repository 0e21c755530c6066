import type { Clock } from '../base/clock.js';
import { type Pinned, pinned, randomFill, type Secret, type SecretMemory } from '../libc/memory.js';
import { systemClock } from '../libc/system.js';
import { type AeadKey, type AeadSuite, NONCE_BYTES } from './aead.js';
import { type ContextHolder, ContextPool } from './context-pool.js';
import { cipher, cipherInit, cipherUpdate, contextNew, contextReset, ignored, must } from './evp.js';
import { EvpKey } from './evp-key.js';

/**
 * XAES-256-GCM (C2SP/XAES-256-GCM.md): the first 12 nonce bytes select a subkey, the last 12 are GCM's nonce. The
 * subkey is kept for a prefix, so frames of one writing session cost no key schedule each.
 */

/** A prefix serves so many seals and so long: 12 random suffix bytes stay far from a collision, and a restored
 * snapshot of a running machine soon leaves the prefix that its twin uses (suffixes come from the kernel anyway). */
const PREFIX_SEALS = 2 ** 30;
const PREFIX_MS = 60_000;

const PREFIX_BYTES = 12;

class Subkeys {
  // AES-256 blocks of the derivation: in secret memory, as K1 and the subkey are keys.
  readonly #scratch: Secret;
  readonly #blocks: Pinned = pinned(32);
  readonly #context = Number(contextNew());

  constructor(memory: SecretMemory) {
    this.#scratch = memory.allocate(64);
  }

  /** Initialises `context` for AES-256-GCM under the subkey of `key` and the prefix at `nonce.bytes[at]`. */
  into(context: number, key: Secret, nonce: Pinned, at: number, encrypt: number): void {
    const scratch = this.#scratch.address;
    const blocks = this.#blocks.bytes;
    must(cipherInit(this.#context, cipher('AES-256-ECB'), 0, key.address, 0, 1), 'EVP_CipherInit');
    // K1 = the CMAC subkey: AES(K, 0) doubled in GF(2^128). It is XORed into both blocks, as CMAC does.
    blocks.fill(0);
    must(
      cipherUpdate(this.#context, this.#blocks.address, ignored.address, this.#blocks.address, 16),
      'EVP_CipherUpdate',
    );
    const carry = (blocks[0] as number) >>> 7;
    for (let i = 0; i < 16; i++) {
      const next = i === 15 ? 0 : (blocks[i + 1] as number) >>> 7;
      blocks[i] = (((blocks[i] as number) << 1) | next) & 0xff;
    }
    blocks[15] = (blocks[15] as number) ^ (carry * 0x87);
    blocks.copy(blocks, 16, 0, 16);
    for (let half = 0; half < 2; half++) {
      const o = half * 16;
      blocks[o + 1] = (blocks[o + 1] as number) ^ (half + 1);
      blocks[o + 2] = (blocks[o + 2] as number) ^ 0x58;
      for (let i = 0; i < PREFIX_BYTES; i++) {
        blocks[o + 4 + i] = (blocks[o + 4 + i] as number) ^ (nonce.bytes[at + i] as number);
      }
    }
    must(cipherUpdate(this.#context, scratch, ignored.address, this.#blocks.address, 32), 'EVP_CipherUpdate');
    blocks.fill(0xa5);
    must(cipherInit(context, cipher('AES-256-GCM'), 0, scratch, 0, encrypt), 'EVP_CipherInit');
  }

  /** Drops the schedule of the key used last and the last subkey. */
  forget(): void {
    contextReset(this.#context);
    randomFill(this.#scratch.address, 64);
  }
}

/** A context that is set up for one nonce prefix, or for none. */
class Keyed {
  context = 0;
  a = 0;
  b = 0;
  c = 0;
  matches(nonce: Buffer, at: number): boolean {
    return (
      this.context !== 0 &&
      this.a === nonce.readInt32LE(at) &&
      this.b === nonce.readInt32LE(at + 4) &&
      this.c === nonce.readInt32LE(at + 8)
    );
  }
  set(nonce: Buffer, at: number): void {
    this.a = nonce.readInt32LE(at);
    this.b = nonce.readInt32LE(at + 4);
    this.c = nonce.readInt32LE(at + 8);
  }
}

class XaesKey extends EvpKey implements ContextHolder {
  readonly #suite: Xaes256Gcm;
  readonly #secret: Secret;
  readonly #sealing = new Keyed();
  readonly #opening = new Keyed();
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #seals = PREFIX_SEALS;
  #born = 0;

  constructor(suite: Xaes256Gcm, secret: Secret) {
    super();
    this.#suite = suite;
    this.#secret = secret;
  }

  nonces(into: Pinned, at: number, stride: number, count: number): void {
    const now = this.#suite.clock.boottime();
    const age = now - this.#born;
    const renew = this.#seals + count > PREFIX_SEALS || age > PREFIX_MS || age < 0;
    if (renew) {
      this.#seals = 0;
      this.#born = now;
    }
    this.#seals += count;
    this.#suite.suffixes(into.bytes, at + PREFIX_BYTES, stride, count, renew ? this.#prefix : undefined);
    for (let i = 0; i < count; i++) {
      this.#prefix.copy(into.bytes, at + i * stride);
    }
  }

  protected context(nonce: Pinned, at: number, encrypt: 0 | 1): number {
    const keyed = encrypt === 1 ? this.#sealing : this.#opening;
    if (!keyed.matches(nonce.bytes, at)) {
      if (keyed.context === 0) keyed.context = this.#suite.pool.take(this);
      this.#suite.subkeys.into(keyed.context, this.#secret, nonce, at, encrypt);
      keyed.set(nonce.bytes, at);
    }
    const suffix = nonce.address + at + PREFIX_BYTES;
    must(cipherInit(keyed.context, 0, 0, 0, suffix, encrypt), 'EVP_CipherInit');
    return keyed.context;
  }

  lost(context: number): void {
    if (this.#sealing.context === context) this.#sealing.context = 0;
    if (this.#opening.context === context) this.#opening.context = 0;
  }

  close(): void {
    for (const keyed of [this.#sealing, this.#opening]) {
      const context = keyed.context;
      keyed.context = 0;
      if (context !== 0) this.#suite.pool.give(context);
    }
  }
}

const SUFFIX_BYTES = NONCE_BYTES - PREFIX_BYTES;

export class Xaes256Gcm implements AeadSuite {
  readonly id = 1;
  readonly name = 'XAES-256-GCM';
  readonly pool: ContextPool;
  readonly subkeys: Subkeys;
  readonly clock: Clock;
  // A 1 MiB write in chunks of 4 KiB needs 257 suffixes of 12 bytes.
  readonly #random = pinned(4096);

  constructor(memory: SecretMemory, clock: Clock = systemClock, contexts = 256) {
    this.pool = new ContextPool(contexts);
    this.subkeys = new Subkeys(memory);
    this.clock = clock;
  }

  key(secret: Secret): AeadKey {
    return new XaesKey(this, secret);
  }

  /** Writes fresh nonce suffixes from the kernel, and a fresh prefix where one is given: one call where all fit. */
  suffixes(into: Buffer, at: number, stride: number, count: number, prefix?: Buffer): void {
    const { bytes, address } = this.#random;
    const batch = Math.floor(bytes.length / SUFFIX_BYTES) - 1;
    let extra = prefix === undefined ? 0 : PREFIX_BYTES;
    for (let done = 0; done < count; ) {
      const now = Math.min(batch, count - done);
      randomFill(address, extra + now * SUFFIX_BYTES);
      if (extra > 0) prefix?.set(bytes.subarray(0, PREFIX_BYTES));
      for (let i = 0; i < now; i++) {
        const from = extra + i * SUFFIX_BYTES;
        bytes.copy(into, at + (done + i) * stride, from, from + SUFFIX_BYTES);
      }
      extra = 0;
      done += now;
    }
  }

  /** Drops what the derivation of subkeys left in memory. Called when a scope is locked. */
  forget(): void {
    this.subkeys.forget();
  }
}
