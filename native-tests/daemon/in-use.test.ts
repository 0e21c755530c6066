import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { cliPath, run, Vault } from '../support/mounted.js';

/** A mount that can't be unmounted yet: what holds it is named, with the command that ends it. */

interface Refusal {
  error: { code: string; hint: string; holders: { pid: number }[]; held_by: { what: string; end: string }[] };
}

test('a loop device, what is mounted on it, and a mount inside', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const disk = vault.path('disk');
  writeFileSync(disk, Buffer.alloc(4 << 20));
  t.equal(run('mkfs.ext4', ['-qF', disk]).status, 0);
  const loop = run('losetup', ['--find', '--show', disk]).stdout.trim();
  t.match(loop, /^\/dev\/loop\d+$/);
  const on = join(vault.directory, 'on');
  const inner = vault.path('inner');
  mkdirSync(on);
  mkdirSync(inner);
  const mounted = run('mount', [loop, on]).status === 0;
  t.teardown(() => {
    run('umount', ['-l', on]);
    run('umount', ['-l', inner]);
    run('losetup', ['-d', loop]);
  });
  t.ok(mounted);
  t.equal(run('mount', ['-t', 'tmpfs', 'none', inner]).status, 0);
  const refused = vault.cli('unmount', vault.mount, '--json');
  t.equal(refused.status, 7);
  const { error } = JSON.parse(refused.stderr) as Refusal;
  t.same(error.holders, [], 'no process');
  t.same(error.held_by, [
    { what: `the loop device ${loop} of ${disk}`, end: `umount ${on} && losetup -d ${loop}` },
    { what: `a mount of tmpfs on ${inner}`, end: `umount ${inner}` },
  ]);
  t.match(vault.cli('unmount', vault.mount).stderr, new RegExp(`of tmpfs on ${inner}: umount ${inner}`));
  for (const { end } of error.held_by) t.equal(run('sh', ['-c', end]).status, 0, end);
  t.equal(vault.unmount().status, 0, 'after that it works');
});

test('what a mount namespace of its own has of it is named too', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const other = vault.path('other');
  mkdirSync(other);
  t.equal(run('mount', ['-t', 'tmpfs', 'none', other]).status, 0);
  const inside = spawn('unshare', ['-m', 'sh', '-c', 'echo in; exec sleep 60']);
  t.teardown(() => inside.kill('SIGKILL'));
  await new Promise((resolve) => inside.stdout.once('data', resolve));
  const refused = vault.cli('unmount', vault.mount);
  t.equal(refused.status, 7);
  t.match(refused.stderr, `(pid ${inside.pid}), where it is on ${vault.mount}: nsenter -t ${inside.pid} -m`);
  t.equal(run('umount', [other]).status, 0);
});

test('an argument that is not UTF-8 is named as it is', async (t) => {
  const done = run('sh', ['-c', `${process.execPath} ${cliPath} status "$(printf 'caf\\351')" --json`]);
  t.equal(done.status, 2);
  t.match(JSON.parse(done.stderr), {
    error: { code: 'usage', message: 'an argument is not UTF-8: caf\\xe9' },
  });
  const spelled = run('sh', ['-c', `${process.execPath} ${cliPath} status "\ufffd"`]);
  t.notMatch(spelled.stderr, /not UTF-8/, 'that character itself is one');
});
