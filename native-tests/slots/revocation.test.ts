import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { Connection } from '../../src/store/connection.js';
import { openScopeRows } from '../support/keys.js';
import { run, Vault } from '../support/mounted.js';

/** A holder who was removed, with copies of store and vault from before, against the vault of today. */

/** Everything below a directory that a reader gets: content, or the error. */
function look(directory: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (!entry.isFile()) continue;
    try {
      found[entry.name] = readFileSync(join(directory, entry.name), 'latin1');
    } catch (error) {
      found[entry.name] = (error as NodeJS.ErrnoException).code ?? String(error);
    }
  }
  return found;
}

/** Kills a process and waits until nothing of it is left. */
async function killed(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
  }
}

function putOldStore(vault: Vault, old: string): void {
  for (const suffix of ['', '-wal', '-shm'])
    rmSync(join(vault.vault, `store.sqlite${suffix}`), { force: true });
  cpSync(join(old, 'store.sqlite'), join(vault.vault, 'store.sqlite'));
}

test('a removed holder opens what was written before and nothing written after', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const alice = vault.createScope('a');
  const bob = join(vault.directory, 'bob');
  writeFileSync(bob, randomBytes(32), { mode: 0o600 });
  vault.expect(vault.cli('slot', 'add', 'a', '--new', `file:${bob}`, '--label', 'bob'), 'add');
  writeFileSync(vault.path('a/old'), 'old content');
  writeFileSync(vault.path('a/changed'), 'x'.repeat(50_000));
  vault.expect(vault.unmount(), 'unmount');
  const copy = join(vault.directory, 'copy');
  vault.expect(run('cp', ['-a', vault.vault, copy]), 'copy');

  vault.mountIt();
  vault.unlock('a', bob);
  vault.expect(vault.cli('slot', 'rm', 'a', 'bob'), 'rm');
  writeFileSync(vault.path('a/changed'), 'new content', { flag: 'r+' });
  writeFileSync(vault.path('a/new'), 'new content');
  symlinkSync('new target', vault.path('a/new link'));
  mkdirSync(vault.path('a/new directory'));
  vault.lock('a');
  t.equal(
    vault.cli('unlock', 'a', '--with', `file:${bob}`).status,
    5,
    'with the store of today: a wrong key',
  );
  vault.expect(vault.unmount(), 'unmount');

  putOldStore(vault, copy);
  vault.mountIt();
  const refused = vault.cli('unlock', 'a', '--with', `file:${bob}`, '--json');
  t.equal(refused.status, 9, 'an old store under a newer vault is refused');
  t.match(JSON.parse(refused.stderr), { error: { code: 'integrity', message: /older than the vault/ } });
  const tail = JSON.parse(vault.cli('audit', 'tail', '--json').stdout) as { entries: unknown[] };
  t.match(tail.entries.at(-1), { event: 'unlock', result: 'integrity', path: '/a' }, 'and audited');
  vault.expect(vault.unmount(), 'unmount');

  // Whoever can write the vault can remove that copy too: then the old epoch opens, and nothing since.
  const tree = join(vault.vault, 'tree');
  for (const name of readdirSync(tree, { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('+slots')) rmSync(join(tree, name));
  }
  vault.mountIt();
  vault.unlock('a', bob);
  const seen = look(vault.path('a'));
  t.same(Object.keys(seen).sort(), ['changed', 'old'], 'no new name');
  t.equal(seen.old, 'old content');
  t.equal(seen.changed, 'EIO', 'not even in a file that was changed');
  t.same(readdirSync(vault.path('a')).sort(), ['changed', 'old'], 'no link, no directory');
  vault.expect(vault.unmount(), 'unmount');
  t.ok(alice.length > 0);
});

