import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { freshId, type ScopeId, type VolumeId } from '../../base/ids.js';
import { randomFill, type Secret, SecretMemory } from '../../libc/memory.js';
import { encodeSlotCopy, peekSlotCopy, SLOT_COPY_HEAD } from './slot-copy.js';
import { encodeSlotList, MOST_SLOTS, peekSlotList, readSlotList, slotDigest } from './slot-list.js';

const memory = new SecretMemory(64);
function freshKey(): Secret {
  const secret = memory.allocate(32);
  randomFill(secret.address, 32);
  return secret;
}
const key = freshKey();
const volume = freshId<VolumeId>();
const scope = freshId<ScopeId>();
const list = (count: number) => ({
  epoch: 3,
  version: 2 ** 40 + 1,
  slots: Array.from({ length: count }, (_, i) => ({ number: i * 7, digest: Buffer.alloc(32, i) })),
});

test('a list comes back under its key, for its scope and volume alone', async (t) => {
  for (const count of [0, 1, 2, MOST_SLOTS]) {
    const bytes = encodeSlotList(key, volume, scope, list(count));
    t.equal(bytes.length, 16 + 36 * count + 16);
    t.same(readSlotList(key, volume, scope, bytes), list(count));
    t.same(peekSlotList(bytes), list(count));
    t.equal(readSlotList(freshKey(), volume, scope, bytes), undefined);
    t.equal(readSlotList(key, volume, freshId<ScopeId>(), bytes), undefined);
    t.equal(readSlotList(key, freshId<VolumeId>(), scope, bytes), undefined);
  }
});

test('every flipped bit and every cut of a list is noticed', async (t) => {
  const bytes = encodeSlotList(key, volume, scope, list(2));
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = Buffer.from(bytes);
    copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
    if (readSlotList(key, volume, scope, copy) !== undefined) t.fail(`bit ${bit}`);
  }
  for (let length = 0; length < bytes.length; length++) {
    if (readSlotList(key, volume, scope, bytes.subarray(0, length)) !== undefined) t.fail(`${length}`);
  }
  t.equal(readSlotList(key, volume, scope, Buffer.concat([bytes, Buffer.alloc(1)])), undefined);
});

test('a digest covers every part of a row, and where one ends and the next begins', async (t) => {
  const row = {
    number: 1,
    type: 'keyfile',
    kindVersion: 2,
    parameters: '{}',
    publicKey: randomBytes(10),
    privateHalf: randomBytes(10),
  };
  const digest = slotDigest(row).toString('hex');
  t.equal(slotDigest({ ...row }).toString('hex'), digest);
  const moved = Buffer.concat([row.publicKey, row.privateHalf]);
  for (const change of [
    { number: 2 },
    { type: 'recovery' },
    { kindVersion: 3 },
    { parameters: '{ }' },
    { publicKey: randomBytes(10) },
    { privateHalf: randomBytes(10) },
    { publicKey: moved.subarray(0, 9), privateHalf: moved.subarray(9) },
    { type: 'keyfile{', parameters: '}' },
  ]) {
    t.not(slotDigest({ ...row, ...change }).toString('hex'), digest, Object.keys(change).join());
  }
});

test("the copy's head says whose it is and which version", async (t) => {
  const version = { epoch: 5, list: 9 };
  const bytes = encodeSlotCopy(scope, version, Buffer.from('{}'));
  t.equal(bytes.length, SLOT_COPY_HEAD + 2 + 32);
  t.same(peekSlotCopy(scope, bytes.subarray(0, SLOT_COPY_HEAD)), version);
  t.equal(peekSlotCopy(freshId<ScopeId>(), bytes), undefined);
  t.equal(peekSlotCopy(scope, bytes.subarray(0, 30)), undefined);
  t.equal(peekSlotCopy(scope, Buffer.alloc(SLOT_COPY_HEAD)), undefined);
  t.equal(peekSlotCopy(scope, randomBytes(SLOT_COPY_HEAD)), undefined);
});
