import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'tap';
import { randomFill, type Secret, SecretMemory } from '../../libc/memory.js';
import { type DirectoryRecord, encodeDirectoryRecord, readDirectoryRecord } from './directory-record.js';

const memory = new SecretMemory(64);
function freshKey(): Secret {
  const secret = memory.allocate(32);
  randomFill(secret.address, secret.length);
  return secret;
}
const key = freshKey();
const here = { directory: Buffer.alloc(16, 2), name: 'na\xffme' };
const there = { directory: Buffer.alloc(16, 3), name: 'other' };
const plain: DirectoryRecord = { kind: 'directory', epoch: 7, id: Buffer.alloc(16, 1) };

test('a record of every kind comes back at its place', async (t) => {
  const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 255 })
    .map((bytes) => Buffer.from(bytes).toString('latin1'));
  const records = fc.record({
    kind: fc.constantFrom('directory', 'edge') as fc.Arbitrary<DirectoryRecord['kind']>,
    epoch: fc.integer({ min: 0, max: 0xffffffff }),
    id,
  });
  fc.assert(
    fc.property(records, id, name, (record, directory, at) => {
      const bytes = encodeDirectoryRecord(key, record, [{ directory, name: at }]);
      const read = readDirectoryRecord(() => key, bytes, { directory, name: at });
      return (
        bytes.length === 38 &&
        read?.kind === record.kind &&
        read.epoch === record.epoch &&
        read.id.equals(record.id)
      );
    }),
  );
  t.same(
    readDirectoryRecord(() => key, encodeDirectoryRecord(key, { ...plain, kind: 'root' })),
    {
      ...plain,
      kind: 'root',
    },
  );
});

test('during a rename a record holds at both places and at no third', async (t) => {
  const bytes = encodeDirectoryRecord(key, plain, [here, there]);
  t.equal(bytes.length, 54);
  t.same(
    readDirectoryRecord(() => key, bytes, here),
    plain,
  );
  t.same(
    readDirectoryRecord(() => key, bytes, there),
    plain,
  );
  t.equal(
    readDirectoryRecord(() => key, bytes, { directory: here.directory, name: 'third' }),
    undefined,
  );
  t.equal(
    readDirectoryRecord(() => key, bytes, { directory: there.directory, name: here.name }),
    undefined,
  );
  t.equal(
    readDirectoryRecord(() => key, bytes),
    undefined,
    'nor as a root',
  );
});

test('the clear part is laid out as FORMAT.md says', async (t) => {
  for (const [kind, number] of [
    ['directory', 2],
    ['edge', 3],
    ['root', 4],
  ] as const) {
    const bytes = encodeDirectoryRecord(key, { ...plain, kind, epoch: 0x01020304 }, [here]);
    t.equal(bytes.toString('hex', 0, 22), `01${`0${number}`}04030201${'01'.repeat(16)}`, kind);
  }
});

test('every flipped bit, another length and another key are noticed', async (t) => {
  for (const places of [[here], [here, there]]) {
    const bytes = encodeDirectoryRecord(key, plain, places);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      // A flip in the second MAC leaves the first place as it was.
      const where = bit >= 38 * 8 ? there : here;
      if (readDirectoryRecord(() => key, flipped, where) !== undefined) t.fail(`bit ${bit}`);
    }
  }
  const bytes = encodeDirectoryRecord(key, plain, [here]);
  for (let length = 0; length < 80; length++) {
    const other = Buffer.concat([bytes, Buffer.alloc(80)]).subarray(0, length);
    if (length !== 38 && length !== 54 && readDirectoryRecord(() => key, other, here) !== undefined) {
      t.fail(`${length} bytes`);
    }
  }
  t.equal(readDirectoryRecord(freshKey, bytes, here), undefined, 'another key');
  t.equal(
    readDirectoryRecord(() => key, randomBytes(38), here),
    undefined,
  );
  t.same(
    readDirectoryRecord(() => key, bytes, here),
    plain,
    'the whole one opens',
  );
  const asked: number[] = [];
  const none = (epoch: number): undefined => {
    asked.push(epoch);
  };
  t.equal(readDirectoryRecord(none, bytes, here), undefined, 'an epoch that the scope does not have');
  t.same(asked, [plain.epoch]);
});
