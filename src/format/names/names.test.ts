import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'tap';
import { SivKey } from '../../crypto/siv.js';
import { randomFill, SecretMemory } from '../../libc/memory.js';
import {
  LONG_PREFIX,
  NAME_MAX,
  readLongName,
  readName,
  SIDE_BYTES,
  SIDE_PREFIX,
  sideName,
  storeName,
} from './names.js';

const memory = new SecretMemory(64);
function freshKey(): SivKey {
  const secret = memory.allocate(64);
  randomFill(secret.address, secret.length);
  return new SivKey(secret);
}
const key = freshKey();
const other = freshKey();
const home = Buffer.alloc(16, 1);
const away = Buffer.alloc(16, 2);

/** Any name of raw bytes: neither NUL nor a slash. */
const name = fc
  .uint8Array({ minLength: 1, maxLength: NAME_MAX, min: 1 })
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0x2f ? 0x30 : byte))).toString('latin1'));

function read(stored: ReturnType<typeof storeName>, directory = home, siv = key): string | undefined {
  return stored.side === undefined
    ? readName(siv, directory, stored.name)
    : readLongName(siv, directory, stored.name, stored.side.content);
}

test('names of any bytes and any length come back', async (t) => {
  fc.assert(
    fc.property(name, (plain) => {
      const stored = storeName(key, home, plain);
      return read(stored) === plain && stored.name.length <= 255 && !/[/\0]/.test(stored.name);
    }),
    { numRuns: 1500 },
  );
  for (let length = 1; length <= NAME_MAX; length++) {
    const plain = 'n'.repeat(length);
    const stored = storeName(key, home, plain);
    t.equal(stored.side === undefined, length <= 160, `inline up to 160: ${length}`);
    if (read(stored) !== plain) t.fail(`length ${length}`);
    if ((stored.side?.content.length ?? 0) > SIDE_BYTES) t.fail(`side file of ${length}`);
  }
  for (let byte = 1; byte < 256; byte++) {
    if (byte === 0x2f) continue;
    const plain = String.fromCharCode(byte);
    if (read(storeName(key, home, plain)) !== plain) t.fail(`byte ${byte}`);
  }
});

test('the same name gives the same bytes, another directory, scope or name others', async (t) => {
  fc.assert(
    fc.property(name, name, (a, b) => {
      const stored = storeName(key, home, a).name;
      return (
        storeName(key, home, a).name === stored &&
        storeName(key, away, a).name !== stored &&
        storeName(other, home, a).name !== stored &&
        (a === b) === (storeName(key, home, b).name === stored)
      );
    }),
    { numRuns: 300 },
  );
  t.pass('deterministic within a directory only');
});

test('a name read in another directory or scope is no name', async (t) => {
  for (const plain of ['a', 'x'.repeat(160), 'y'.repeat(161), 'z'.repeat(255)]) {
    const stored = storeName(key, home, plain);
    t.equal(read(stored, away), undefined);
    t.equal(read(stored, home, other), undefined);
    t.equal(read(stored), plain);
  }
});

test('every flipped bit and every other spelling of a stored name is no name', async (t) => {
  const { name: stored } = storeName(key, home, 'a name of thirty-odd bytes, yes');
  const sealed = Buffer.from(stored, 'base64url');
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const copy = Buffer.from(sealed);
    copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
    if (readName(key, home, copy.toString('base64url')) !== undefined) t.fail(`bit ${bit}`);
  }
  const spellings = [
    `${stored}=`,
    `${stored} `,
    ` ${stored}`,
    `${stored}\n`,
    `${stored}A`,
    `.${stored}`,
    sealed.toString('base64'),
    sealed.toString('hex'),
    stored.slice(0, -1),
    `${stored.slice(0, 5)}\n${stored.slice(5)}`,
    '',
    '.',
    '..',
    '+',
    'lost+found',
  ].filter((spelling) => spelling !== stored);
  for (const spelling of spellings) {
    t.equal(readName(key, home, spelling), undefined, JSON.stringify(spelling));
  }
  // 16 bytes end in a character of which four bits are unused.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const short = storeName(key, home, 'b').name;
  for (const last of alphabet) {
    const spelling = short.slice(0, -1) + last;
    if (spelling !== short && readName(key, home, spelling) !== undefined) t.fail(spelling);
  }
});

test('garbage of any length is no name', async (t) => {
  for (let length = 0; length <= 400; length++) {
    const garbage = randomBytes(length);
    if (readName(key, home, garbage.toString('base64url')) !== undefined) t.fail(`${length}`);
    if (readLongName(key, home, LONG_PREFIX, garbage) !== undefined) t.fail(`long ${length}`);
  }
  t.pass('none was taken');
});

test('a long name and its side file belong together, bit by bit', async (t) => {
  const a = storeName(key, home, 'a'.repeat(200));
  const b = storeName(key, home, 'b'.repeat(200));
  const content = a.side?.content as Buffer;
  const hash = createHash('sha256').update(content).digest('base64url');
  t.equal(a.name, LONG_PREFIX + hash);
  t.equal(a.side?.name, SIDE_PREFIX + hash);
  t.equal(sideName(a.name), a.side?.name);
  t.equal(readLongName(key, home, a.name, b.side?.content as Buffer), undefined, 'swapped side files');
  t.equal(readLongName(key, home, a.name, Buffer.alloc(0)), undefined, 'an empty side file');
  t.equal(readLongName(key, home, a.name, content.subarray(1)), undefined, 'cut short');
  for (let bit = 0; bit < content.length * 8; bit++) {
    const copy = Buffer.from(content);
    copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
    // With the hash put right as well: an attacker can do that.
    const renamed = LONG_PREFIX + createHash('sha256').update(copy).digest('base64url');
    if (readLongName(key, home, a.name, copy) !== undefined) t.fail(`bit ${bit}`);
    if (readLongName(key, home, renamed, copy) !== undefined) t.fail(`bit ${bit}, renamed`);
  }
  const short = Buffer.from(storeName(key, home, 'short').name, 'base64url');
  const disguised = LONG_PREFIX + createHash('sha256').update(short).digest('base64url');
  t.equal(readLongName(key, home, disguised, short), undefined, 'a short name has one spelling only');
});
