import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { Connection } from '../../src/store/connection.js';
import { Rig } from '../support/probe.js';

/** Scopes that open with their parent, and lock with it. */

function rigFor(t: Test): Rig {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  return rig;
}
function create(t: Test, rig: Rig, path: string, ...more: string[]): void {
  const done = rig.vault.cli('create', path, '--with', 'parent', ...more);
  t.equal(done.status, 0, done.stderr);
  writeFileSync(rig.path(`${path}/file`), path);
}
const state = async (rig: Rig, path: string): Promise<string> => (await rig.client.scope(path)).state;
const readsAs = (t: Test, rig: Rig, ...paths: string[]): void => {
  for (const path of paths) t.equal(readFileSync(rig.path(`${path}/file`), 'utf8'), path);
};

test('from the mount on, after lock and unlock, and however deep', async (t) => {
  const rig = rigFor(t);
  create(t, rig, 'web', '--auto');
  create(t, rig, 'web/static', '--auto');
  create(t, rig, 'other');
  rig.vault.remount();
  readsAs(t, rig, 'web', 'web/static');
  t.equal(await state(rig, 'other'), 'locked', 'another parent slot is asked for');
  await rig.lock('/');
  t.notOk(existsSync(rig.path('web/file')));
  t.equal(rig.vault.cli('unlock', '/', '--with', `file:${rig.vault.keyFile}`).status, 0);
  readsAs(t, rig, 'web', 'web/static');
  const { leases } = JSON.parse(rig.vault.cli('lease', 'list', '--json').stdout) as {
    leases: { path: string; purpose: string }[];
  };
  t.match(
    leases.filter(({ purpose }) => purpose === 'with its parent').map(({ path }) => path),
    ['/web', '/web/static'],
  );
});

test("on the parent's terms, and only when that is opened", async (t) => {
  const rig = rigFor(t);
  create(t, rig, 'a/public', '--auto');
  await rig.lock('/a');
  const key = ['--with', `file:${rig.key('/a')}`];
  t.equal(rig.vault.cli('unlock', 'a', ...key, '--ro', '--visible-to', 'uid:0', '--ttl', '1h').status, 0);
  t.match(await rig.client.scope('a/public'), { state: 'unlocked', visible_to: 'uid:0', read_only: true });
  await rig.lock('/a/public');
  t.equal(rig.vault.cli('unlock', 'a', ...key, '--ro', '--visible-to', 'uid:0').status, 0);
  t.equal(await state(rig, 'a/public'), 'locked', 'whoever locked it alone meant it');
  await rig.lock('/a');
  t.equal(rig.vault.cli('unlock', 'a', ...key, '--ttl', '1s').status, 0);
  readsAs(t, rig, 'a/public');
  for (let i = 0; i < 100 && (await state(rig, 'a')) !== 'locked'; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.equal(await state(rig, 'a/public'), 'locked', 'a deadline of the parent is one of it');
});

test('it stays so through epochs of the parent; a row that was edited opens nothing by itself', async (t) => {
  const rig = rigFor(t);
  create(t, rig, 'a/public', '--auto');
  create(t, rig, 'a/private');
  t.equal(rig.vault.cli('slot', 'rotate', 'a', '0', '--new', `file:${rig.key('/a')}`).status, 0);
  t.match(await rig.client.slots('a/public'), [{ type: 'parent', auto: true, status: 'ok' }]);
  t.match(rig.vault.cli('slot', 'list', 'a/public').stdout, 'parent, auto');
  await rig.lock('/a');
  const db = new Connection(join(rig.vault.vault, 'store.sqlite'));
  t.teardown(() => db.close());
  db.prepare(
    `UPDATE slots SET parameters = substr(parameters, 1, length(parameters) - 1) || ',"auto":true}' WHERE scope = ?`,
  ).run(Buffer.from((await rig.client.scope('a/private')).id, 'hex'));
  await rig.unlock('/a');
  readsAs(t, rig, 'a/public');
  t.equal(await state(rig, 'a/private'), 'locked');
});

test('a slot with a secret of its own opens nothing by itself', async (t) => {
  const rig = rigFor(t);
  const done = rig.vault.cli('slot', 'add', 'a', '--new', `file:${rig.vault.keyFile}`, '--auto');
  t.equal(done.status, 2);
  t.match(done.stderr, '--new parent');
});
