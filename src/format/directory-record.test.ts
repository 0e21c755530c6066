import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'tap';
import type { ScopeId } from '../base/ids.js';
import type { AeadKey } from '../crypto/aead.js';
import { Xaes256Gcm } from '../crypto/xaes.js';
import { randomFill, SecretMemory } from '../libc/memory.js';
import {
  DIRECTORY_RECORD_BYTES,
  type DirectoryRecord,
  NO_ID,
  openDirectoryRecord,
  sealDirectoryRecord,
} from './directory-record.js';

const memory = new SecretMemory(64);
const suite = new Xaes256Gcm(memory);
function freshKey(): AeadKey {
  const secret = memory.allocate(32);
  randomFill(secret.address, secret.length);
  return suite.key(secret);
}
const key = freshKey();
const scope = '44'.repeat(16) as ScopeId;

function record(change: Partial<DirectoryRecord> = {}): DirectoryRecord {
  return {
    kind: 'directory',
    epoch: 1,
    scope,
    directoryId: Buffer.alloc(16, 1),
    parentId: Buffer.alloc(16, 2),
    childScope: NO_ID,
    places: [Buffer.alloc(16, 4), NO_ID],
    ...change,
  };
}

test('a record of every kind comes back', async (t) => {
  const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
  const records = fc.record({
    kind: fc.constantFrom('directory', 'edge', 'root') as fc.Arbitrary<DirectoryRecord['kind']>,
    epoch: fc.integer({ min: 0, max: 0xffffffff }),
    directoryId: id,
    parentId: id,
    childScope: id,
    places: fc.tuple(id, id),
  });
  fc.assert(
    fc.property(records, (some) => {
      const made = { ...some, scope };
      const bytes = sealDirectoryRecord(key, made);
      const read = openDirectoryRecord(key, scope, bytes);
      return (
        read !== undefined &&
        bytes.length === DIRECTORY_RECORD_BYTES &&
        read.kind === made.kind &&
        read.epoch === made.epoch &&
        read.scope === scope &&
        read.directoryId.equals(made.directoryId) &&
        read.parentId.equals(made.parentId) &&
        read.childScope.equals(made.childScope) &&
        read.places.every((place, i) => place.equals(made.places[i] as Buffer))
      );
    }),
    { numRuns: 300 },
  );
  t.pass('round trips');
});

test('what was read stays when the next record is read', async (t) => {
  const first = openDirectoryRecord(key, scope, sealDirectoryRecord(key, record()));
  openDirectoryRecord(key, scope, sealDirectoryRecord(key, record({ directoryId: Buffer.alloc(16, 9) })));
  t.same(first?.directoryId, Buffer.alloc(16, 1));
});

test('the clear part is as FORMAT.md says, ids and places are sealed', async (t) => {
  for (const [kind, number] of [
    ['directory', '02'],
    ['edge', '03'],
    ['root', '04'],
  ] as const) {
    const bytes = sealDirectoryRecord(key, record({ kind, epoch: 0x01020304 }));
    t.equal(bytes.toString('hex', 0, 24), `01${number}000004030201${'44'.repeat(16)}`);
    for (const fill of [1, 2, 4]) t.equal(bytes.indexOf(Buffer.alloc(16, fill)), -1);
  }
});

test('every flipped bit, wrong length, other key and other scope is refused', async (t) => {
  const bytes = sealDirectoryRecord(key, record());
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    if (openDirectoryRecord(key, scope, flipped) !== undefined) t.fail(`bit ${bit}`);
  }
  for (let length = 0; length < 300; length++) {
    if (length === bytes.length) continue;
    const other = Buffer.alloc(length);
    bytes.copy(other);
    if (openDirectoryRecord(key, scope, other) !== undefined) t.fail(`${length} bytes`);
  }
  t.equal(openDirectoryRecord(key, '45'.repeat(16) as ScopeId, bytes), undefined, 'another scope');
  const stranger = freshKey();
  t.equal(openDirectoryRecord(stranger, scope, bytes), undefined, 'another key');
  t.equal(openDirectoryRecord(key, scope, randomBytes(DIRECTORY_RECORD_BYTES)), undefined);
  t.same(openDirectoryRecord(key, scope, bytes)?.directoryId, Buffer.alloc(16, 1), 'the whole one opens');
});
