import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import type { ScopeView } from '../../src/control/schemas.js';
import { Connection } from '../../src/store/connection.js';
import { scopefs, Vault } from '../support/mounted.js';

/** A mount that comes without a key: at boot, say. Everything is locked until somebody unlocks the root scope. */

class LockedVault extends Vault {
  mountLocked(): void {
    const host = `unix://${this.socket}`;
    const done = this.expect(scopefs(['mount', this.vault, this.mount, '--host', host, '--json']), 'mount');
    const { pid, locked } = JSON.parse(done.stdout) as { pid: number; locked: boolean };
    if (!locked) throw new Error('it is not locked');
    this.pid = pid;
  }
  ls(): ScopeView[] {
    return (JSON.parse(this.expect(this.cli('ls', '--json'), 'ls').stdout) as { scopes: ScopeView[] }).scopes;
  }
}
function vaultFor(t: Test): { vault: LockedVault; key: string } {
  const vault = new LockedVault();
  t.teardown(() => vault.remove());
  const key = vault.createScope('a');
  writeFileSync(vault.path('a/file'), 'of a');
  writeFileSync(vault.path('top'), 'of the root');
  renameSync(vault.path('a'), vault.path('b'));
  vault.expect(
    vault.cli('slot', 'add', 'b', '--new', `file:${vault.keyFile}`, '--label', 'second'),
    'slot add',
  );
  vault.expect(vault.unmount(), 'unmount');
  return { vault, key };
}

test('without a key the mount is there and locked; names show with the first unlock of the root scope', async (t) => {
  const { vault, key } = vaultFor(t);
  vault.mountLocked();
  const before = vault.ls();
  t.same(
    before.map(({ state }) => state),
    ['locked', 'locked'],
  );
  t.match(before[1]?.path, /^\/locked-[0-9a-f]{32}$/, 'no name is told');
  t.throws(() => readdirSync(vault.mount), /-126/);
  t.throws(() => readFileSync(vault.path('top')), /-126/);
  t.throws(() => writeFileSync(vault.path('new'), 'x'), /-126/);

  const child = vault.cli('unlock', 'b', '--with', `file:${key}`);
  t.equal(child.status, 3, child.stderr);
  t.match(child.stderr, /scopefs unlock \/ /, 'which is to be unlocked first');
  const byId = vault.cli('unlock', before[1]?.id as string, '--with', `file:${key}`);
  t.equal(byId.status, 3, 'nor by its id');
  t.equal(vault.cli('create', 'c', '--with', `file:${key}`).status, 3);
  t.equal(vault.cli('status', 'b', '-q').status, 3);
  const wrong = vault.cli('unlock', '/', '--with', `file:${key}`);
  t.equal(wrong.status, 5, wrong.stderr);
  t.same(vault.cli('lock', '-a').status, 0, 'a lock of what is locked');

  vault.unlock('/', vault.keyFile);
  t.same(
    vault.ls().map(({ path, state }) => `${path} ${state}`),
    ['/ unlocked', '/b locked'],
  );
  t.equal(readFileSync(vault.path('top'), 'utf8'), 'of the root');
  t.match(vault.cli('slot', 'list', 'b').stdout, /second/, 'labels of slots too');
  vault.unlock('b', key);
  t.equal(readFileSync(vault.path('b/file'), 'utf8'), 'of a');
  const audit = vault.expect(vault.cli('audit', 'tail', '--json'), 'audit').stdout;
  const { entries } = JSON.parse(audit) as {
    entries: { event: string; result: string; command: string | null }[];
  };
  const refused = entries.findLast(({ event, result }) => event === 'unlock' && result === 'bad_key');
  t.match(refused, { command: null }, 'what was written before has no texts');
  t.match(entries.at(-1), { event: 'unlock', result: 'ok', command: 'scopefs' }, 'what comes after has');

  vault.expect(vault.cli('lock', '-a'), 'lock -a');
  t.equal(vault.ls()[1]?.path, '/b', 'known from then on');
  vault.unlock('/', vault.keyFile);
  vault.unlock('b', key);
  vault.createScope('c');
  t.equal(readFileSync(vault.path('b/file'), 'utf8'), 'of a');
});

test('a mount that nobody unlocked ends clean, and the root scope opens with shares', async (t) => {
  const { vault, key } = vaultFor(t);
  vault.mountLocked();
  vault.expect(vault.unmount(), 'unmount');
  t.notOk(existsSync(join(vault.vault, 'dirty')));
  vault.mountIt();
  const board = join(vault.directory, 'board');
  const options = [
    '--slot',
    'threshold',
    '--shares',
    '3',
    '--threshold',
    '2',
    '--new',
    `share:file:${board}`,
  ];
  vault.expect(vault.cli('slot', 'add', '/', ...options), 'slot add');
  // A new epoch of the root scope, with a new store key.
  const fresh = join(vault.directory, 'fresh');
  writeFileSync(fresh, randomBytes(32), { mode: 0o600 });
  vault.expect(vault.cli('slot', 'rotate', '/', '0', '--new', `file:${fresh}`), 'slot rotate');
  vault.expect(vault.unmount(), 'unmount');
  vault.mountLocked();
  t.equal(vault.cli('unlock', '/', '--with', `share:file:${board}.1`).status, 11);
  const opened = vault.cli('unlock', '/', '--with', `share:file:${board}.3`, '--ttl', '1h');
  t.equal(opened.status, 0, opened.stderr);
  t.equal(readFileSync(vault.path('top'), 'utf8'), 'of the root');
  vault.unlock('b', key);
  vault.expect(vault.cli('lock', '-a'), 'lock -a');
  t.equal(vault.cli('unlock', '/', '--with', `file:${vault.keyFile}`).status, 5, 'the rotated one');
  vault.unlock('/', fresh);
});

test('a damaged store key keeps the root scope locked, and the audit says so', async (t) => {
  const { vault } = vaultFor(t);
  const db = new Connection(join(vault.vault, 'store.sqlite'));
  const { value } = db.prepare("SELECT value FROM meta WHERE key = 'store_key'").get() as { value: Buffer };
  const edited = Buffer.from(value);
  edited[40] = (edited[40] as number) ^ 1;
  const set = (bytes: Buffer) => db.prepare("UPDATE meta SET value = ? WHERE key = 'store_key'").run(bytes);
  set(edited);
  vault.mountLocked();
  const refused = vault.cli('unlock', '/', '--with', `file:${vault.keyFile}`);
  t.equal(refused.status, 9, refused.stderr);
  const tail = vault.expect(vault.cli('audit', 'tail', '--json'), 'audit').stdout;
  const { entries } = JSON.parse(tail) as { entries: object[] };
  t.match(entries.at(-1), { event: 'unlock', result: 'integrity' });
  t.equal(vault.ls()[0]?.state, 'locked');
  set(value);
  db.close();
  vault.unlock('/', vault.keyFile);
  t.equal(vault.ls()[1]?.path, '/b');
});
