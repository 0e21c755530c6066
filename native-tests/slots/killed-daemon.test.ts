import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { run, Vault } from '../support/mounted.js';

/**
 * The daemon is killed in the middle of changes of slots: afterwards the scope opens with the key that the caller was
 * told is valid, or where nobody was told, with the old or the new one; nothing is half made.
 */

/** Where in a change the kill falls, in ms after the command's start. */
const MOMENTS = [250, 800, 1300];

test('kill -9 of the daemon at any moment of a rotation leaves a scope that opens', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  let key = vault.createScope('a');
  writeFileSync(vault.path('a/file'), 'kept');
  vault.lock('a');
  let interrupted = 0;
  for (const [i, moment] of MOMENTS.entries()) {
    vault.unlock('a', key);
    const next = join(vault.directory, `next-${i}`);
    writeFileSync(next, randomBytes(32), { mode: 0o600 });
    // The root scope's as well: the store key and all labels go over with it.
    const nextRoot = join(vault.directory, `root-${i}`);
    writeFileSync(nextRoot, randomBytes(32), { mode: 0o600 });
    const changes = [
      vault.start('slot', 'rotate', 'a', '0', '--new', `file:${next}`),
      vault.start('slot', 'rotate', '/', '0', '--new', `file:${nextRoot}`),
      vault.start('create', `made-${i}`, '--with', `file:${next}`),
    ];
    await new Promise((resolve) => setTimeout(resolve, moment + Math.random() * 150));
    process.kill(vault.pid, 'SIGKILL');
    const [scope, root, made] = await Promise.all(changes);
    if (scope?.status !== 0 || root?.status !== 0) interrupted++;

    // Only a new root key opens the vault where its caller was told so; else the old one, or what it was about to be.
    const [before, after] = [readFileSync(vault.keyFile), readFileSync(nextRoot)];
    const mounted = (root?.status === 0 ? [after] : [before, after]).some((candidate) => {
      writeFileSync(vault.keyFile, candidate);
      try {
        vault.mountIt();
        return true;
      } catch {
        return false;
      }
    });
    t.ok(mounted, `moment ${moment}: the vault mounts (rotation of / ended with ${root?.status})`);
    const opening = (scope?.status === 0 ? [next] : [key, next]).find(
      (candidate) => vault.cli('unlock', 'a', '--with', `file:${candidate}`).status === 0,
    );
    t.ok(
      opening !== undefined,
      `moment ${moment}: the scope opens (its rotation ended with ${scope?.status})`,
    );
    if (opening !== undefined) key = opening;
    t.equal(readFileSync(vault.path('a/file'), 'utf8'), 'kept');
    const listed = JSON.parse(vault.cli('slot', 'list', 'a', '--json').stdout) as {
      slots: { status: string }[];
    };
    t.same(
      listed.slots.map(({ status }) => status),
      ['ok'],
      'one slot, and it is whole',
    );
    if (made?.status === 0) {
      vault.cli('lock', `made-${i}`);
      t.equal(
        vault.cli('unlock', `made-${i}`, '--with', `file:${next}`).status,
        0,
        'a scope that was made opens',
      );
      t.ok(existsSync(vault.path(`made-${i}`)));
    }
    vault.cli('lock', 'a');
  }
  t.ok(interrupted > 0, `${interrupted} of ${MOMENTS.length} rounds were interrupted`);
  const audit = run('sqlite3', [join(vault.vault, 'store.sqlite'), 'PRAGMA integrity_check']);
  t.equal(audit.stdout.trim(), 'ok', 'the store is whole');
});
