import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { type Test, test } from 'tap';
import { writeRecoveryText } from '../../src/keyring/slots/recovery-text.js';
import { input } from '../../src/keyring/test-keyring.js';
import { Client } from '../support/client.js';
import { type CliResult, cliPath, run, scopefs, Vault } from '../support/mounted.js';

/** `mount --with`: every kind of slot opens the root scope, and where none does there is no mount. */

class SourcesVault extends Vault {
  readonly client = new Client(this.socket);
  file(name: string, text: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }
  add(...options: string[]): void {
    this.expect(this.cli('slot', 'add', '/', ...options), 'slot add');
  }
  off(): void {
    this.expect(this.unmount(), 'unmount');
  }
  arguments(source: string, ...options: string[]): string[] {
    return ['mount', this.vault, this.mount, '--with', source, '--host', `unix://${this.socket}`, ...options];
  }
  with(source: string, ...options: string[]): CliResult {
    return scopefs(this.arguments(source, '--json', ...options));
  }
  get isMounted(): boolean {
    return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${this.mount} `);
  }
  /** Nothing stays: no mount, no daemon, no mark of an unclean stop. */
  nothingStays(t: Test, why: string): void {
    t.notOk(this.isMounted, `${why}: no mount`);
    t.notOk(existsSync(join(this.vault, 'dirty')), `${why}: clean`);
    t.equal(spawnSync('pgrep', ['-f', `server.js scopefs ${this.vault}`]).status, 1, `${why}: no daemon`);
  }
}
function vaultFor(t: Test): SourcesVault {
  const vault = new SourcesVault();
  t.teardown(() => vault.remove());
  writeFileSync(vault.path('top'), 'of the root');
  return vault;
}

test('a mount opens the root scope with an age file, a command, a share that it renews', async (t) => {
  const vault = vaultFor(t);
  const identity = await generateX25519Identity();
  const key = vault.file('identity', `${identity}\n`);
  const command = vault.file('command', `#!/bin/sh\necho ${'of a command'.repeat(4)}\n`);
  spawnSync('chmod', ['700', command]);
  const share = join(vault.directory, 'share');
  const recovery = Buffer.alloc(71);
  writeRecoveryText(Buffer.alloc(32, 7), recovery);
  await vault.client.addSlot('/', { slot: 'recovery' }, input(recovery));
  vault.add('--new', `age:${vault.file('recipients', `${await identityToRecipient(identity)}\n`)}`);
  vault.add('--new', `cmd:${command}`);
  vault.add('--new', `share:file:${share}`);
  const before = readFileSync(share, 'latin1');
  for (const [slot, source] of [
    [2, `age:${key}`],
    [3, `cmd:${command}`],
    [4, `share:file:${share}`],
    [4, `share:file:${share}`],
  ] as const) {
    vault.off();
    const done = vault.with(source);
    t.equal(done.status, 0, done.stderr);
    vault.pid = (JSON.parse(done.stdout) as { pid: number }).pid;
    t.match(JSON.parse(done.stdout), { locked: false });
    t.equal(readFileSync(vault.path('top'), 'utf8'), 'of the root', source);
    const unlocks = (await vault.client.audit(5)).filter(({ event }) => event === 'unlock');
    t.match(unlocks.at(-1), { result: 'ok', slot, purpose: 'mount' }, 'the audit says which slot');
  }
  t.not(readFileSync(share, 'latin1'), before, 'renewed');
});

test('where the root scope does not open there is no mount, and the audit says why', async (t) => {
  const vault = vaultFor(t);
  const wrong = vault.file('wrong', 'x'.repeat(40));
  const later = new Date(Date.now() + 2 * 3_600_000).toISOString().slice(11, 16);
  const second = vault.file('second', 'y'.repeat(40));
  vault.add('--new', `file:${second}`, '--label', 'nightly');
  vault.expect(
    vault.cli('window', 'set', '/', 'nightly', '--at', later, '--for', '15m', '--zone', 'UTC'),
    'window set',
  );
  vault.off();
  for (const [source, status, ...options] of [
    [`file:${wrong}`, 5],
    [`file:${wrong}`, 5, '--foreground'],
    [`file:${wrong}`, 5, '--transport', 'fuse-native'],
    [`file:${second}`, 6],
    ['parent', 5],
    [`file:${vault.directory}/none`, 5],
  ] as [string, number, ...string[]][]) {
    const done = vault.with(source, ...options);
    t.equal(done.status, status, `${source} ${options.join(' ')}: ${done.stderr}`);
    vault.nothingStays(t, source);
  }
  vault.mountIt();
  const audit = await vault.client.audit(20);
  const refused = audit.filter(({ event, result }) => event === 'unlock' && result !== 'ok');
  t.same(
    refused.map(({ result }) => result),
    ['bad_key', 'bad_key', 'bad_key', 'forbidden', 'bad_key'],
  );
});

