import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { fails, freshVault, mounting } from '../support/failing.js';
import { scopefs } from '../support/mounted.js';

test('scopes: unknown 4, locked 3, bad key 5, wrong usage 2, no daemon 10', async (t) => {
  const vault = freshVault(t, true);
  const host = ['--host', `unix://${vault.socket}`];
  const key = vault.createScope('a');
  const inner = vault.createScope('a/b');
  const on = (...args: string[]): string[] => [...args, ...host];
  const unknown = ['none', 'a/none', 'f'.repeat(32)];
  for (const scope of unknown) fails(t, on('status', scope), 4, 'not_found');
  fails(t, on('lock', 'none'), 4, 'not_found');
  fails(t, on('unlock', 'none', '--with', `file:${key}`), 4, 'not_found');
  vault.lock('a');
  t.equal(vault.cli('status', 'a').status, 3);
  t.equal(vault.cli('status', 'a', '-q').status, 3);
  t.equal(vault.cli('status', '/').status, 0);
  fails(t, on('create', 'a/c', '--with', `file:${key}`), 3, 'locked');
  const { message } = fails(t, on('unlock', 'a/b', '--with', `file:${inner}`), 3, 'locked');
  t.match(message, '/a', 'it names the parent');
  fails(t, on('unlock', 'a', '--with', `file:${inner}`), 5, 'bad_key', { hint: false });
  t.equal(vault.cli('status', 'a').status, 3, 'a wrong key unlocks nothing');
  fails(t, on('create', '/', '--with', `file:${key}`), 8, 'conflict', { hint: false });
  fails(t, on('create', 'none/x', '--with', `file:${key}`), 4, 'not_found');
  fails(t, on('unlock', 'a', '--with', `file:${key}`, '--ttl', '5 minutes'), 2, 'usage', { hint: false });
  fails(t, on('lock'), 2, 'usage');
  fails(t, on('lock', 'a', '-a'), 2, 'usage');
  for (const args of [
    ['no-such-verb'],
    ['status', '--no-such-option'],
    ['init'],
    ['mount', 'x'],
    ['status', 'a', 'b'],
  ]) {
    t.equal(scopefs(on(...args)).status, 2, args.join(' '));
  }
  fails(t, ['status', '--host', 'tcp://127.0.0.1'], 2, 'usage');
  fails(t, ['status', '--host', `unix://${vault.directory}/none`], 10, 'unreachable');
  fails(t, ['ls', '--host', `unix://${vault.keyFile}`], 10, 'unreachable');
  t.equal(statSync(vault.socket).mode & 0o7777, 0o600, 'the socket is its owner’s alone');
});

test('a dead mount: mount again works and says so, unmount works', async (t) => {
  const vault = freshVault(t, true);
  writeFileSync(vault.path('f'), 'content');
  const die = async (): Promise<void> => {
    process.kill(vault.pid, 'SIGKILL');
    for (let i = 0; i < 100 && existsSync(`/proc/${vault.pid}`); i++)
      await new Promise((next) => setTimeout(next, 50));
  };
  await die();
  t.throws(() => statSync(vault.mount), { code: 'ENOTCONN' });
  const again = scopefs([...mounting(vault), '--json']);
  t.equal(again.status, 0, again.stderr);
  const facts = JSON.parse(again.stdout) as { pid: number; unclean: boolean };
  t.equal(facts.unclean, true);
  t.match(again.stderr, 'dead mount');
  vault.pid = facts.pid;
  t.equal(readFileSync(vault.path('f'), 'utf8'), 'content');
  await die();
  const unmounted = vault.unmount();
  t.equal(unmounted.status, 0, unmounted.stderr);
  t.same(readdirSync(vault.mount), [], 'the mount point is an empty directory again');
});
