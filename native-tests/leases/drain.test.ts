import { readFileSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import { open } from '../../src/libc/files.js';
import { PAGE } from '../support/board.js';
import { Rig, sleep, within } from '../support/probe.js';

/** `lock --wait`: whoever has something open may finish; `lock -a`: nobody may. */

async function stage(t: Test): Promise<Rig> {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  rig.createScope('/a/b');
  writeFileSync(rig.path('a/b/file'), 'content');
  return rig;
}

test('lock --wait: no new lease, who is in finishes, and the last close locks', async (t) => {
  const rig = await stage(t);
  const probe = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a/b/file') });
  const said = rig.vault.cli('status', 'a/b');
  t.match(said.stdout, /1 open handles/);
  t.match(said.stderr, new RegExp(`pid ${probe.process.pid}.*a/b/file`), 'and by whom');
  const locking = rig.vault.start('lock', 'a', '--wait', '50s', '--json');
  // Until the verb has asked, which takes a loaded machine seconds, there are leases, and the lock ends them.
  const refused = (): Promise<boolean> =>
    rig.unlock('/a').then(
      () => false,
      () => true,
    );
  for (let i = 0; i < 400 && !(await refused()); i++) await sleep(50);
  t.equal(await rig.state('/a/b'), 'unlocked');
  await t.rejects(rig.unlock('/a'), { code: 'busy' }, 'no lease on it');
  await t.rejects(rig.unlock('/a/b'), { code: 'busy' }, 'nor on what is below');
  t.equal((await probe.call('read', { fd })).text, 'content', 'it reads on');
  t.equal(readFileSync(rig.path('a/b/file'), 'utf8'), 'content', 'and opens more');
  await probe.must('close', { fd });
  const done = await within(10_000, 'the lock', locking);
  t.equal(done.status, 0, done.stderr);
  t.match(JSON.parse(done.stdout), {
    receipts: [
      { path: '/a/b', handles_cut: 0, holders: [] },
      { path: '/a', holders: [] },
    ],
  });
  t.equal(await rig.state('/a'), 'locked');
  await rig.unlock('/a');
  await rig.unlock('/a/b');
});

test('lock --wait, and somebody stays: it locks all the same and says who that was', async (t) => {
  const rig = await stage(t);
  const probe = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a/b/file') });
  const standing = rig.probe();
  await standing.must('chdir', { path: rig.path('a') });
  const { holders } = { holders: await rig.client.holders('/a') };
  t.match(
    holders.map(({ pid, uid }) => [pid, uid]),
    [
      [probe.process.pid, 0],
      [standing.process.pid, 0],
    ],
  );
  const receipts = await rig.lock('/a', '1s');
  t.match(receipts, [
    { path: '/a/b', handles_cut: 1, holders: [{ pid: probe.process.pid, files: [rig.path('a/b/file')] }] },
    { path: '/a', holders: [{ pid: standing.process.pid, files: [rig.path('a')] }] },
  ]);
  t.equal((await probe.call('read', { fd })).n, -126);
  await rig.unlock('/a');
});

test('a lock that asks first: what is used stays as it is, and who uses it is named', async (t) => {
  const rig = await stage(t);
  const probe = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a/b/file') });
  for (const wait of [[], ['--wait', '1s']]) {
    const refused = rig.vault.cli('lock', 'a', '--fail-if-busy', ...wait, '--json');
    t.equal(refused.status, 7, refused.stderr);
    t.match(JSON.parse(refused.stderr.slice(refused.stderr.indexOf('{'))), {
      error: {
        code: 'busy',
        message: '/a is in use: nothing was locked',
        holders: [{ pid: probe.process.pid, files: [rig.path('a/b/file')] }],
      },
    });
    t.equal(await rig.state('/a'), 'unlocked');
    t.equal(await rig.state('/a/b'), 'unlocked');
  }
  t.equal((await probe.call('read', { fd })).n, 7, 'what was open reads on');
  t.equal(rig.vault.cli('lock', '--all', '--fail-if-busy').status, 7);
  t.equal(await rig.state('/'), 'unlocked');
  await probe.must('close', { fd });
  const locked = rig.vault.cli('lock', 'a', '--fail-if-busy', '--json');
  t.match(JSON.parse(locked.stdout), { receipts: [{ path: '/a/b' }, { path: '/a', handles_cut: 0 }] });
});

test('panic: a writer that never pauses and dirty pages delay nothing; files are whole afterwards', async (t) => {
  const rig = await stage(t);
  const LENGTH = 4096 * PAGE;
  writeFileSync(rig.path('a/b/big'), Buffer.alloc(LENGTH, 1));
  const writer = rig.probe();
  const fd = await writer.must('open', { path: rig.path('a/b/big'), flags: open.O_RDWR });
  const map = await writer.must('map', { fd, length: LENGTH, write: true });
  await writer.must('poke', { map, value: 2 });
  const board = rig.board();
  const stream = await writer.must('open', {
    path: rig.path('a/b/stream'),
    flags: open.O_RDWR | open.O_CREAT,
    mode: 0o600,
  });
  const streaming = writer.call('stream', { fd: stream, blocks: 1_000_000, board: board.path, word: 1 });
  while (board.words[1] === 0) await sleep(1);
  const receipts = await within(5_000, 'the panic', rig.client.lockAll({}));
  t.same(
    receipts.map(({ path }) => path),
    ['/a/b', '/a', '/'],
  );
  t.comment(`panic took ${Math.max(...receipts.map(({ seconds }) => seconds))} s`);
  await within(10_000, 'the writer', streaming);
  t.equal((await writer.call('mincore', { map })).n, 0, 'no page is left');
  t.equal((await writer.call('read', { fd })).n, -126);
  for (const path of ['/', '/a', '/a/b']) await rig.unlock(path);
  const big = readFileSync(rig.path('a/b/big'));
  t.equal(big.length, LENGTH);
  t.ok(
    big.every((byte) => byte === 1 || byte === 2),
    'old or new, never something else',
  );
  readFileSync(rig.path('a/b/stream'));
});