test('the first share of several leaves the mount locked, and says that more are awaited', async (t) => {
  const vault = vaultFor(t);
  const board = join(vault.directory, 'board');
  vault.add('--slot', 'threshold', '--shares', '3', '--threshold', '2', '--new', `share:file:${board}`);
  vault.off();
  const first = vault.with(`share:file:${board}.1`);
  t.equal(first.status, 11, first.stderr);
  t.match(JSON.parse(first.stdout), { locked: true });
  t.match(JSON.parse(first.stderr), { error: { code: 'pending' } });
  vault.pid = (JSON.parse(first.stdout) as { pid: number }).pid;
  const second = vault.cli('unlock', '/', '--with', `share:file:${board}.3`);
  t.equal(second.status, 0, second.stderr);
  t.equal(readFileSync(vault.path('top'), 'utf8'), 'of the root');
});

test('a mount that is interrupted before its root scope is open takes itself away', async (t) => {
  const vault = vaultFor(t);
  const recovery = Buffer.alloc(71);
  writeRecoveryText(Buffer.alloc(32, 7), recovery);
  await vault.client.addSlot('/', { slot: 'recovery' }, input(recovery));
  const share = join(vault.directory, 'share');
  vault.add('--new', `share:file:${share}`);
  vault.off();
  // The mount waits for the share's file.
  const holder = spawn('flock', [share, 'sleep', '600'], { stdio: 'ignore', detached: true });
  t.teardown(() => process.kill(-(holder.pid as number), 'SIGKILL'));
  // While the daemon starts, and behind that.
  for (const [signal, pause] of [
    ['SIGINT', 0],
    ['SIGINT', 1000],
    ['SIGTERM', 1000],
  ] as const) {
    const mount = spawn(cliPath, vault.arguments(`share:file:${share}`), { stdio: 'ignore' });
    while (!(await vault.client.version().catch(() => undefined))) await sleep(20);
    await sleep(pause);
    mount.kill(signal);
    const [status] = (await once(mount, 'close')) as [number];
    t.equal(status, 130, signal);
    while (vault.isMounted || existsSync(join(vault.vault, 'dirty'))) await sleep(20);
    while (spawnSync('pgrep', ['-f', `server.js scopefs ${vault.vault}`]).status === 0) await sleep(20);
    vault.nothingStays(t, signal);
  }
});

test('kill -9 of a mount while it unlocks leaves nothing open that no lease shows', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  const args = ['mount', vault.vault, vault.mount, '--with', `file:${vault.keyFile}`];
  const states = new Map<string, number>();
  for (const delay of [250, 400, 550, 700]) {
    const mounting = spawn(process.execPath, [cliPath, ...args, '--host', `unix://${vault.socket}`]);
    const ended = new Promise((resolve) => mounting.once('close', resolve));
    await sleep(delay);
    mounting.kill('SIGKILL');
    await ended;
    // The daemon may be about to answer, and what it was asked to be under way.
    await sleep(1000);
    const seen = vault.cli('status', '/', '--json');
    const { state, leases } = seen.stdout === '' ? { state: 'gone', leases: 0 } : JSON.parse(seen.stdout);
    states.set(state, (states.get(state) ?? 0) + 1);
    if (state === 'unlocked') t.equal(leases, 1, 'its lease says why');
    else t.equal(leases, 0);
    if (state !== 'unlocked')
      t.throws(() => writeFileSync(vault.path('f'), ''), `${delay} ms: nothing is open`);
    vault.cli('unmount', vault.mount);
    run('umount', ['-l', vault.mount]);
  }
  t.comment([...states].map(([state, count]) => `${state} ${count}`).join(', '));
});

