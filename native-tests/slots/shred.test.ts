import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { Connection } from '../../src/store/connection.js';
import { O, sys } from '../posix/sys.js';
import { run, scopefs, Vault } from '../support/mounted.js';
import { Rig } from '../support/probe.js';

/** Crypto-erase: what is here is gone, and the receipt says what is not here. */

const treeOf = (rig: Rig): string => join(rig.vault.vault, 'tree');

function rigFor(t: Test): Rig {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  rig.createScope('/b');
  writeFileSync(rig.path('b/file'), 'a neighbour');
  return rig;
}

/** Everything that a scope's secrets hang on, as the store has it. */
function blobsOf(rig: Rig, scope: string): Buffer[] {
  const db = new Connection(join(rig.vault.vault, 'store.sqlite'), { readonly: true });
  try {
    const id = Buffer.from(scope, 'hex');
    const of = (sql: string): Buffer[] =>
      db
        .prepare<[Buffer], Record<string, Buffer | null>>(sql)
        .all(id)
        .flatMap((row) => Object.values(row).filter((value): value is Buffer => value !== null));
    return [
      ...of('SELECT private_half FROM slots WHERE scope = ?'),
      ...of('SELECT wrap, rewrap FROM wraps WHERE scope = ?'),
      ...of('SELECT chain FROM epochs WHERE scope = ?'),
      ...of('SELECT state FROM scopes WHERE id = ?'),
    ];
  } finally {
    db.close();
  }
}
/** How many of these are still somewhere in the store's files or in small files of the tree. */
function found(rig: Rig, blobs: readonly Buffer[]): number {
  const files = ['store.sqlite', 'store.sqlite-wal'].map((name) => join(rig.vault.vault, name));
  const copies = run('find', [treeOf(rig), '-name', '+slots'])
    .stdout.split('\n')
    .filter(Boolean);
  const bytes = [...files, ...copies].filter((path) => existsSync(path)).map((path) => readFileSync(path));
  // The copy in the tree has them in base64.
  return blobs.filter((blob) =>
    bytes.some((file) => file.includes(blob) || file.includes(blob.toString('base64'))),
  ).length;
}

test('shred: slots, rows and data are gone, locked or not; an older copy opens as the receipt says', async (t) => {
  for (const locked of [false, true]) {
    const rig = rigFor(t);
    writeFileSync(rig.path('a/file'), Buffer.alloc(100_000, 1));
    linkSync(rig.path('a/file'), rig.path('a/second-name'));
    symlinkSync('x'.repeat(300), rig.path('a/link'));
    sys.mknod(rig.path('a/fifo'), 0o010600);
    writeFileSync(rig.path('a', 'n'.repeat(250)), 'a long name');
    // More holes than an attribute holds: a map beside the file.
    const fd = sys.open(rig.path('a/sparse'), O.RDWR | O.CREAT, 0o600);
    for (let i = 0; i < 2_000; i++) sys.pwrite(fd, 'x', i * 65_536);
    sys.fsync(fd);
    sys.close(fd);
    const { id } = await rig.client.scope('/a');
    const slot = rig.vault.cli('slot', 'add', 'a', '--new', `file:${rig.key('/b')}`, '--label', 'second');
    t.equal(slot.status, 0, slot.stderr);
    if (locked) await rig.lock('/a');
    const blobs = blobsOf(rig, id);
    t.ok(blobs.length >= 5);
    t.equal(found(rig, blobs), blobs.length, 'all are found before');
    const copy = join(rig.vault.directory, 'copy');
    rig.vault.expect(run('cp', ['-a', rig.vault.vault, copy]), 'copy');

    // So deep that no path reaches its end in the vault: only now, as cp could not copy that.
    if (!locked) {
      let at = rig.path('a');
      for (let i = 0; at.length < 3_000; i++) {
        at = join(at, `${i}`.padEnd(100, 'x'));
        sys.mkdir(at);
      }
      writeFileSync(join(at, 'bottom'), 'x');
    }
    const done = rig.vault.cli('rm', 'a', '--shred', '--yes=a', '--json');
    t.equal(done.status, 0, done.stderr);
    const receipt = JSON.parse(done.stdout) as { files_unlinked: number; still_opens: string[] };
    t.match(receipt, { path: '/a', slots: [{ number: 0 }, { number: 1 }], epochs: 1 });
    t.equal((receipt as unknown as { receipts: unknown[] }).receipts.length, locked ? 0 : 1);
    t.ok(receipt.files_unlinked >= 7, `${receipt.files_unlinked} files`);
    t.match(receipt.still_opens.join(' '), /slot 1 \(second\)/);
    t.equal(found(rig, blobs), 0, 'nothing of its slots is left');
    t.equal(statSync(join(rig.vault.vault, 'store.sqlite-wal')).size, 0);
    t.same(
      readdirSync(treeOf(rig)).filter((name) => /^\+[GM]/.test(name)),
      [],
      'nor of its data, its hole maps included',
    );
    t.equal(rig.vault.cli('status', 'a').status, 4);
    t.notOk(existsSync(rig.path('a')));
    t.same(readdirSync(rig.vault.mount), ['b']);
    t.equal(readFileSync(rig.path('b/file'), 'utf8'), 'a neighbour');
    const [row] = (await rig.client.audit(50)).filter(({ event }) => event === 'shred');
    t.match(row, { scope: id, result: 'ok', detail: '/a', uid: 0 });

    // The same path again is another scope; a remount knows nothing of the old one.
    rig.createScope('/a');
    t.same(readdirSync(rig.path('a')), []);
    rig.vault.remount();
    t.same((await rig.client.scopes()).map(({ path }) => path).sort(), ['/', '/a', '/b']);
    // What the receipt says about older copies is true.
    const mount = join(rig.vault.directory, 'old');
    mkdirSync(mount);
    const host = ['--host', `unix://${rig.vault.directory}/old-socket`];
    const key = ['--with', `file:${rig.vault.keyFile}`];
    rig.vault.expect(scopefs(['mount', copy, mount, ...key, ...host]), 'mount of the copy');
    try {
      rig.vault.expect(scopefs(['unlock', 'a', '--with', `file:${rig.key('/b')}`, ...host]), 'unlock there');
      t.equal(readFileSync(join(mount, 'a/file')).length, 100_000);
    } finally {
      scopefs(['unmount', mount, ...host]);
    }
  }
});

