import { test } from 'tap';
import { compareOnce } from './random.js';

/** 1,000,000 operations over 8 seeds. */
const STEPS = 125_000;
const SEEDS = [11, 12, 13, 14, 15, 16, 17, 18];

for (const seed of SEEDS) {
  test(`seed ${seed}`, async (t) => {
    const options = seed % 2 === 0 ? ['--writeback'] : [];
    t.equal(compareOnce(seed, STEPS, ...options), 'ok', `${STEPS} operations ${options.join()}`);
  });
}