test('interrupted while the daemon starts, by the terminal or by the binding: no mount, a clean vault', async (t) => {
  const vault = vaultFor(t);
  vault.off();
  for (const [group, ...options] of [
    [true, '--foreground'],
    [false, '--transport', 'fuse-native'],
  ] as [boolean, ...string[]][]) {
    const mount = spawn(cliPath, vault.arguments(`file:${vault.keyFile}`, ...options), {
      stdio: 'ignore',
      detached: group,
    });
    while (!existsSync(join(vault.vault, 'dirty'))) await sleep(2);
    process.kill(group ? -(mount.pid as number) : (mount.pid as number), 'SIGINT');
    await once(mount, 'close');
    while (spawnSync('pgrep', ['-f', `server.js scopefs ${vault.vault}`]).status === 0) await sleep(20);
    vault.nothingStays(t, options.join(' '));
  }
});

test('a failed mount takes away its own alone, also where its daemon died', async (t) => {
  const vault = vaultFor(t);
  const recovery = Buffer.alloc(71);
  writeRecoveryText(Buffer.alloc(32, 7), recovery);
  await vault.client.addSlot('/', { slot: 'recovery' }, input(recovery));
  const share = join(vault.directory, 'share');
  vault.add('--new', `share:file:${share}`);
  vault.off();
  const holder = spawn('flock', [share, 'sleep', '600'], { stdio: 'ignore', detached: true });
  const begin = async (): Promise<{ ended: Promise<unknown[]>; daemon: number }> => {
    const mount = spawn(cliPath, vault.arguments(`share:file:${share}`), { stdio: 'ignore' });
    const ended = once(mount, 'close');
    while (!(await vault.client.version().catch(() => undefined))) await sleep(20);
    return { ended, daemon: (await vault.client.version()).pid };
  };
  const dying = await begin();
  await sleep(1000);
  process.kill(dying.daemon, 'SIGKILL');
  await vault.client.version().catch(() => undefined);
  process.kill(-(holder.pid as number), 'SIGKILL');
  t.not((await dying.ended)[0], 0);
  t.notOk(vault.isMounted, 'no dead mount');
  const wrong = vault.file('wrong', 'x'.repeat(40));
  const mount = spawn(cliPath, vault.arguments(`file:${wrong}`), { stdio: 'ignore' });
  const ended = once(mount, 'close');
  while (!vault.isMounted) await sleep(1);
  const over = spawnSync('mount', ['-t', 'tmpfs', 'theirs', vault.mount]).status === 0;
  const [status] = await ended;
  if (over && spawnSync('umount', [vault.mount]).status === 0) {
    t.equal(status, 5, 'it ends');
    spawnSync('umount', ['-l', vault.mount]);
  } else t.comment('the mount was gone before somebody else could mount on it');
  t.equal(spawnSync('pgrep', ['-f', `server.js scopefs ${vault.vault}`]).status, 1, 'no daemon');
});

test('a vault may begin with an age slot; kinds that need another beside them are refused by name', async (t) => {
  const vault = vaultFor(t);
  const identity = await generateX25519Identity();
  const recipients = vault.file('recipients', `${await identityToRecipient(identity)}\n`);
  const key = vault.file('identity', `${identity}\n`);
  const made = join(vault.directory, 'made');
  const init = (...options: string[]): CliResult => scopefs(['init', made, ...options]);
  for (const [status, ...options] of [
    [2, '--with', 'parent'],
    [2, '--with', `share:file:${made}.share`],
    [2, '--with', `file:${vault.keyFile}`, '--slot', 'threshold'],
    [2, '--with', `file:${vault.keyFile}`, '--slot', 'age'],
    [2, '--with', `age:${recipients}`, '--slot', 'keyfile'],
  ] as [number, ...string[]][]) {
    const refused = init(...options);
    t.equal(refused.status, status, `${options.join(' ')}: ${refused.stderr}`);
    t.notOk(existsSync(made));
    t.notOk(existsSync(`${made}.share`));
  }
  vault.expect(init('--with', `age:${recipients}`), 'init');
  vault.off();
  const host = `unix://${vault.socket}`;
  const done = scopefs(['mount', made, vault.mount, '--with', `age:${key}`, '--host', host, '--json']);
  t.equal(done.status, 0, done.stderr);
  vault.pid = (JSON.parse(done.stdout) as { pid: number }).pid;
  t.match(await vault.client.slots('/'), [{ number: 0, type: 'age', status: 'ok' }]);
});
