import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { t as root, test } from 'tap';
import type { Connection } from '../../src/store/connection.js';
import { editStore } from '../support/keys.js';
import { run, Vault } from '../support/mounted.js';

/** Somebody edits the metadata store: it is refused by name and audited, and nothing else stops working. */

interface Case {
  what: string;
  edit(db: Connection, id: Buffer, other: Buffer): void;
  /** What unlocking with the first and with the second slot gives. */
  first: number;
  second: number;
  named: RegExp;
  /** Whether a new slot may be added before the damaged one is gone. */
  adds: number;
}

const cases: Case[] = [
  {
    what: 'an edited private half',
    edit: (db, id) =>
      db.prepare('UPDATE slots SET private_half = ? WHERE scope = ? AND number = 1').run(randomBytes(72), id),
    first: 0,
    second: 9,
    named: /slot 1/,
    adds: 9,
  },
  {
    what: 'an edited wrap',
    edit: (db, id) =>
      db.prepare('UPDATE wraps SET rewrap = ? WHERE scope = ? AND number = 1').run(randomBytes(72), id),
    first: 0,
    second: 9,
    named: /slot 1.*wrap/,
    adds: 0,
  },
  {
    what: 'a removed wrap',
    edit: (db, id) => db.prepare('DELETE FROM wraps WHERE scope = ? AND number = 1').run(id),
    first: 0,
    second: 9,
    named: /slot 1.*missing/,
    adds: 0,
  },
  {
    what: 'a removed slot',
    edit: (db, id) => db.prepare('DELETE FROM slots WHERE scope = ? AND number = 1').run(id),
    first: 0,
    second: 5,
    named: /slot list|opens no slot/,
    adds: 9,
  },
  {
    what: "another scope's slot under this one's number",
    edit: (db, id, other) =>
      db
        .prepare(
          `UPDATE slots SET (public_key, private_half, parameters) =
           (SELECT public_key, private_half, parameters FROM slots WHERE scope = ? AND number = 0)
           WHERE scope = ? AND number = 1`,
        )
        .run(other, id),
    first: 0,
    second: 5,
    named: /opens no slot/,
    adds: 9,
  },
  {
    what: 'a form from before',
    edit: (db, id) => db.prepare('UPDATE slots SET kind_version = 1 WHERE scope = ? AND number = 1').run(id),
    first: 0,
    second: 1,
    named: /slot 1.*form/,
    adds: 9,
  },
  {
    what: "another scope's state",
    edit: (db, id, other) =>
      db
        .prepare('UPDATE scopes SET state = (SELECT state FROM scopes WHERE id = ?) WHERE id = ?')
        .run(other, id),
    first: 9,
    second: 9,
    named: /state/,
    adds: 3,
  },
  {
    what: 'a slot list with a flipped bit',
    edit: (db, id) => {
      const { list } = db.prepare('SELECT slot_list AS list FROM scopes WHERE id = ?').get(id) as {
        list: Buffer;
      };
      list[30] = (list[30] as number) ^ 1;
      db.prepare('UPDATE scopes SET slot_list = ? WHERE id = ?').run(list, id);
    },
    first: 9,
    second: 9,
    named: /slot list/,
    adds: 3,
  },
  {
    what: 'another identifier of the epoch',
    edit: (db, id) => db.prepare('UPDATE epochs SET key_id = ? WHERE scope = ?').run(randomBytes(16), id),
    first: 9,
    second: 9,
    named: /identifier/,
    adds: 3,
  },
];

const vault = new Vault();
root.teardown(() => vault.remove());
const other = vault.createScope('other');
const key = vault.createScope('a');
const more = join(vault.directory, 'more');
writeFileSync(more, randomBytes(32), { mode: 0o600 });
vault.expect(vault.cli('slot', 'add', 'a', '--new', `file:${more}`), 'add');
writeFileSync(vault.path('a/file'), 'content');
writeFileSync(vault.path('other/file'), 'content');
vault.expect(vault.unmount(), 'unmount');
const whole = join(vault.directory, 'whole');
vault.expect(run('cp', ['-a', vault.vault, whole]), 'copy');

for (const { what, edit, first, second, named, adds } of cases) {
  test(what, async (t) => {
    rmSync(vault.vault, { recursive: true });
    vault.expect(run('cp', ['-a', whole, vault.vault]), 'copy');
    editStore(vault, (db, ids) => edit(db, ids[2] as Buffer, ids[1] as Buffer));
    vault.mountIt();
    t.teardown(() => vault.unmount());

    const bySecond = vault.cli('unlock', 'a', '--with', `file:${more}`);
    t.equal(bySecond.status, second, bySecond.stderr);
    t.match(bySecond.stderr, named);
    t.match(lastAudit(vault), { event: 'unlock', path: '/a', result: /.../ }, 'audited');
    const byFirst = vault.cli('unlock', 'a', '--with', `file:${key}`);
    t.equal(byFirst.status, first, byFirst.stderr);
    if (first === 0) t.equal(readFileSync(vault.path('a/file'), 'utf8'), 'content');
    const added = vault.cli('slot', 'add', 'a', '--new', `file:${vault.keyFile}`);
    t.equal(added.status, adds, added.stderr);
    vault.unlock('other', other);
    t.equal(readFileSync(vault.path('other/file'), 'utf8'), 'content', 'the other scope goes on');
  });
}

function lastAudit(vault: Vault): unknown {
  const tail = JSON.parse(vault.cli('audit', 'tail', '--json', '-n', '1').stdout) as { entries: unknown[] };
  return tail.entries[0];
}
