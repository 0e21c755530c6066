import { test } from 'tap';
import { compareOnce } from './random.js';

/** A short slice of random.long.ts. */
test('random operations: the mount, ext4 and an array of bytes agree', async (t) => {
  for (const [seed, steps] of [
    [1, 25_000],
    [2, 25_000],
  ] as const) {
    t.equal(compareOnce(seed, steps), 'ok', `seed ${seed}, ${steps} operations`);
  }
});
