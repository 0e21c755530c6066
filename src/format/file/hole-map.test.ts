import fc from 'fast-check';
import { test } from 'tap';
import { pinned } from '../../libc/memory.js';
import { sealRecord } from '../sealed-record.js';
import { freshKey } from '../test-key.js';
import { type Extent, ExtentSet } from './extents.js';
import { emptyMap, type HoleMap, MAP_INLINE, MAP_LARGEST, MAP_RANGES, openMap, sealMap } from './hole-map.js';

const key = freshKey();
const tag = Buffer.alloc(16, 6);
const context = { epoch: 3, tag, version: 9 };

function mapOf(holes: Extent[], filled: Extent[] = []): HoleMap {
  return { holes: new ExtentSet(holes), filled: new ExtentSet(filled) };
}
const seal = (map: HoleMap): Buffer => Buffer.from(sealMap(key, context, map));

const ranges = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 2 ** 30 }), fc.integer({ min: 1, max: 2 ** 20 })), {
    maxLength: 60,
  })
  .map((steps) => {
    let at = -1;
    return steps.map(([gap, length]) => {
      const from = at + gap;
      at = from + length;
      return { from, to: at };
    });
  });

test('a map comes back', async (t) => {
  fc.assert(
    fc.property(ranges, ranges, (holes, filled) => {
      const map = mapOf(holes, filled);
      const opened = openMap(() => key, tag, seal(map));
      return (
        opened?.version === 9 &&
        JSON.stringify(opened.map.holes.ranges) === JSON.stringify(map.holes.ranges) &&
        JSON.stringify(opened.map.filled.ranges) === JSON.stringify(map.filled.ranges)
      );
    }),
    { numRuns: 300 },
  );
  t.same(openMap(() => key, tag, seal(emptyMap()))?.map, emptyMap());
});

test('the clear part is as FORMAT.md says', async (t) => {
  const record = seal(mapOf([{ from: 1, to: 3 }]));
  const rows = ['53434f504546534d', '0100', '0000', '03000000', '06'.repeat(16), '0900000000000000'];
  t.equal(record.toString('hex', 0, 40), rows.join(''));
  t.equal(record.length, 40 + 24 + 8 + 2 + 16);
});

test('every flipped bit, another file, key or epoch, and every cut is refused', async (t) => {
  const record = seal(mapOf([{ from: 1, to: 300 }], [{ from: 5000, to: 70_000 }]));
  let opened = 0;
  for (let bit = 0; bit < record.length * 8; bit++) {
    const bad = Buffer.from(record);
    bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
    if (openMap(() => key, tag, bad) !== undefined) opened++;
  }
  for (let length = 0; length < record.length; length++) {
    if (openMap(() => key, tag, record.subarray(0, length)) !== undefined) opened++;
  }
  t.equal(opened, 0);
  const other = freshKey();
  t.equal(
    openMap(() => other, tag, record),
    undefined,
  );
  t.equal(
    openMap(() => undefined, tag, record),
    undefined,
  );
  t.equal(
    openMap(() => key, Buffer.alloc(16, 7), record),
    undefined,
  );
  t.equal(
    openMap(() => key, tag, Buffer.alloc(MAP_LARGEST + 1)),
    undefined,
  );
});

test('authentic nonsense is refused: empty, touching or endless ranges, counts that lie, bytes left over', async (t) => {
  const one = [1, 0, 0, 0, 0, 0, 0, 0];
  const bodies = {
    good: [...one, 2, 5],
    empty: [...one, 2, 0],
    touching: [2, 0, 0, 0, 0, 0, 0, 0, 2, 5, 0, 3],
    'too many said': [2, 0, 0, 0, 0, 0, 0, 0, 2, 5],
    'too few said': [0, 0, 0, 0, 0, 0, 0, 0, 2, 5],
    'far too many said': [0, 0, 0, 255, 0, 0, 0, 0, 2, 5],
    endless: [...one, ...Array(12).fill(255), 1, 1],
    'beyond every file': [...one, 255, 255, 255, 255, 255, 255, 127, 1],
  };
  for (const [what, body] of Object.entries(bodies)) {
    const buffer = pinned(40 + 24 + body.length + 16);
    seal(emptyMap()).copy(buffer.bytes, 0, 0, 40);
    Buffer.from(body).copy(buffer.bytes, 64);
    sealRecord(key, buffer, 0, 40, body.length);
    t.equal(openMap(() => key, tag, buffer.bytes) !== undefined, what === 'good', what);
  }
});

test('the most ranges that there may be come back, and one more is refused', async (t) => {
  const holes: Extent[] = [];
  for (let i = 0; i < MAP_RANGES; i++) holes.push({ from: i * 1000, to: i * 1000 + 300 });
  const record = seal(mapOf(holes));
  t.ok(record.length <= MAP_LARGEST && record.length > MAP_INLINE, `${record.length} bytes`);
  t.equal(openMap(() => key, tag, record)?.map.holes.ranges.length, MAP_RANGES);
  holes.push({ from: 2 ** 39, to: 2 ** 39 + 1 });
  t.equal(
    openMap(() => key, tag, seal(mapOf(holes))),
    undefined,
  );
});
