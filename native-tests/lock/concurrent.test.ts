import { closeSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { open } from '../../src/libc/files.js';
import { monotonic } from '../support/board.js';
import { exitStatus, Rig, within } from '../support/probe.js';

test('an unlock during a lock queues behind it, and leaves a scope with a lease', async (t) => {
  const FILES = 2000;
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  // Many inodes with pages: the invalidations take a while.
  for (let i = 0; i < FILES; i++) writeFileSync(rig.path('a', `file-${i}`), `content ${i}`);
  const seen = { refused: 0, early: 0, after: 0, before: 0, orphaned: 0, mixed: 0 };
  for (let round = 0; round < 12; round++) {
    const held = openSync(rig.path('a/file-0'), 'r');
    for (let i = 0; i < FILES; i++) statSync(rig.path('a', `file-${i}`));
    let lockEnded = 0;
    const locking = rig.lock('/a').then((receipts) => {
      lockEnded = monotonic();
      return receipts;
    });
    let refusals = 0;
    let unlocked = 0;
    // One try after another until one works; it is the only one under way then.
    while (unlocked === 0) {
      const status = await exitStatus(rig.unlock('/a'));
      if (status === 7) refusals++;
      else if (status !== 0) t.fail(`unlock ended with ${status}`);
      else if (refusals === 0 && lockEnded === 0) seen.before++;
      else unlocked = monotonic();
    }
    const receipts = await within(15_000, 'the lock', locking);
    seen.refused += refusals;
    // The lock had begun, as it refused somebody or had ended. Two answers may overtake each other by a little.
    if (unlocked < lockEnded - 10) seen.early++;
    else seen.after++;
    t.same(receipts[0]?.errors, []);
    const scope = await rig.client.scope('/a');
    t.equal(scope.state, 'unlocked', 'the unlock that succeeded after the lock holds');
    if (scope.state === 'unlocked' && scope.leases === 0) seen.orphaned++;
    t.throws(() => readFileSync(held), 'the old descriptor stays dead');
    closeSync(held);
    if (scope.state !== 'unlocked') await rig.unlock('/a');
    for (let i = 0; i < FILES; i++) {
      if (readFileSync(rig.path('a', `file-${i}`), 'utf8') !== `content ${i}`) seen.mixed++;
    }
  }
  t.comment(JSON.stringify(seen));
  t.equal(seen.refused, 0, 'nobody was turned away');
  t.equal(seen.early, 0, 'no unlock took effect before the lock had returned');
  t.equal(seen.orphaned, 0, 'the scope is never unlocked without a lease');
  t.equal(seen.mixed, 0, 'every file has its own content');
});

test('two locks at once both return, and the scope is locked when each returns', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  rig.createScope('/a/b');
  const probe = rig.probe();
  for (let round = 0; round < 10; round++) {
    writeFileSync(rig.path('a/file'), `round ${round}`);
    writeFileSync(rig.path('a/b/file'), `round ${round}`);
    const fd = await probe.must('open', { path: rig.path('a/file'), flags: open.O_RDWR });
    const states: string[] = [];
    const orders = [
      () => rig.lock('/a'),
      () => rig.lock('/a'),
      () => rig.lock('/a/b'),
      () => rig.lock('/a', '1s'),
    ];
    await within(
      15_000,
      'the locks',
      Promise.all(
        orders.map(async (order) => {
          await order();
          states.push(await rig.state('/a/b'));
        }),
      ),
    );
    t.same(states, ['locked', 'locked', 'locked', 'locked']);
    t.equal(await rig.state('/a'), 'locked');
    t.equal((await probe.call('read', { fd })).n, -126);
    await rig.unlock('/a');
    await rig.unlock('/a/b');
    t.equal(readFileSync(rig.path('a/file'), 'utf8'), `round ${round}`);
  }
});

test('locks and unlocks of one scope from four sides at once never fail otherwise than busy', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  writeFileSync(rig.path('a/file'), 'content');
  const statuses = new Map<number, number>();
  const end = monotonic() + 4_000;
  const sides = [0, 1, 2, 3].map(async (side) => {
    while (monotonic() < end) {
      const status = await exitStatus(side % 2 === 0 ? rig.unlock('/a') : rig.lock('/a'));
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  });
  await within(15_000, 'all sides', Promise.all(sides));
  t.comment(JSON.stringify([...statuses]));
  t.same(
    [...statuses.keys()].filter((status) => status !== 0 && status !== 7),
    [],
  );
  await rig.lock('/a');
  t.equal(await rig.state('/a'), 'locked');
  t.same(
    (await rig.client.leases()).filter((lease) => lease.path === '/a'),
    [],
    'no lease of a locked scope',
  );
  await rig.unlock('/a');
  t.equal((await rig.client.scope('/a')).leases, 1);
  t.equal(readFileSync(rig.path('a/file'), 'utf8'), 'content');
});
