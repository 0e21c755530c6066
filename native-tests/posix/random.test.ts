import { test } from 'tap';
import { compareOnce } from './random.js';

/** A short slice of random.long.ts. */
test('random operations: the mount, ext4 and an array of bytes agree', async (t) => {
  t.equal(compareOnce(1, 6_000), 'ok', 'seed 1, 6,000 operations');
  t.equal(compareOnce(2, 6_000, '--writeback'), 'ok', 'seed 2, 6,000 operations, writeback');
});
