import fc from 'fast-check';
import { test } from 'tap';
import { ExtentSet } from './extents.js';

const change = fc.record({
  add: fc.boolean(),
  from: fc.nat({ max: 60 }),
  length: fc.nat({ max: 12 }),
});

test('a set of ranges holds what a set of numbers holds, in ranges that are sorted, apart and not empty', async (t) => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const set = new ExtentSet();
      const model = new Set<number>();
      for (const { add, from, length } of changes) {
        if (add) set.add(from, from + length);
        else set.remove(from, from + length);
        for (let i = from; i < from + length; i++) {
          if (add) model.add(i);
          else model.delete(i);
        }
      }
      let end = -1;
      for (const range of set.ranges) {
        if (range.from <= end || range.to <= range.from) return false;
        end = range.to;
      }
      for (let i = 0; i < 80; i++) if (set.has(i) !== model.has(i)) return false;
      for (let i = 0; i < 80; i += 7) {
        const within = [...model].some((value) => value >= i && value < i + 5);
        if (set.overlaps(i, i + 5) !== within) return false;
      }
      const lengths = set.ranges.map(({ from, to }) => to - from);
      const smallest = set.smallest;
      return smallest === undefined
        ? set.empty
        : smallest.to - smallest.from === Math.min(...lengths) && !set.empty;
    }),
    { numRuns: 500 },
  );
  t.pass('500 histories');
});

test('a copy is apart from its original', async (t) => {
  const set = new ExtentSet([{ from: 3, to: 9 }]);
  const copy = set.copy();
  set.remove(0, 20);
  t.ok(set.empty);
  t.same(copy.ranges, [{ from: 3, to: 9 }]);
});
