import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { Image } from '../bench/image.js';
import { run, scopefs, Vault } from '../support/mounted.js';
import { Rig } from '../support/probe.js';
import { vaultHashes } from '../support/vault-files.js';

/** Mounts that write nothing: of a vault that could be written, of a disk that can't be, and of one that the kernel makes so. */

const everything = (vault: Vault): string[] =>
  vaultHashes(vault.vault).filter((line) => !line.startsWith('lock'));
const RUN = '/run/scopefs';

test('--ro: all can be read, nothing of the vault changes, and changes are refused by name', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  mkdirSync(rig.path('a/directory'));
  writeFileSync(rig.path('a/directory/file'), 'content');
  writeFileSync(rig.path('sparse'), '');
  run('truncate', ['-s', '1M', rig.path('sparse')]);
  const { vault } = rig;
  vault.expect(vault.unmount(), 'unmount');
  const before = everything(vault);
  vault.mountIt('--ro');
  t.match(vault.cli('status').stdout, /read-only/);
  t.match(JSON.parse(vault.cli('status', '--json').stdout), { read_only: true });
  const key = ['--with', `file:${rig.key('/a')}`];
  t.equal(vault.cli('unlock', 'a', ...key).status, 0);
  t.equal(readFileSync(rig.path('a/directory/file'), 'utf8'), 'content');
  t.equal(readFileSync(rig.path('sparse')).length, 1 << 20);
  t.match(await rig.client.scope('a'), { state: 'unlocked', read_only: true });
  t.throws(() => writeFileSync(rig.path('new'), 'x'), { code: 'EROFS' });
  t.throws(() => writeFileSync(rig.path('a/directory/file'), 'x'), { code: 'EROFS' });
  t.equal(run('mount', ['-o', 'remount,rw', vault.mount]).status, 0, 'whatever the kernel thinks of it');
  t.throws(() => writeFileSync(rig.path('new'), 'x'), { code: 'EROFS' });
  for (const change of [
    ['create', 'b', ...key],
    ['slot', 'add', 'a', '--new', `file:${vault.keyFile}`],
    ['rm', 'a', '--shred', '--yes=a'],
  ]) {
    const refused = vault.cli(...change);
    t.equal(refused.status, 8, change.join(' '));
    t.match(refused.stderr, /mounted read-only/);
  }
  const { volume } = JSON.parse(vault.cli('status', '--json').stdout) as { volume: string };
  const name = readdirSync(RUN).find((one) => one.startsWith(volume) && one.endsWith('.log')) ?? '';
  const log = readFileSync(join(RUN, name), 'utf8');
  t.match(log, /unlock/, 'the audit is in the log');
  t.notMatch(log, /directory/, 'without names');
  t.match(vault.cli('audit', 'tail').stdout, /unlock/, 'and to be asked for, as long as it is mounted');
  t.same(
    readdirSync(RUN).filter((name) => name.startsWith('read-only-')),
    [],
    'the copy of the store has no name',
  );
  vault.expect(vault.unmount(), 'unmount');
  t.same(everything(vault), before, 'byte for byte');
  vault.mountIt();
  writeFileSync(rig.path('new'), 'x');
});

test('a snapshot of a vault in use, on a disk that is read-only', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-test-'));
  const image = new Image(directory, 'disk', { bytes: 64 << 20, inodes: 512 });
  image.create();
  const rig = new Rig({ directory: join(image.mountPoint, 'v') });
  const { vault } = rig;
  const other = join(directory, 'other');
  mkdirSync(other);
  t.teardown(() => {
    run('umount', ['-l', other]);
    run('mount', ['-o', 'remount,rw', image.mountPoint]);
    rig.remove();
    image.destroy();
    rmSync(directory, { recursive: true, force: true });
  });
  rig.createScope('/late');
  writeFileSync(rig.path('late/file'), 'content');
  run('sync', ['-f', vault.mount]);
  const growing = rig.path('growing');
  writeFileSync(growing, Buffer.alloc(300_000, 'g'));
  // The moment of a snapshot: nothing was told to end, and the store's log is not copied back.
  process.kill(vault.pid, 'SIGKILL');
  run('umount', ['-l', vault.mount]);
  run('sync', []);
  t.equal(run('mount', ['-o', 'remount,ro', image.mountPoint]).status, 0);
  const refused = vault.cli('mount', vault.vault, other, '--with', `file:${vault.keyFile}`);
  t.not(refused.status, 0, 'not to be written');
  const socket = `unix://${directory}/sock`;
  const at = ['--host', socket];
  const mounted = scopefs(['mount', vault.vault, other, '--ro', '--with', `file:${vault.keyFile}`, ...at]);
  t.equal(mounted.status, 0, mounted.stderr);
  t.match(mounted.stderr, /not unmounted cleanly/);
  t.equal(scopefs(['unlock', 'late', '--with', `file:${rig.key('/late')}`, ...at]).status, 0);
  t.equal(readFileSync(join(other, 'late/file'), 'utf8'), 'content', 'a scope that the log alone has');
  t.ok(
    readFileSync(join(other, 'growing')).every((byte) => byte === 0x67),
    'what is repaired in passing',
  );
  t.equal(scopefs(['unmount', other, ...at]).status, 0);
});

test('mount -o remount,ro: the kernel takes no more changes, and what it had is written', async (t) => {
  const vault = new Vault({ mountOptions: ['--writeback'] });
  t.teardown(() => vault.remove());
  writeFileSync(vault.path('file'), 'before');
  t.equal(run('mount', ['-o', 'remount,ro', vault.mount]).status, 0);
  t.throws(() => writeFileSync(vault.path('file'), 'x'), { code: 'EROFS' });
  t.equal(readFileSync(vault.path('file'), 'utf8'), 'before');
  t.equal(run('mount', ['-o', 'remount,rw', vault.mount]).status, 0);
  writeFileSync(vault.path('file'), 'after');
  vault.remount();
  t.equal(readFileSync(vault.path('file'), 'utf8'), 'after');
});
