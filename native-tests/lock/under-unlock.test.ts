import { writeFileSync } from 'node:fs';
import { test } from 'tap';
import { SecretInput } from '../../src/libc/memory.js';
import { exitStatus, Rig, sleep } from '../support/probe.js';

/** A lock while an unlock is under way: a passphrase takes most of a second to try. */

const PASSPHRASE = 'correct horse battery';
const given = (): SecretInput => {
  const input = new SecretInput();
  input.append(Buffer.from(PASSPHRASE));
  return input;
};

test('whoever asked before a lock does not unlock after it', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  rig.createScope('/a/inner');
  writeFileSync(rig.path('a/inner/file'), 'content');
  for (const scope of ['/', 'a', 'a/inner']) await rig.client.addSlot(scope, { slot: 'passphrase' }, given());
  const control = rig.client.createLease('a', {}, given());
  await sleep(100);
  t.match(await control, { path: '/a' }, 'an unlock that nobody disturbs');

  for (const [scope, lock] of [
    ['a', () => rig.lock('/a')],
    ['/', () => rig.client.lockAll({})],
    ['a', () => rig.client.lockAll({})],
    ['a/inner', () => rig.lock('/a')],
  ] as const) {
    await rig.unlock('/');
    if (scope === 'a/inner') await rig.unlock('/a');
    else await rig.lock(scope);
    // The second waits for its turn behind the first.
    const unlocks = [1, 2].map(() => exitStatus(rig.client.createLease(scope, {}, given())));
    await sleep(150);
    await lock();
    const open = async (): Promise<string[]> =>
      (await rig.client.leases())
        .map(({ path }) => path)
        .filter((path) => path === '/' || path.startsWith('/a'));
    t.notOk(
      (await open()).includes(scope === '/' ? '/' : `/${scope}`),
      'it is locked when the receipt is there',
    );
    t.same(await Promise.all(unlocks), [7, 7], `${scope}: busy`);
    t.notOk((await open()).includes(scope === '/' ? '/' : `/${scope}`), 'and stays so');
  }
});
