import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'tap';
import { freshKey } from '../test-key.js';
import { readTarget, type StoredTarget, storeTarget, TARGET_MAX, targetLength } from './symlink.js';

const key = freshKey();

const lengthOf = ({ link, rest }: StoredTarget): number => targetLength(link.length, rest?.length);

test('targets of any bytes and every length come back, and the length needs no key', async (t) => {
  const target = fc
    .uint8Array({ minLength: 1, maxLength: 400, min: 1 })
    .map((bytes) => Buffer.from(bytes).toString('latin1'));
  fc.assert(
    fc.property(target, (plain) => {
      const stored = storeTarget(key, plain) as StoredTarget;
      return readTarget(key, stored) === plain && lengthOf(stored) === plain.length;
    }),
  );
  for (let length = 1; length <= TARGET_MAX; length++) {
    const plain = 'x'.repeat(length);
    const stored = storeTarget(key, plain) as StoredTarget;
    const right =
      readTarget(key, stored) === plain &&
      lengthOf(stored) === length &&
      stored.link.length <= 4095 &&
      (stored.rest !== undefined) === length > 3031;
    if (!right) t.fail(`length ${length}`);
  }
  t.equal(storeTarget(key, 'x'.repeat(TARGET_MAX + 1)), undefined, 'too long');
});

test('one target stored twice gives different bytes', async (t) => {
  t.not(storeTarget(key, '/etc/passwd')?.link, storeTarget(key, '/etc/passwd')?.link);
});

test('a plain, flipped, cut, misspelt or foreign target is refused', async (t) => {
  const stored = storeTarget(key, '../some/where')?.link as string;
  const read = (link: string, rest?: Buffer): string | undefined => readTarget(key, { link, rest });
  const sealed = Buffer.from(stored, 'base64url');
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = Buffer.from(sealed);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    if (read(flipped.toString('base64url')) !== undefined) t.fail(`bit ${bit}`);
  }
  for (let length = 0; length < stored.length; length++) {
    if (read(stored.slice(0, length)) !== undefined) t.fail(`cut to ${length}`);
  }
  const others = [
    '/etc/passwd',
    '',
    `${stored}=`,
    ` ${stored}`,
    `${stored}A`,
    sealed.toString('hex'),
    'A'.repeat(4095),
    randomBytes(3000).toString('base64url'),
  ];
  for (const other of others) t.equal(read(other), undefined, other.slice(0, 40));
  t.equal(readTarget(freshKey(), { link: stored, rest: undefined }), undefined, 'another scope');
  t.equal(read(stored, Buffer.from('x')), undefined, 'with something behind it');
  t.equal(read(stored), '../some/where');
  const { link, rest } = storeTarget(key, 'y'.repeat(4000)) as { link: string; rest: Buffer };
  t.equal(read(link, rest), 'y'.repeat(4000));
  t.equal(read(link), undefined, 'without its end');
  t.equal(read(link, rest.subarray(1)), undefined);
  t.equal(read(link, Buffer.concat([rest, rest])), undefined);
});
