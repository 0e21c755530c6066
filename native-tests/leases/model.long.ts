import { test } from 'tap';
import { runLeaseBatches } from '../../src/worker/leases/test-lease-batches.js';

/** lease-model.test.ts at length. */
test('leases, locks and doors do what the model says, over 20,000 sequences', async (t) => {
  const { failure, transitions, steps } = await runLeaseBatches(20_000);
  t.equal(failure, undefined);
  t.comment(`${steps} steps, ${transitions.size} kinds of transition`);
  for (const [what, count] of [...transitions].sort()) t.comment(`${String(count).padStart(8)}  ${what}`);
});
