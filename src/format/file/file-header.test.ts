import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'tap';
import type { ScopeId } from '../../base/ids.js';
import type { AeadKey } from '../../crypto/aead.js';
import { pinned } from '../../libc/memory.js';
import { freshKey } from '../test-key.js';
import {
  type FileHeader,
  type HeaderContext,
  openHeader,
  openHeaderPair,
  sealHeader,
} from './file-header.js';
import { HEADER_BYTES, HEADER_REGION, MAX_SIZE } from './geometry.js';

const key = freshKey();
const context: HeaderContext = { scope: '22'.repeat(16) as ScopeId, suite: 1, chunkSize: 4096 };

function header(change: Partial<FileHeader> = {}): FileHeader {
  return {
    epoch: 3,
    firstEpoch: 2,
    fileId: Buffer.alloc(16, 5),
    tag: Buffer.alloc(16, 6),
    size: 10_000,
    syncedSize: 8_000,
    version: 9,
    chunks: 3,
    syncedChunks: 2,
    sparse: true,
    mapVersion: 4,
    syncedMapVersion: 3,
    session: Buffer.alloc(16, 9),
    ...change,
  };
}
/** A header region: both copies of one header. */
function region(of: FileHeader, how = context, sealer = key): Buffer {
  const into = pinned(HEADER_REGION);
  sealHeader(sealer, how, of, into, 0);
  into.bytes.copy(into.bytes, HEADER_BYTES, 0, HEADER_BYTES);
  return into.bytes;
}
function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}

test('a header comes back with every number in range', async (t) => {
  const headers = fc
    .record({
      firstEpoch: fc.integer({ min: 1, max: 0x7fffffff }),
      epoch: fc.integer({ min: 0x7fffffff, max: 0xffffffff }),
      size: fc.integer({ min: 1, max: MAX_SIZE }),
      syncedSize: fc.integer({ min: 0, max: MAX_SIZE }),
      version: fc.maxSafeNat(),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      sparse: fc.boolean(),
      mapVersion: fc.maxSafeNat(),
      fileId: fc.uint8Array({ minLength: 16, maxLength: 16 }),
      tag: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    })
    .map(({ share, fileId, tag, ...rest }) => {
      const chunks = Math.floor(Math.ceil(rest.size / context.chunkSize) * share);
      const syncedChunks = Math.floor(chunks * share);
      const session = Buffer.from(tag);
      const maps = { syncedMapVersion: Math.floor(rest.mapVersion * share), session };
      return { ...rest, ...maps, fileId: Buffer.from(fileId), tag: Buffer.from(tag), chunks, syncedChunks };
    });
  fc.assert(
    fc.property(headers, (of) => {
      const pair = openHeaderPair(() => key, context, region(of), 0);
      if (pair.state !== 'good') return false;
      const { header: got } = pair;
      return (
        got.epoch === of.epoch &&
        got.fileId.equals(of.fileId) &&
        got.tag.equals(of.tag) &&
        got.size === of.size &&
        got.syncedSize === of.syncedSize &&
        got.version === of.version &&
        got.chunks === of.chunks &&
        got.syncedChunks === of.syncedChunks &&
        got.sparse === of.sparse &&
        got.mapVersion === of.mapVersion &&
        got.syncedMapVersion === of.syncedMapVersion &&
        got.session.equals(of.session)
      );
    }),
    { numRuns: 300 },
  );
  t.pass('round trips');
});

test('the clear part is as FORMAT.md says, and nothing else of a header is readable', async (t) => {
  const bytes = region(header());
  const rows = [
    '53434f5045465346', // magic SCOPEFSF
    '0100', // version
    '01', // suite
    '0c', // 2^12 bytes a chunk
    '03000000', // epoch
    '22'.repeat(16), // scope id
    '06'.repeat(16), // file-id tag
    '00'.repeat(16), // reserved
  ];
  t.equal(bytes.toString('hex', 0, 64), rows.join(''));
  t.equal(bytes.indexOf(Buffer.alloc(16, 5)), -1, 'the file id is sealed');
  t.ok(bytes.subarray(0, HEADER_BYTES).equals(bytes.subarray(HEADER_BYTES)));
  t.notSame(region(header()).subarray(64), bytes.subarray(64), 'a fresh nonce each time');
});

