import { randomBytes } from 'node:crypto';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { test } from 'tap';
import { copyMemory, pinned, type Secret, SecretMemory } from '../libc/memory.js';
import type { AeadSuite } from './aead.js';
import { defaultSuite, suiteName, suiteNames, suites } from './suites.js';

/** One contract, every suite. */
const memory = new SecretMemory(256);
const io = pinned(1 << 20);
const OUT = 1 << 19;
const BACK = 3 << 18;

function secretOf(bytes: Buffer): Secret {
  const secret = memory.allocate(bytes.length);
  const from = pinned(bytes.length);
  bytes.copy(from.bytes);
  copyMemory(secret.address, from.address, bytes.length);
  return secret;
}
interface Case {
  suite: AeadSuite;
  key: Buffer;
  nonce: Buffer;
  data: Buffer;
  plaintext: Buffer;
}
function seal({ suite, key, nonce, data, plaintext }: Case): Buffer {
  const secret = secretOf(key);
  const aead = suite.key(secret);
  nonce.copy(io.bytes, 0);
  data.copy(io.bytes, 64);
  plaintext.copy(io.bytes, 4096);
  const at = io.address;
  aead.seal(io, 0, at + 64, data.length, at + 4096, plaintext.length, at + OUT);
  aead.close();
  secret.wipe();
  return Buffer.from(io.bytes.subarray(OUT, OUT + plaintext.length + 16));
}
function open({ suite, key, nonce, data }: Case, sealed: Buffer): Buffer | undefined {
  const secret = secretOf(key);
  const aead = suite.key(secret);
  nonce.copy(io.bytes, 0);
  data.copy(io.bytes, 64);
  sealed.copy(io.bytes, OUT);
  const length = sealed.length - 16;
  const at = io.address;
  const opened = aead.open(io, 0, at + 64, data.length, at + OUT, length, at + BACK);
  aead.close();
  secret.wipe();
  return opened ? Buffer.from(io.bytes.subarray(BACK, BACK + length)) : undefined;
}
const flipped = (bytes: Buffer, bit: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
};

for (const name of suiteNames) {
  test(`${name}: what was sealed opens, at every length and with any associated data`, async (t) => {
    const suite = suites[name].make(memory);
    for (const length of [0, 1, 15, 16, 17, 63, 64, 65, 4095, 4096, 16_384, 65_536]) {
      const one = {
        suite,
        key: randomBytes(32),
        nonce: randomBytes(24),
        data: randomBytes(length % 50),
        plaintext: randomBytes(length),
      };
      const sealed = seal(one);
      t.equal(sealed.length, length + 16);
      t.ok(open(one, sealed)?.equals(one.plaintext), `${length} bytes`);
    }
  });

  test(`${name}: every flipped bit of nonce, data, ciphertext, tag or key is refused`, async (t) => {
    const suite = suites[name].make(memory);
    const one = {
      suite,
      key: randomBytes(32),
      nonce: randomBytes(24),
      data: randomBytes(16),
      plaintext: randomBytes(20),
    };
    const sealed = seal(one);
    for (const part of ['key', 'nonce', 'data'] as const) {
      for (let bit = 0; bit < one[part].length * 8; bit++) {
        if (open({ ...one, [part]: flipped(one[part], bit) }, sealed) !== undefined) t.fail(`${part} ${bit}`);
      }
    }
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      if (open(one, flipped(sealed, bit)) !== undefined) t.fail(`bit ${bit}`);
    }
    t.equal(open(one, sealed.subarray(0, sealed.length - 1)), undefined, 'cut short');
    t.ok(open(one, sealed), 'the whole one opens');
  });

  test(`${name}: nonces never repeat, and a wiped key is dead`, async (t) => {
    const suite = suites[name].make(memory);
    const secret = secretOf(randomBytes(32));
    const key = suite.key(secret);
    const seen = new Set<string>();
    for (let i = 0; i < 200; i++) {
      key.nonces(io, 0, 32, 20);
      for (let k = 0; k < 20; k++) seen.add(io.bytes.toString('hex', k * 32, k * 32 + 24));
    }
    t.equal(seen.size, 4000);
    key.close();
    secret.wipe();
    t.throws(() => {
      key.nonces(io, 0, 32, 1);
      key.seal(io, 0, 0, 0, io.address + 4096, 5, io.address + OUT);
    }, /wiped/);
  });

  test(`${name}: forgetting between two uses changes no result`, async (t) => {
    const suite = suites[name].make(memory);
    const one = {
      suite,
      key: randomBytes(32),
      nonce: randomBytes(24),
      data: Buffer.alloc(0),
      plaintext: randomBytes(100),
    };
    const before = seal(one);
    suite.forget();
    t.same(seal(one), before);
    t.equal(suiteName(suite.id), name);
  });
}

test('xchacha agrees with @noble/ciphers and with the published vector', async (t) => {
  const suite = suites.xchacha.make(memory);
  // draft-irtf-cfrg-xchacha-03, A.3.1.
  const vector = {
    suite,
    key: Buffer.from(Array.from({ length: 32 }, (_, i) => 0x80 + i)),
    nonce: Buffer.from(Array.from({ length: 24 }, (_, i) => 0x40 + i)),
    data: Buffer.from('50515253c0c1c2c3c4c5c6c7', 'hex'),
    plaintext: Buffer.from(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    ),
  };
  const sealed = seal(vector);
  t.equal(sealed.toString('hex', 0, 16), 'bd6d179d3e83d43b9576579493c0e939');
  t.equal(sealed.toString('hex', sealed.length - 16), 'c0875924c1c7987947deafd8780acf49');
  for (let round = 0; round < 60; round++) {
    const one = {
      suite,
      key: randomBytes(32),
      nonce: randomBytes(24),
      data: randomBytes(round % 40),
      plaintext: randomBytes(round * 31),
    };
    const noble = xchacha20poly1305(one.key, one.nonce, one.data).encrypt(one.plaintext);
    t.same(seal(one), Buffer.from(noble), `round ${round}`);
  }
});

test('the default suite follows the processor', async (t) => {
  t.equal(defaultSuite('flags\t\t: fpu vme aes avx'), 'xaes');
  t.equal(defaultSuite('Features\t: fp asimd aes pmull'), 'xaes');
  t.equal(defaultSuite('flags\t\t: fpu vme'), 'xchacha');
  t.equal(defaultSuite('Features\t: fp asimd'), 'xchacha');
  t.equal(suiteName(3), undefined);
});
