import { test } from 'tap';
import { run, Vault } from '../support/mounted.js';
import { crowd } from './crowd.js';
import { manyNames } from './many-names.js';
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

/** 4 processes each. */
test('four processes in the same directories', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  for (const options of [[], ['--writeback']]) {
    vault.mountIt(...options);
    const { wrong, done } = await crowd(vault.mount, 21, 60_000);
    t.same(wrong, [], `240,000 operations ${options}`);
    t.comment(JSON.stringify(done));
    vault.remount();
    run('sh', ['-c', `rm -rf ${vault.mount}/*`]);
    vault.expect(vault.unmount(), 'unmount');
  }
});

test('100,000 names in a directory', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  manyNames(t, vault.path('many'), 100_000);
});
