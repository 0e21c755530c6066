import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import { open } from '../../src/libc/files.js';
import { run } from '../support/mounted.js';
import { Rig } from '../support/probe.js';

function rigFor(t: Test): Rig {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  return rig;
}

test('locking a parent locks its children first, deepest first, a receipt each', async (t) => {
  const rig = rigFor(t);
  for (const path of ['/a', '/a/b', '/a/b/c', '/a/side', '/other']) rig.createScope(path);
  writeFileSync(rig.path('a/b/c/file'), 'deep');
  const receipts = rig.vault.lock('/a');
  const order = receipts.map((receipt) => receipt.path);
  t.same([...order].sort(), ['/a', '/a/b', '/a/b/c', '/a/side']);
  t.ok(order.indexOf('/a/b/c') < order.indexOf('/a/b'), order.join(' '));
  t.equal(order.at(-1), '/a', 'the parent comes last');
  t.equal(await rig.state('/other'), 'unlocked', 'a sibling is not touched');
  t.equal(await rig.state('/'), 'unlocked');

  const child = rig.vault.cli('unlock', '/a/b/c', '--with', `file:${rig.key('/a/b/c')}`);
  t.equal(child.status, 3, 'a child under a locked parent');
  t.match(child.stderr, /\/a\/b is locked/, 'names the parent');
  const middle = rig.vault.cli('unlock', 'a/b', '--with', `file:${rig.key('/a/b')}`, '--json');
  t.equal(middle.status, 3);
  t.match(`${middle.stdout}${middle.stderr}`, /\/a is locked/);
  for (const path of ['/a', '/a/b', '/a/b/c']) await rig.unlock(path);
  t.equal(readFileSync(rig.path('a/b/c/file'), 'utf8'), 'deep');
});

test('lock -a locks the root scope too, and everything unlocks again', async (t) => {
  const rig = rigFor(t);
  rig.createScope('/a');
  mkdirSync(rig.path('plain'));
  writeFileSync(rig.path('plain/file'), 'root data');
  const done = rig.vault.cli('lock', '-a', '--json');
  t.equal(done.status, 0);
  const { receipts } = JSON.parse(done.stdout) as { receipts: { path: string }[] };
  t.same(
    receipts.map(({ path }) => path),
    ['/a', '/'],
  );
  t.equal(rig.vault.cli('status', '/', '-q').status, 3);
  t.throws(() => readFileSync(rig.path('plain/file')));
  t.throws(() => readdirSync(rig.vault.mount));
  const child = rig.vault.cli('unlock', 'a', '--with', `file:${rig.key('/a')}`);
  t.equal(child.status, 3);
  t.match(child.stderr, /\/ is locked/, 'names the root');
  await rig.unlock('/');
  t.equal(readFileSync(rig.path('plain/file'), 'utf8'), 'root data');
  await rig.unlock('/a');
});

test('a scope below an ordinary directory unlocks after its parent scope was locked and unlocked', async (t) => {
  const rig = rigFor(t);
  mkdirSync(rig.path('users'));
  // By the control plane alone: no program has walked the path, so the kernel holds nothing of the scope.
  rig.createScope('/users/alice');
  await rig.client.lockAll({});
  await rig.unlock('/');
  const first = rig.vault.cli('unlock', 'users/alice', '--with', `file:${rig.key('/users/alice')}`);
  t.equal(first.status, 0, first.stderr);
  writeFileSync(rig.path('users/alice/file'), 'kept');
});

test('the same while a process stands in the scope', async (t) => {
  const rig = rigFor(t);
  mkdirSync(rig.path('users'));
  rig.createScope('/users/alice');
  writeFileSync(rig.path('users/alice/file'), 'kept');
  const probe = rig.probe();
  await probe.must('chdir', { path: rig.path('users/alice') });
  await rig.client.lockAll({});
  await rig.unlock('/');
  const second = rig.vault.cli('unlock', 'users/alice', '--with', `file:${rig.key('/users/alice')}`);
  t.equal(second.status, 0, second.stderr);
  t.equal(readFileSync(rig.path('users/alice/file'), 'utf8'), 'kept');
});