test('every single flipped bit of the region is noticed', async (t) => {
  const bytes = region(header());
  let unnoticed = 0;
  let lost = 0;
  for (let bit = 0; bit < HEADER_REGION * 8; bit++) {
    const pair = openHeaderPair(() => key, context, flipped(bytes, bit), 0);
    if (pair.state === 'good') unnoticed++;
    // The other copy is whole: an unclean stop must be able to recover from it.
    if (pair.state === 'bad' || pair.header.version !== 9) lost++;
  }
  t.equal(unnoticed, 0);
  t.equal(lost, 0);
});

test('a header of another key, scope, suite or chunk size does not open', async (t) => {
  const bytes = region(header());
  const state = (k: AeadKey, c: HeaderContext): string => openHeaderPair(() => k, c, bytes, 0).state;
  t.equal(state(key, context), 'good');
  t.equal(state(freshKey(), context), 'bad', 'key');
  t.equal(
    openHeaderPair(() => undefined, context, bytes, 0).state,
    'bad',
    'an epoch that the scope does not have',
  );
  t.equal(state(key, { ...context, scope: '23'.repeat(16) as ScopeId }), 'bad', 'scope');
  t.equal(state(key, { ...context, suite: 2 }), 'bad', 'suite');
  t.equal(state(key, { ...context, chunkSize: 8192 }), 'bad', 'chunk size');
});

test('of two authentic copies the higher version counts, and two of one version must be equal', async (t) => {
  const pair = (a: Partial<FileHeader>, b: Partial<FileHeader>) =>
    openHeaderPair(
      () => key,
      context,
      Buffer.concat([
        region(header(a)).subarray(0, HEADER_BYTES),
        region(header(b)).subarray(0, HEADER_BYTES),
      ]),
      0,
    );
  t.match(pair({ version: 5, size: 5 }, { version: 6, size: 6, chunks: 1, syncedChunks: 0 }), {
    state: 'torn',
    header: { size: 6 },
  });
  t.match(pair({ version: 7, size: 9000 }, { version: 6, size: 9001 }), {
    state: 'torn',
    header: { size: 9000 },
  });
  t.equal(pair({ size: 9000 }, { size: 9001 }).state, 'torn', 'one version, different content');
});

test('authentic nonsense is refused: sizes and chunk counts out of range', async (t) => {
  const opens = (change: Partial<FileHeader>): boolean =>
    openHeader(() => key, context, region(header(change)), 0) !== undefined;
  t.ok(opens({ chunks: 3 }));
  t.notOk(opens({ chunks: 4 }), 'more chunks than the size has');
  t.notOk(opens({ syncedChunks: 4 }), 'more chunks durable than written');
  t.notOk(opens({ syncedMapVersion: 5 }), 'a newer map durable than there is');
  t.notOk(opens({ size: 0, chunks: 0, syncedChunks: 0 }), 'a header of an empty file');
  t.notOk(opens({ size: MAX_SIZE + 1 }));
  t.notOk(opens({ syncedSize: MAX_SIZE + 1 }));
  t.notOk(opens({ firstEpoch: 4 }), 'an identity from a later epoch than the header');
  t.notOk(opens({ firstEpoch: 0 }));
  t.throws(() => region(header({ size: -1 })), RangeError);
  t.throws(() => region(header({ version: 2 ** 53 })), RangeError);
});

test('a region that is cut short, empty or garbage is bad', async (t) => {
  const bytes = region(header());
  for (const length of [0, 1, 511]) {
    t.equal(openHeaderPair(() => key, context, bytes.subarray(0, length), 0).state, 'bad', `${length} bytes`);
  }
  t.equal(openHeaderPair(() => key, context, bytes.subarray(0, 1023), 0).state, 'torn');
  t.equal(openHeaderPair(() => key, context, Buffer.alloc(HEADER_REGION), 0).state, 'bad');
  t.equal(openHeaderPair(() => key, context, randomBytes(HEADER_REGION), 0).state, 'bad');
});
