import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'tap';
import { scopefs, Vault } from '../support/mounted.js';

const alive = (pid: number): boolean => existsSync(`/proc/${pid}`);
async function gone(pid: number, seconds: number): Promise<boolean> {
  for (let i = 0; i < seconds * 20 && alive(pid); i++) await sleep(50);
  return !alive(pid);
}
const mounted = (vault: Vault): boolean => readFileSync('/proc/mounts', 'utf8').includes(` ${vault.mount} `);

test('SIGTERM locks, unmounts and ends; the next mount is clean', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  writeFileSync(vault.path('f'), 'data');
  process.kill(vault.pid, 'SIGTERM');
  t.ok(await gone(vault.pid, 5));
  t.notOk(mounted(vault));
  t.notOk(existsSync(join(vault.vault, 'dirty')));
  t.notOk(existsSync(vault.socket));
  vault.mountIt();
  t.equal(readFileSync(vault.path('f'), 'utf8'), 'data');
});

test('SIGTERM ends the daemon also while somebody stands in the mount', async (t) => {
  const vault = new Vault();
  t.teardown(() => {
    process.chdir('/');
    vault.remove();
  });
  writeFileSync(vault.path('f'), 'data');
  process.chdir(vault.mount);
  process.kill(vault.pid, 'SIGTERM');
  process.kill(vault.pid, 'SIGTERM');
  t.ok(await gone(vault.pid, 8));
  t.notOk(mounted(vault));
  process.chdir('/');
  vault.mountIt();
  t.equal(readFileSync(vault.path('f'), 'utf8'), 'data');
});

test('kill -9: the mount is dead, the next mount clears it, and what was written is there', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const big = Buffer.alloc(300_000, 'x');
  writeFileSync(vault.path('small'), 'data');
  const fd = openSync(vault.path('open'), 'w');
  // Never closed before the kill: its header is behind its data.
  for (let i = 0; i < 3; i++) writeSync(fd, big);
  process.kill(vault.pid, 'SIGKILL');
  t.ok(await gone(vault.pid, 2), 'no zombie');
  t.throws(() => readFileSync(vault.path('small')), /ENOTCONN/);
  closeSync(fd);
  const key = `file:${vault.keyFile}`;
  const again = scopefs([
    'mount',
    vault.vault,
    vault.mount,
    '--with',
    key,
    '--host',
    `unix://${vault.socket}`,
  ]);
  t.equal(again.status, 0, again.stderr);
  t.match(again.stderr, /dead mount/);
  t.match(again.stderr, /not unmounted cleanly/);
  t.equal(readFileSync(vault.path('small'), 'utf8'), 'data');
  t.equal(readFileSync(vault.path('open')).length, 900_000);
  t.ok(readFileSync(vault.path('open')).every((byte) => byte === 0x78));
  vault.expect(vault.unmount(), 'unmount');
  vault.mountIt();
  t.equal(readFileSync(vault.path('open')).length, 900_000, 'repaired for good');
});

test('umount(8) ends the daemon as cleanly as the verb', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  writeFileSync(vault.path('f'), Buffer.alloc(100_000, 1));
  t.equal(spawnSync('umount', [vault.mount]).status, 0);
  t.ok(await gone(vault.pid, 5));
  t.notOk(existsSync(join(vault.vault, 'dirty')));
  vault.mountIt();
  t.equal(readFileSync(vault.path('f')).length, 100_000);
});

test('a daemon that takes calls is one that ends in order: SIGTERM with its first connection', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  // Names of no object: the start looks at each, as it may be what is left of a destroyed scope.
  for (let i = 0; i < 10_000; i++) closeSync(openSync(join(vault.vault, 'tree', `junk-${i}`), 'w'));
  const mounting = vault.start('mount', vault.vault, vault.mount);
  const daemon = (): number => {
    const found = spawnSync('pgrep', ['-f', `daemon/server.js scopefs ${vault.vault} `], {
      encoding: 'utf8',
    });
    return Number(found.stdout.trim().split('\n')[0]);
  };
  while (!existsSync(vault.socket)) await sleep(1);
  const pid = daemon();
  const socket = connect(vault.socket);
  await once(socket, 'connect');
  // Whoever has a connection may unlock and write: a stop that takes this for a start would leave all that behind.
  process.kill(pid, 'SIGTERM');
  t.ok(await gone(pid, 20));
  socket.destroy();
  const { stderr } = await mounting;
  t.notMatch(stderr, /ended with status 1/, 'it locked what there was to lock');
  t.notOk(mounted(vault));
  t.notOk(existsSync(join(vault.vault, 'dirty')));
});
