import { type Test, test } from 'tap';
import { Vault } from '../support/mounted.js';
import { crowd, treeHash } from './crowd.js';
import { fresh } from './suite.js';

/** A short slice of what random.long.ts does at length. ext4 first: the check must hold there. */
const STEPS = 1_500;
const KINDS = 17;

async function holds(t: Test, base: string, seed: number, where: string): Promise<void> {
  const { wrong, done } = await crowd(base, seed, STEPS);
  t.same(wrong, [], where);
  t.equal(Object.keys(done).length, KINDS, `each kind of operation worked at times: ${JSON.stringify(done)}`);
}

test('four processes in the same directories', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  await holds(t, fresh(vault.directory, 'control'), 1, 'ext4');
  for (const options of [[], ['--writeback']]) {
    vault.mountIt(...options);
    const name = `scope${options.length}`;
    const key = vault.createScope(name);
    const base = fresh(vault.path(name), 'shared');
    await holds(t, base, 2 + options.length, `the mount ${options}`);
    const before = treeHash(base);
    vault.lock(name);
    vault.unlock(name, key);
    t.equal(treeHash(base), before, 'the same tree after a lock and an unlock');
    vault.expect(vault.unmount(), 'unmount');
  }
});