test('renaming a directory that contains a scope keeps the scope unlockable, also after a remount', async (t) => {
  const rig = rigFor(t);
  mkdirSync(rig.path('users'));
  mkdirSync(rig.path('users/team'));
  rig.createScope('/users/team/alice');
  writeFileSync(rig.path('users/team/alice/file'), 'kept');
  const key = `file:${rig.key('/users/team/alice')}`;
  const cli = (verb: string, path: string) =>
    rig.vault.cli(verb, path, ...(verb === 'unlock' ? ['--with', key] : []));

  renameSync(rig.path('users'), rig.path('people'));
  t.equal(readFileSync(rig.path('people/team/alice/file'), 'utf8'), 'kept', 'renamed while unlocked');
  t.equal(cli('lock', 'people/team/alice').status, 0);
  renameSync(rig.path('people/team'), rig.path('people/crew'));
  t.equal(cli('unlock', 'people/crew/alice').status, 0, 'renamed while locked');
  t.equal(readFileSync(rig.path('people/crew/alice/file'), 'utf8'), 'kept');
  t.equal(cli('lock', 'people/crew/alice').status, 0);
  renameSync(rig.path('people/crew/alice'), rig.path('people/crew/alicia'));
  t.equal(cli('unlock', 'people/crew/alicia').status, 0, 'the scope itself renamed while locked');
  t.equal(cli('lock', 'people/crew/alicia').status, 0);
  rig.vault.remount();
  const again = cli('unlock', 'people/crew/alicia');
  t.equal(again.status, 0, `after a remount: ${again.stderr}`);
  t.equal(readFileSync(rig.path('people/crew/alicia/file'), 'utf8'), 'kept');
});

test('renaming a directory above a scope that nobody looked up since the mount moves its label', async (t) => {
  const rig = rigFor(t);
  mkdirSync(rig.path('users'));
  mkdirSync(rig.path('users/team'));
  rig.createScope('/users/team/alice');
  writeFileSync(rig.path('users/team/alice/file'), 'kept');
  rig.vault.remount();
  renameSync(rig.path('users'), rig.path('people'));
  await rig.client.lockAll({});
  await rig.unlock('/');
  const key = `file:${rig.key('/users/team/alice')}`;
  const done = rig.vault.cli('unlock', 'people/team/alice', '--with', key);
  t.equal(done.status, 0, done.stderr);
  t.equal(readFileSync(rig.path('people/team/alice/file'), 'utf8'), 'kept');
});

test('rename across scopes is EXDEV and mv copies', async (t) => {
  const rig = rigFor(t);
  rig.createScope('/a');
  rig.createScope('/b');
  mkdirSync(rig.path('a/dir'));
  writeFileSync(rig.path('a/file'), Buffer.alloc(100_000, 7));
  writeFileSync(rig.path('a/dir/inner'), 'inner');
  writeFileSync(rig.path('outside'), 'root');
  for (const [from, to] of [
    ['a/file', 'b/file'],
    ['a/dir', 'b/dir'],
    ['a/file', 'file'],
    ['outside', 'a/outside'],
    ['a', 'b/a'],
  ] as const) {
    t.throws(() => renameSync(rig.path(from), rig.path(to)), { code: 'EXDEV' }, `${from} to ${to}`);
  }
  t.equal(run('mv', [rig.path('a/file'), rig.path('b/file')]).status, 0);
  t.equal(run('mv', [rig.path('a/dir'), rig.path('b/dir')]).status, 0);
  t.same(readdirSync(rig.path('a')), []);
  await rig.lock('/a');
  t.ok(readFileSync(rig.path('b/file')).equals(Buffer.alloc(100_000, 7)), 'under the key of b now');
  t.equal(readFileSync(rig.path('b/dir/inner'), 'utf8'), 'inner');
  t.throws(() => renameSync(rig.path('b/file'), rig.path('a/file')), 'into a locked scope');
});

test('a lock of the parent reaches what a process holds in a child', async (t) => {
  const rig = rigFor(t);
  rig.createScope('/a');
  mkdirSync(rig.path('a/dir'));
  rig.createScope('/a/dir/b');
  writeFileSync(rig.path('a/dir/b/file'), Buffer.alloc(8192, 0x62));
  const probe = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a/dir/b/file'), flags: open.O_RDWR });
  const map = await probe.must('map', { fd, length: 8192, write: true });
  await probe.must('poke', { map, value: 0x63 });
  const receipts = await rig.lock('/a');
  t.same(
    receipts.flatMap((receipt) => receipt.errors),
    [],
  );
  t.equal((await probe.call('read', { fd })).n, -126);
  t.equal((await probe.call('mincore', { map })).n, 0);
  await rig.unlock('/a');
  t.equal((await probe.call('read', { fd })).n, -126, 'the parent alone does not bring it back');
  t.equal(spawnSync('ls', [rig.path('a/dir')]).status, 0);
  await rig.unlock('/a/dir/b');
  t.equal(readFileSync(rig.path('a/dir/b/file'))[4096], 0x63, 'the dirty page was kept');
  t.equal((await probe.call('peek', { map })).signal, 'SIGBUS');
});
