import { createCipheriv, randomBytes } from 'node:crypto';
import { gcm } from '@noble/ciphers/aes.js';
import { test } from 'tap';
import { copyMemory, ioBuffer, type Pinned, pinned, type Secret, SecretMemory } from '../libc/memory.js';
import { ContextPool } from './context-pool.js';
import { contextNew } from './evp.js';
import { Xaes256Gcm } from './xaes.js';

const memory = new SecretMemory(64);
const io = ioBuffer(1 << 20);

function secretOf(bytes: Uint8Array): Secret {
  const secret = memory.allocate(bytes.length);
  const from = pinned(bytes.length);
  from.bytes.set(bytes);
  copyMemory(secret.address, from.address, bytes.length);
  return secret;
}

/** XAES-256-GCM from AES blocks (node:crypto ECB) and @noble/ciphers' GCM: independent of the code under test. */
function oracle(key: Buffer, nonce: Buffer, data: Buffer, plaintext: Buffer): Buffer {
  const block = (input: Buffer): Buffer => {
    const ecb = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
    return ecb.update(input);
  };
  let k1 = BigInt(`0x${block(Buffer.alloc(16)).toString('hex')}`) << 1n;
  if (k1 >> 128n) k1 = (k1 & ((1n << 128n) - 1n)) ^ 0x87n;
  const mask = Buffer.from(k1.toString(16).padStart(32, '0'), 'hex');
  const half = (counter: number): Buffer => {
    const input = Buffer.concat([Buffer.from([0, counter, 0x58, 0]), nonce.subarray(0, 12)]);
    return block(Buffer.from(input.map((byte, i) => byte ^ (mask[i] as number))));
  };
  const subkey = Buffer.concat([half(1), half(2)]);
  return Buffer.from(gcm(subkey, nonce.subarray(12), data).encrypt(plaintext));
}

function put(nonce: Buffer, data: Buffer, plaintext: Buffer): Pinned {
  nonce.copy(io.bytes, 0);
  data.copy(io.bytes, 64);
  plaintext.copy(io.bytes, 4096);
  return io;
}
const OUT = 1 << 19;

test('the published C2SP vectors', async (t) => {
  const suite = new Xaes256Gcm(memory);
  const rows = [
    { key: 1, data: '', hex: 'ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271' },
    {
      key: 3,
      data: 'c2sp.org/XAES-256-GCM',
      hex: '986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d',
    },
  ];
  for (const row of rows) {
    const key = suite.key(secretOf(Buffer.alloc(32, row.key)));
    const plaintext = Buffer.from('XAES-256-GCM');
    put(Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWX'), Buffer.from(row.data), plaintext);
    key.seal(io, 0, io.address + 64, row.data.length, io.address + 4096, 12, io.address + OUT);
    t.equal(io.bytes.toString('hex', OUT, OUT + 28), row.hex);
    t.ok(key.open(io, 0, io.address + 64, row.data.length, io.address + OUT, 12, io.address + 8192));
    t.equal(io.bytes.toString('latin1', 8192, 8204), 'XAES-256-GCM');
    key.close();
  }
  t.equal(suite.pool.live, 0, 'closing a key gives its contexts back');
});

test('agrees with an oracle from @noble/ciphers on random keys, nonces, data and lengths', async (t) => {
  const suite = new Xaes256Gcm(memory, undefined, 3);
  for (let round = 0; round < 60; round++) {
    const secretBytes = randomBytes(32);
    const secret = secretOf(secretBytes);
    const key = suite.key(secret);
    const nonce = randomBytes(24);
    const data = randomBytes(round % 40);
    const plaintext = randomBytes([0, 1, 15, 16, 17, 4096, 16384][round % 7] as number);
    put(nonce, data, plaintext);
    key.seal(io, 0, io.address + 64, data.length, io.address + 4096, plaintext.length, io.address + OUT);
    const sealed = Buffer.from(io.bytes.subarray(OUT, OUT + plaintext.length + 16));
    t.same(sealed, oracle(secretBytes, nonce, data, plaintext), `round ${round}`);
    const at = OUT + ((round * 7919) % sealed.length);
    io.bytes[at] = (io.bytes[at] as number) ^ (1 << (round % 8));
    t.notOk(
      key.open(io, 0, io.address + 64, data.length, io.address + OUT, plaintext.length, io.address + 40000),
      'one flipped bit is refused',
    );
    secret.wipe();
  }
});

test('nonces: one prefix for a session, fresh suffixes, a new prefix after a minute and after a clock jump', async (t) => {
  let now = 1000;
  const suite = new Xaes256Gcm(memory, { boottime: () => now, wall: () => 0 });
  const key = suite.key(secretOf(randomBytes(32)));
  const prefix = (): string => {
    key.nonces(io, 0, 100, 3);
    const found = [0, 100, 200].map((at) => io.bytes.toString('hex', at, at + 24));
    t.equal(new Set(found).size, 3, 'nonces differ');
    t.equal(new Set(found.map((nonce) => nonce.slice(0, 24))).size, 1, 'prefixes agree');
    return (found[0] as string).slice(0, 24);
  };
  const first = prefix();
  t.equal(prefix(), first);
  now += 60_001;
  const second = prefix();
  t.not(second, first, 'a minute later');
  now -= 5_000;
  t.not(prefix(), second, 'the clock stepped back');
});

test('a stolen context costs its holder a key set-up, not a wrong result', async (t) => {
  const suite = new Xaes256Gcm(memory, undefined, 2);
  const keys = [1, 2, 3, 4].map((fill) => suite.key(secretOf(Buffer.alloc(32, fill))));
  const nonce = randomBytes(24);
  const plaintext = Buffer.from('chunk');
  for (let round = 0; round < 12; round++) {
    const which = round % 4;
    put(nonce, Buffer.alloc(0), plaintext);
    keys[which]?.seal(io, 0, 0, 0, io.address + 4096, 5, io.address + OUT);
    t.same(
      io.bytes.subarray(OUT, OUT + 21),
      oracle(Buffer.alloc(32, which + 1), nonce, Buffer.alloc(0), plaintext),
    );
  }
});

test('the pool never makes more contexts than its limit', async (t) => {
  const lost: number[] = [];
  const pool = new ContextPool(2);
  const holder = { lost: (context: number) => lost.push(context) };
  const a = pool.take(holder);
  pool.take(holder);
  t.equal(pool.take(holder), a, 'the oldest is taken back');
  t.same(lost, [a]);
  t.not(contextNew(), 0);
});
