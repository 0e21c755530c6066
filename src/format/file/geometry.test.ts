import fc from 'fast-check';
import { test } from 'tap';
import { CHUNK_SIZES, isChunkSize } from '../volume/volume-record.js';
import { FRAME_OVERHEAD, Geometry, HEADER_REGION, MAX_SIZE } from './geometry.js';

const chunkSizes = Array.from({ length: 9 }, (_, i) => CHUNK_SIZES.least << i);
const chunkSize = fc.constantFrom(...chunkSizes);
/** Sizes at and around chunk edges, and any others up to the largest. */
const size = (C: number) =>
  fc.oneof(
    fc
      .tuple(fc.integer({ min: 0, max: 5000 }), fc.constantFrom(-1, 0, 1, 7))
      .map(([k, d]) => Math.max(0, k * C + d)),
    fc.maxSafeNat().map((n) => n % (MAX_SIZE + 1)),
  );
const sized = chunkSize.chain((C) => fc.tuple(fc.constant(C), size(C)));

test('the table of FORMAT.md holds', async (t) => {
  const geometry = new Geometry(16_384);
  const rows = [
    [0, 0, 0],
    [1, 1, 1069],
    [16_383, 1, 17_451],
    [16_384, 1, 17_452],
    [16_385, 2, 17_497],
    [32_768, 2, 33_880],
  ] as const;
  for (const [plain, frames, backing] of rows) {
    t.equal(geometry.chunksOf(plain), frames);
    t.equal(geometry.backingSize(plain), backing);
    t.equal(geometry.plainSize(backing), plain);
  }
});

test('every plaintext size comes back from its backing size', async (t) => {
  fc.assert(
    fc.property(sized, ([C, plain]) => {
      const geometry = new Geometry(C);
      const backing = geometry.backingSize(plain);
      return (
        Number.isSafeInteger(backing) &&
        geometry.plainSize(backing) === plain &&
        geometry.plainSizeTrimmed(backing) === plain
      );
    }),
    { numRuns: 2000 },
  );
  t.pass('round trips');
});

test('a larger plaintext has a larger backing, and the frames of a file follow each other to its end', async (t) => {
  fc.assert(
    fc.property(sized, ([C, plain]) => {
      const geometry = new Geometry(C);
      const chunks = geometry.chunksOf(plain);
      const last = chunks - 1;
      const end =
        chunks === 0 ? 0 : geometry.frameOffset(last) + FRAME_OVERHEAD + geometry.extent(last, plain);
      return (
        geometry.backingSize(plain) === end &&
        geometry.backingSize(plain + 1) > end &&
        (chunks === 0 || geometry.extent(last, plain) > 0) &&
        geometry.extent(chunks, plain) === 0 &&
        (plain === 0 || geometry.chunkOf(plain - 1) === last)
      );
    }),
    { numRuns: 2000 },
  );
  t.pass('in order');
});

test('every backing size that no plaintext size gives is refused, all of them up to four chunks', async (t) => {
  for (const C of [4096, 16_384]) {
    const geometry = new Geometry(C);
    const possible = new Map<number, number>();
    for (let plain = 0; plain <= 4 * C; plain++) possible.set(geometry.backingSize(plain), plain);
    let wrong = 0;
    const end = geometry.backingSize(4 * C);
    for (let backing = 0; backing <= end; backing++) {
      if (geometry.plainSize(backing) !== (possible.get(backing) ?? -1)) wrong++;
    }
    t.equal(wrong, 0, `chunk size ${C}`);
    // The gap behind each whole frame: a frame without a byte of plaintext.
    t.equal(geometry.plainSize(HEADER_REGION), -1);
    t.equal(geometry.plainSize(HEADER_REGION + FRAME_OVERHEAD), -1);
    t.equal(geometry.plainSize(HEADER_REGION + FRAME_OVERHEAD + 1), 1);
    t.equal(geometry.plainSize(HEADER_REGION + geometry.stride + FRAME_OVERHEAD), -1);
  }
});

test('a torn end is trimmed to the largest size that fits', async (t) => {
  const backingSizes = chunkSize.chain((C) => fc.tuple(fc.constant(C), fc.integer({ min: 0, max: 1 << 24 })));
  fc.assert(
    fc.property(backingSizes, ([C, backing]) => {
      const geometry = new Geometry(C);
      const plain = geometry.plainSizeTrimmed(backing);
      return plain >= 0 && geometry.backingSize(plain) <= Math.max(backing, 0);
    }),
    { numRuns: 3000 },
  );
  t.pass('never larger than the file');
});

test('chunk sizes are powers of two from 4 KiB to 1 MiB', async (t) => {
  for (const C of chunkSizes) t.ok(isChunkSize(C), String(C));
  for (const C of [0, -4096, 1, 2048, 4095, 4097, 12_288, 2 << 20, Number.NaN, 2 ** 255]) {
    t.notOk(isChunkSize(C), String(C));
  }
});