test('who stays reads everything over rotations, remounts and kill -9', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  let key = vault.createScope('a');
  const expected: Record<string, string> = {};
  for (let epoch = 1; epoch <= 4; epoch++) {
    const content = `epoch ${epoch}\n`.repeat(3000);
    writeFileSync(vault.path(`a/from ${epoch}`), content);
    expected[`from ${epoch}`] = content;
    writeFileSync(vault.path('a/grown'), content, { flag: 'a' });
    expected.grown = (expected.grown ?? '') + content;
    const next = join(vault.directory, `key ${epoch}`);
    writeFileSync(next, randomBytes(32), { mode: 0o600 });
    vault.expect(vault.cli('slot', 'rotate', 'a', '0', '--new', `file:${next}`), 'rotate');
    t.same(look(vault.path('a')), expected, `while it stays unlocked, epoch ${epoch + 1}`);
    vault.lock('a');
    t.equal(vault.cli('unlock', 'a', '--with', `file:${key}`).status, 5, 'the old key is none any more');
    key = next;
    vault.unlock('a', key);
    t.same(look(vault.path('a')), expected, 'after a lock');
  }
  // Names from the first epoch are found, replaced, moved and made again.
  writeFileSync(vault.path('a/from 1'), 'again');
  run('mv', [vault.path('a/from 2'), vault.path('a/from 3')]);
  rmSync(vault.path('a/from 4'));
  writeFileSync(vault.path('a/from 4'), 'made again', { flag: 'wx' });
  const now = {
    'from 1': 'again',
    'from 3': expected['from 2'],
    'from 4': 'made again',
    grown: expected.grown,
  };
  t.same(look(vault.path('a')), now);
  await killed(vault.pid);
  vault.mountIt();
  vault.unlock('a', key);
  t.same(look(vault.path('a')), now, 'after kill -9');
  t.equal(openScopeRows(vault, 'a').epochs.length, 5);
});

test('the root scope rotates too, and with it the key of the labels', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const key = vault.createScope('users');
  const old = openScopeRows(vault, '/').storeKey;
  vault.expect(vault.cli('slot', 'add', 'users', '--new', `file:${vault.keyFile}`, '--label', 'Büro'), 'add');
  const next = join(vault.directory, 'next');
  writeFileSync(next, randomBytes(32), { mode: 0o600 });
  vault.expect(vault.cli('slot', 'rotate', '/', '0', '--new', `file:${next}`), 'rotate');
  t.notSame(openScopeRows(vault, '/').storeKey, old);
  writeFileSync(vault.path('file'), 'content');
  vault.expect(vault.unmount(), 'unmount');
  t.throws(() => vault.mountIt(), /exit status 5/, 'the old key mounts nothing');
  cpSync(next, vault.keyFile);
  vault.mountIt();
  t.equal(readFileSync(vault.path('file'), 'utf8'), 'content');
  const tail = JSON.parse(vault.cli('audit', 'tail', '--json').stdout) as { entries: unknown[] };
  t.match(
    tail.entries[0],
    { event: 'create', command: 'init', detail: 'keyfile' },
    'older texts are readable',
  );
  vault.unlock('/users', key);
  const listed = JSON.parse(vault.cli('slot', 'list', 'users', '--json').stdout) as { slots: unknown[] };
  t.match(listed.slots, [
    { number: 0, label: null, status: 'ok' },
    { number: 1, label: 'Büro', status: 'ok' },
  ]);
});

test('a scope that has had 2,000 epochs begins no more: all of them are opened with it', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const key = vault.createScope('a');
  vault.expect(vault.cli('slot', 'add', 'a', '--new', `file:${vault.keyFile}`), 'slot add');
  const db = new Connection(join(vault.vault, 'store.sqlite'));
  db.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO epochs SELECT scope, -i, key_id, NULL, created FROM epochs, n
    WHERE scope = (SELECT id FROM scopes WHERE parent IS NOT NULL)`);
  for (const args of [
    ['rm', 'a', '0'],
    ['rotate', 'a', '0', '--new', `file:${vault.keyFile}`],
  ]) {
    const refused = vault.cli('slot', ...args);
    t.equal(refused.status, 8, String(args[0]));
    t.match(refused.stderr, /2001 epochs/);
  }
  db.exec('DELETE FROM epochs WHERE epoch < 0');
  db.close();
  t.equal(vault.cli('slot', 'rm', 'a', '1').status, 0);
  vault.expect(vault.cli('lock', 'a'), 'lock');
  vault.unlock('a', key);
});
