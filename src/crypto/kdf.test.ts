import { createHmac, hkdfSync, randomBytes, scryptSync } from 'node:crypto';
import { aessiv } from '@noble/ciphers/aes.js';
import { test } from 'tap';
import { copyMemory, pinned, type Secret, SecretMemory } from '../libc/memory.js';
import { derive, kdfLabels, shortMac } from './kdf.js';
import { SivKey } from './siv.js';
import { costIsSane, extract, saltOf, stretch } from './stretch.js';

const memory = new SecretMemory(64);
const scratch = pinned(4096);

function secretOf(bytes: Buffer): Secret {
  const secret = memory.allocate(bytes.length);
  bytes.copy(scratch.bytes);
  copyMemory(secret.address, scratch.address, bytes.length);
  return secret;
}
function reveal(secret: Secret, length = secret.length): Buffer {
  copyMemory(scratch.address, secret.address, length);
  return Buffer.from(scratch.bytes.subarray(0, length));
}

test('derive is SP 800-108 counter mode with HMAC-SHA-256, for each label', async (t) => {
  const key = randomBytes(32);
  const context = randomBytes(32);
  for (const [label, length] of Object.entries(kdfLabels)) {
    const out = memory.allocate(64);
    derive(secretOf(key), label as keyof typeof kdfLabels, context, out.address);
    const blocks = [1, 2].map((counter) => {
      const input = Buffer.concat([
        Buffer.from([0, 0, 0, counter]),
        Buffer.from(label),
        Buffer.from([0]),
        context,
        Buffer.from([0, 0, (length * 8) >> 8, (length * 8) & 255]),
      ]);
      return createHmac('sha256', key).update(input).digest();
    });
    t.same(reveal(out, length), Buffer.concat(blocks).subarray(0, length), label);
    out.wipe();
  }
});

test('shortMac is the first half of HMAC-SHA-256', async (t) => {
  const key = randomBytes(32);
  const data = pinned(100);
  randomBytes(100).copy(data.bytes);
  const into = Buffer.alloc(20);
  shortMac(secretOf(key), data, 77, into, 4);
  const expected = createHmac('sha256', key).update(data.bytes.subarray(0, 77)).digest();
  t.same(into.subarray(4), expected.subarray(0, 16));
});

test('AES-SIV agrees with @noble/ciphers and refuses a flipped bit anywhere', async (t) => {
  const keyBytes = randomBytes(64);
  const siv = new SivKey(secretOf(keyBytes));
  const io = pinned(1024);
  for (const length of [1, 15, 16, 17, 100, 255]) {
    const data = randomBytes(16);
    const plaintext = randomBytes(length);
    data.copy(io.bytes, 0);
    plaintext.copy(io.bytes, 16);
    siv.seal(io.address, 16, io.address + 16, length, io.address + 300);
    const sealed = Buffer.from(io.bytes.subarray(300, 300 + 16 + length));
    t.same(sealed, Buffer.from(aessiv(keyBytes, data).encrypt(plaintext)), `${length} bytes`);
    t.ok(siv.open(io.address, 16, io.address + 300, length, io.address + 700));
    t.same(io.bytes.subarray(700, 700 + length), plaintext);
    for (const at of [300, 315, 316, 315 + length, 0]) {
      io.bytes[at] = (io.bytes[at] as number) ^ 4;
      t.notOk(siv.open(io.address, 16, io.address + 300, length, io.address + 700), `bit at ${at}`);
      io.bytes[at] = (io.bytes[at] as number) ^ 4;
    }
  }
  siv.close();
});

test('stretch is scrypt, extract is the first step of HKDF', async (t) => {
  const salt = randomBytes(32);
  const cost = { log2n: 10, r: 8, p: 1 };
  const password = Buffer.from('correct horse');
  const secret = secretOf(password);
  const out = memory.allocate(32);
  const expected = scryptSync(password, salt, 32, { N: 1024, r: 8, p: 1 });
  await stretch(secret.address, password.length, saltOf(salt), cost, out);
  t.same(reveal(out), expected);
  extract(secret.address, password.length, saltOf(salt), out);
  const prk = createHmac('sha256', salt).update(password).digest();
  t.same(reveal(out), prk);
  t.ok(hkdfSync('sha256', password, salt, '', 32), 'node has the whole of HKDF');
});

test('a stored scrypt cost outside its bounds is not sane', async (t) => {
  t.ok(costIsSane({ log2n: 17, r: 8, p: 1 }));
  for (const cost of [
    { log2n: 2, r: 8, p: 1 },
    { log2n: 30, r: 8, p: 1 },
    { log2n: 17, r: 0, p: 1 },
    { log2n: 17, r: 8, p: 99 },
    { log2n: 17.5, r: 8, p: 1 },
  ]) {
    t.notOk(costIsSane(cost));
  }
});
