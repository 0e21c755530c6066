import { createHash } from 'node:crypto';
import { cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { Connection } from '../../src/store/connection.js';
import { project, run, Vault } from '../support/mounted.js';

/** All names below a directory, as raw bytes: a name need not be UTF-8. */
function* walk(directory: Buffer): Generator<Buffer> {
  for (const name of readdirSync(directory, { encoding: 'buffer' })) {
    const path = Buffer.concat([directory, Buffer.from('/'), name]);
    yield path;
    if (lstatSync(path).isDirectory()) yield* walk(path);
  }
}

/** Everything that tar keeps of each object below a directory. */
function inventory(directory: string): Map<string, string> {
  const found = new Map<string, string>();
  const inodes = new Map<number, string>();
  const paths = [...walk(Buffer.from(directory))].sort(Buffer.compare);
  for (const path of paths) {
    const name = path.subarray(directory.length).toString('latin1');
    const stat = lstatSync(path, { bigint: true });
    const facts: unknown[] = [stat.mode.toString(8), stat.uid, stat.gid];
    if (!stat.isDirectory()) facts.push(stat.nlink);
    if (stat.isFile()) {
      facts.push(stat.size, createHash('sha256').update(readFileSync(path)).digest('hex'));
      // The first name of a linked inode stands for the others.
      const first = inodes.get(Number(stat.ino)) ?? name;
      inodes.set(Number(stat.ino), first);
      facts.push(first);
    }
    if (stat.isSymbolicLink()) facts.push(readlinkSync(path));
    facts.push(stat.mtimeNs);
    found.set(name, facts.join(' '));
  }
  return found;
}

function makeTree(directory: string): void {
  mkdirSync(directory);
  cpSync(join(project, 'src'), join(directory, 'src'), { recursive: true, preserveTimestamps: true });
  const shell = `
    cd "$0" && mkdir -p a/b/c empty && head -c 1000000 /dev/urandom > a/big && : > a/none
    for n in 0 1 16383 16384 16385 32768; do head -c $n /dev/urandom > "a/size-$n"; done
    ln a/big a/b/linked && ln -s ../a/big a/b/soft && ln -s /nowhere/at/all a/dangling
    chmod 4755 a/size-1 && chmod 2775 a/b && chmod 000 a/size-16384 && chown 1234:5678 a/none
    touch -d '1969-12-31 23:59:58.123456789 UTC' a/size-0 && touch -d '2030-01-02 03:04:05.987654321 UTC' a
    touch -h -d '2001-02-03 04:05:06.111222333 UTC' a/dangling
    touch "a/$(printf 'n%.0s' $(seq 255))" "a/$(printf '\\377\\001 name')"`;
  const made = run('bash', ['-c', shell, directory]);
  if (made.status !== 0) throw new Error(made.stderr);
}

test('tar round trip: content, modes, owners, times in ns, hard and soft links, also after a remount', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const source = join(vault.directory, 'source');
  makeTree(source);
  const tar = join(vault.directory, 'source.tar');
  t.equal(run('tar', ['--format=pax', '-C', source, '-cf', tar, '.']).status, 0);
  mkdirSync(vault.path('out'));
  const extract = run('tar', ['-C', vault.path('out'), '--numeric-owner', '-xpf', tar]);
  t.equal(extract.status, 0, extract.stderr);
  const expected = inventory(source);
  t.ok(expected.size > 80);
  t.same(inventory(vault.path('out')), expected, 'what went in');
  vault.remount();
  t.same(inventory(vault.path('out')), expected, 'the same after a remount');
  const back = join(vault.directory, 'back.tar');
  t.equal(run('tar', ['--format=pax', '-C', vault.path('out'), '-cf', back, '.']).status, 0);
  t.equal(run('tar', ['--format=pax', '-C', source, '-df', back]).status, 0, 'and out again');
  const removed = run('rm', ['-rf', vault.path('out')]);
  t.equal(removed.status, 0, removed.stderr);
  t.same(readdirSync(vault.mount), []);
});

test('git: clone, fsck, commit, gc, checkout of branches, also after a remount', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const origin = join(vault.directory, 'origin');
  cpSync(join(project, 'src'), origin, { recursive: true });
  const identity = ['-c', 'user.name=t', '-c', 'user.email=t@example.org', '-c', 'gc.auto=0'];
  const git = (directory: string, ...args: string[]): string => {
    const done = run('git', ['-C', directory, ...identity, ...args]);
    t.equal(done.status, 0, `git ${args[0]}: ${done.stderr.slice(0, 200)}`);
    return done.stdout;
  };
  git(origin, 'init', '-q', '-b', 'main');
  git(origin, 'add', '.');
  git(origin, 'commit', '-q', '-m', 'one');
  const clone = vault.path('clone');
  git(vault.directory, 'clone', '-q', '--no-hardlinks', origin, clone);
  git(clone, 'fsck', '--full', '--strict');
  git(clone, 'checkout', '-q', '-b', 'other');
  git(clone, 'rm', '-q', '-r', 'crypto');
  git(clone, 'commit', '-q', '-m', 'two');
  git(clone, 'gc', '-q');
  git(clone, 'checkout', '-q', 'main');
  t.equal(git(clone, 'status', '--porcelain'), '');
  vault.remount();
  git(clone, 'fsck', '--full', '--strict');
  t.equal(git(clone, 'status', '--porcelain'), '');
  git(clone, 'checkout', '-q', 'other');
});

test('SQLite in WAL and DELETE modes: integrity_check, also after a remount', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  for (const mode of ['WAL', 'DELETE']) {
    const path = vault.path(`${mode}.sqlite`);
    const db = new Connection(path);
    t.equal(String(db.pragmaValue(`journal_mode = ${mode}`)).toUpperCase(), mode);
    db.exec('PRAGMA synchronous = FULL');
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)');
    const insert = db.prepare('INSERT INTO t (v) VALUES (?)');
    for (let i = 0; i < 100; i++) insert.run(Buffer.alloc(i * 50, i));
    db.exec('DELETE FROM t WHERE id % 3 = 0');
    db.exec('VACUUM');
    db.transaction(() => {
      for (let i = 0; i < 2000; i++) insert.run(Buffer.alloc(100, i & 255));
    });
    t.equal(db.pragmaValue('integrity_check'), 'ok', mode);
    db.close();
  }
  vault.remount();
  for (const mode of ['WAL', 'DELETE']) {
    const db = new Connection(vault.path(`${mode}.sqlite`));
    t.equal(db.pragmaValue('integrity_check'), 'ok', `${mode} after a remount`);
    t.equal(db.prepare('SELECT count(*) FROM t').pluck().get(), 2067);
    db.close();
  }
});