test('shred refuses a slip, a root, scopes below, a locked parent; nothing is changed then', async (t) => {
  const rig = rigFor(t);
  rig.createScope('/a/inner');
  writeFileSync(rig.path('a/inner/file'), 'kept');
  const rm = (...args: string[]) => rig.vault.cli('rm', ...args);
  t.equal(rm('a').status, 2, 'without --shred');
  t.equal(rm('a', '--shred').status, 5, 'nobody can be asked');
  t.equal(rm('a', '--shred', '--yes=b').status, 2, 'another name');
  t.equal(rm('/', '--shred', '--yes=/').status, 8, 'the root');
  const below = rm('a', '--shred', '--yes=a');
  t.equal(below.status, 8);
  t.match(below.stderr, /\/a\/inner/);
  await rig.lock('/a');
  const parent = rm('a/inner', '--shred', '--yes=a/inner');
  t.equal(parent.status, 3);
  t.match(parent.stderr, /\/a is locked/);
  t.equal(rm('nowhere', '--shred', '--yes=nowhere').status, 4);
  await rig.unlock('/a');
  await rig.unlock('/a/inner');
  t.equal(readFileSync(rig.path('a/inner/file'), 'utf8'), 'kept');
  t.equal(rm('a/inner', '--shred', '--yes=/a/inner').status, 0);
  t.equal(rm('a', '--shred', '--yes=a').status, 0, 'the deepest first');
  t.same(readdirSync(rig.vault.mount), ['b']);
});

test('what a crash left of a destroyed scope goes at the next mount', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  const aside = join(vault.vault, 'tree', '+Gleft-over');
  mkdirSync(join(aside, 'x/y'), { recursive: true });
  writeFileSync(join(aside, 'x/y/z'), 'ciphertext');
  writeFileSync(Buffer.concat([Buffer.from(`${aside}/`), Buffer.from([0xff, 0xfe])]), 'not ours');
  vault.mountIt();
  t.same(readdirSync(vault.mount), []);
  // Directories within it are moved beside it first.
  const left = (): string[] => readdirSync(join(vault.vault, 'tree')).filter((name) => name.startsWith('+G'));
  for (let i = 0; i < 200 && left().length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  t.same(left(), []);
});
