import { test } from 'tap';
import { compareOnce } from './random.js';

/** A short slice of random.long.ts. */
test('random operations: the mount, ext4 and an array of bytes agree', async (t) => {
  t.equal(compareOnce(1, 12_000), 'ok', 'seed 1, 12,000 operations');
  t.equal(compareOnce(2, 12_000, '--writeback'), 'ok', 'seed 2, 12,000 operations, writeback');
});
