import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { Connection } from './connection.js';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

test('a text is prepared once, and a transaction is all or nothing', async (t) => {
  const db = new Connection(':memory:');
  db.exec('CREATE TABLE t (v INTEGER)');
  const insert = db.prepare<[number]>('INSERT INTO t VALUES (?)');
  t.equal(db.prepare('INSERT INTO t VALUES (?)'), insert);
  t.throws(() =>
    db.transaction(() => {
      insert.run(1);
      throw new Error('planted');
    }),
  );
  t.equal(
    db.transaction(() => insert.run(2).changes),
    1,
  );
  t.same(db.prepare('SELECT v FROM t').all(), [{ v: 2 }]);
  db.exec('PRAGMA user_version = 7');
  t.same(db.pragma('user_version'), [{ user_version: 7 }]);
  t.equal(db.pragmaValue('user_version'), 7);
  db.close();
});

test('collections outside of JavaScript find no database and no statement, under load and when idle', async (t) => {
  const done = spawnSync(process.execPath, ['--expose-gc', here('./test-collections.js')], {
    encoding: 'utf8',
    timeout: 100_000,
  });
  t.equal(done.signal, null, done.stderr);
  t.equal(done.status, 0, done.stderr);
  t.match(done.stdout, /^collected 42 times$/m);
});

test('a better-sqlite3 that was built for another Node says so, and how to rebuild it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-abi-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  // The package with something in place of its native part that this Node does not load.
  const project = here('../../../');
  const modules = join(directory, 'node_modules');
  mkdirSync(modules);
  for (const name of ['better-sqlite3', 'bindings', 'file-uri-to-path']) {
    cpSync(join(project, 'node_modules', name), join(modules, name), {
      recursive: true,
      filter: (source) => !/better-sqlite3\/(deps|src|build\/.+\/(?!better_sqlite3\.node$))/.test(source),
    });
  }
  symlinkSync(join(project, 'node_modules/koffi'), join(modules, 'koffi'));
  const native = join(modules, 'better-sqlite3/build/Release/better_sqlite3.node');
  writeFileSync(native, 'not for this Node');
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
  cpSync(here('..'), join(directory, 'src'), {
    recursive: true,
    filter: (source) => !source.endsWith('.map'),
  });
  const script = `import { Store } from '${directory}/src/store/store.js';
    try { Store.open(process.argv[1]); } catch (e) { console.log(JSON.stringify({ code: e.code, message: e.message, reason: e.reason })); }`;
  writeFileSync(join(directory, 'store.sqlite'), '');
  const refused = (): unknown => {
    const args = ['--input-type=module', '-e', script, join(directory, 'store.sqlite')];
    return JSON.parse(spawnSync(process.execPath, args, { encoding: 'utf8' }).stdout || '{}');
  };
  const expected = {
    code: 'unsupported_system',
    message: new RegExp(`better-sqlite3 cannot be loaded by Node ${process.versions.node}`),
    reason: 'sqlite_for_other_node',
  };
  t.match(refused(), expected);
  rmSync(native);
  t.match(refused(), expected, 'also where it was not built at all');
});
