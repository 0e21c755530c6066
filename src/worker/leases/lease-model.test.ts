import { test } from 'tap';
import { runLeaseBatches } from './test-lease-batches.js';
import { type Planted, runLeaseModel } from './test-lease-sequence.js';

test('leases, locks and doors do what the model says, over 500 sequences', async (t) => {
  const seed = process.env.SCOPEFS_SEED;
  const found = await runLeaseBatches(500, seed === undefined ? undefined : Number(seed));
  const { failure, transitions, steps } = found;
  t.equal(failure, undefined);
  t.comment(`${steps} steps, ${transitions.size} kinds of transition`);
  for (const [what, count] of [...transitions].sort()) t.comment(`${String(count).padStart(6)}  ${what}`);
  const states = [
    'locked',
    'open',
    'open to some',
    'open, read-only',
    'open to some, read-only',
    'locking',
    'wiped, not settled',
  ];
  for (const state of states) {
    t.ok(
      [...transitions.keys()].some((key) => key.startsWith(`${state} -- `)),
      `was ${state}`,
    );
  }
});

for (const planted of [
  'outlives its holder',
  'door open after a refusal',
  'deadline waits for a flush',
] as const satisfies readonly Planted[]) {
  test(`the model finds a planted bug: ${planted}`, async (t) => {
    const { failure } = runLeaseModel(500, { planted });
    t.ok(failure !== undefined, 'found');
    t.comment(String(failure).slice(0, 200));
  });
}
