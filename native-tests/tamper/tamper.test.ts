import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { Geometry } from '../../src/format/file/geometry.js';
import { scopefs, Vault } from '../support/mounted.js';
import { vaultObjects } from '../support/vault-files.js';

const PAGE = 4096;

/** A text in every spelling in which it could lie in a file by mistake. */
function spellings(text: string): Buffer[] {
  const bytes = Buffer.from(text);
  const base64 = [0, 1, 2].map((shift) => {
    // Whole groups of three only: what stands around a text changes its first and last characters.
    const from = bytes.subarray(shift, shift + 3 * Math.floor((bytes.length - shift) / 3));
    return from.toString('base64');
  });
  return [
    bytes,
    Buffer.from(text, 'utf16le'),
    Buffer.from(bytes.toString('hex')),
    ...base64.map((it) => Buffer.from(it)),
  ];
}

test('nothing that was written, named or linked is readable in the vault or its store', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const marker = (what: string): string => `MARKER-${what}-0123456789`;
  const plain = ['content', 'name', 'directory', 'target', 'scope', 'inner', 'reason', 'passphrase'].map(
    marker,
  );
  mkdirSync(vault.path(marker('directory')));
  writeFileSync(vault.path(marker('directory'), marker('name')), marker('content').repeat(5000));
  writeFileSync(vault.path(`${marker('name')}-${'x'.repeat(200)}`), marker('content'));
  writeFileSync(vault.path('small'), marker('content'));
  symlinkSync(`/tmp/${marker('target')}`, vault.path('link'));
  vault.createScope(marker('scope'));
  writeFileSync(vault.path(marker('scope'), marker('inner')), marker('content'));
  const made = scopefs(
    ['create', `${marker('scope')}-2`, '--with', '-', '--host', `unix://${vault.socket}`],
    {
      input: `${marker('passphrase')}\n`,
    },
  );
  t.equal(made.status, 0, made.stderr);
  renameSync(vault.path(marker('scope')), vault.path(`${marker('scope')}-moved`));

  const search = (when: string): void => {
    const objects = vaultObjects(vault.vault);
    t.ok(
      objects.some(({ path }) => path.startsWith('store.sqlite')),
      'the store is among what is searched',
    );
    for (const text of [...plain, vault.mount]) {
      for (const spelling of spellings(text)) {
        for (const { path, bytes, xattrs } of objects) {
          const hit =
            Buffer.from(path).includes(spelling) || [bytes, ...xattrs].some((it) => it.includes(spelling));
          if (hit) t.fail(`${when}: ${text} in ${path}`);
        }
      }
    }
    const key = readFileSync(vault.keyFile);
    t.notOk(
      objects.some(({ bytes }) => bytes.includes(key)),
      'the key file is not in the vault',
    );
  };
  search('mounted');
  t.ok(existsSync(join(vault.vault, 'store.sqlite-wal')), 'the write-ahead log was there');
  vault.lock(`${marker('scope')}-moved`, '--reason', marker('reason'));
  search('locked');
  vault.expect(vault.unmount(), 'unmount');
  search('unmounted');
});

/** Flips one bit of a file on the backing disk. */
function flip(path: string, at: number): void {
  const fd = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  byte[0] = (byte[0] as number) ^ (1 << (at % 8));
  writeSync(fd, byte, 0, 1, at);
  fsyncSync(fd);
  closeSync(fd);
}

/** What read(2) of each page gives: 'ok', 'wrong bytes' or an error. */
function pages(path: string, data: Buffer, order: readonly number[]): string[] {
  const fd = openSync(path, 'r');
  const buffer = Buffer.alloc(PAGE);
  const found: string[] = [];
  for (const page of order) {
    try {
      const length = readSync(fd, buffer, 0, PAGE, page * PAGE);
      const right = data.subarray(page * PAGE, (page + 1) * PAGE).equals(buffer.subarray(0, length));
      found[page] = right ? 'ok' : `wrong bytes (${length})`;
    } catch (error) {
      found[page] = (error as NodeJS.ErrnoException).code as string;
    }
  }
  closeSync(fd);
  return found;
}

/** The backing name of the only file; names with `+` are the vault's own. */
function entryOf(vault: Vault): string {
  return readdirSync(join(vault.vault, 'tree')).find((name) => !name.startsWith('+')) as string;
}

for (const [label, chunk] of [
  ['4K', 4096],
  ['16K', 16_384],
  ['128K', 131_072],
] as const) {
  test(`chunks of ${label}: a flipped bit is EIO for its pages alone, whatever the kernel reads ahead`, async (t) => {
    const vault = new Vault({ chunkSize: label });
    t.teardown(() => vault.remove());
    const data = randomBytes(4 * (1 << 20) + 777);
    writeFileSync(vault.path('file'), data);
    const geometry = new Geometry(chunk);
    const stored = entryOf(vault);
    const backing = join(vault.vault, 'tree', stored);
    t.equal(statSync(backing).size, geometry.backingSize(data.length));
    const count = Math.ceil(data.length / PAGE);
    const forward = Array.from({ length: count }, (_, i) => i);
    const mixed = [...forward].sort((a, b) => ((a * 7919) % count) - ((b * 7919) % count));
    const rounds = [
      ['forward', 0, forward],
      ['mixed', 5, mixed],
      ['backward', geometry.chunksOf(data.length) - 1, [...forward].reverse()],
    ] as const;
    for (const [name, bad, order] of rounds) {
      const at = geometry.frameOffset(bad) + 30;
      // A fresh mount each time: no page of an earlier order is cached.
      vault.expect(vault.unmount(), 'unmount');
      flip(backing, at);
      vault.mountIt();
      const found = pages(vault.path('file'), data, order);
      const again = pages(vault.path('file'), data, order);
      flip(backing, at);
      const expected = forward.map((page) => (Math.floor((page * PAGE) / chunk) === bad ? 'EIO' : 'ok'));
      const off = forward.filter((page) => found[page] !== expected[page]);
      t.same(
        off.map((page) => `page ${page}: ${found[page]}`),
        [],
        `chunk ${bad}, ${name}`,
      );
      t.same(again, found, 'the same when read again');
    }
    vault.remount();
    t.ok(readFileSync(vault.path('file')).equals(data), 'put back, it reads');
  });
}

test('large reads over a bad chunk give right bytes up to it and then EIO, never others', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const data = randomBytes(3 << 20);
  writeFileSync(vault.path('file'), data);
  const stored = entryOf(vault);
  vault.expect(vault.unmount(), 'unmount');
  const bad = 70;
  const geometry = new Geometry(16_384);
  flip(join(vault.vault, 'tree', stored), geometry.frameOffset(bad) + 5);
  vault.mountIt();
  const fd = openSync(vault.path('file'), 'r');
  const buffer = Buffer.alloc(1 << 20);
  let at = 0;
  let error = '';
  while (error === '' && at < data.length) {
    try {
      const got = readSync(fd, buffer, 0, buffer.length, at);
      t.ok(buffer.subarray(0, got).equals(data.subarray(at, at + got)), `${got} bytes at ${at}`);
      at += got;
    } catch (caught) {
      error = (caught as NodeJS.ErrnoException).code as string;
    }
  }
  t.equal(error, 'EIO');
  t.equal(at, bad * 16_384, 'every byte before the bad chunk was given');
  const after = (bad + 1) * 16_384;
  t.equal(readSync(fd, buffer, 0, buffer.length, after), buffer.length);
  t.ok(buffer.equals(data.subarray(after, after + buffer.length)), 'and what follows it');
  closeSync(fd);
});

test('files exchanged, cut, emptied of their xattrs or replaced on the backing disk are EIO', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const tree = join(vault.vault, 'tree');
  const names = ['a', 'b', 'cut', 'copy'];
  const where = new Map<string, string>();
  for (const name of names) {
    writeFileSync(vault.path(name), `content of ${name}`);
    for (const entry of readdirSync(tree)) {
      if (!entry.startsWith('+') && ![...where.values()].includes(entry)) where.set(name, entry);
    }
  }
  const at = (name: string): string => join(tree, where.get(name) as string);
  vault.expect(vault.unmount(), 'unmount');
  renameSync(at('a'), join(tree, 'aside'));
  renameSync(at('b'), at('a'));
  renameSync(join(tree, 'aside'), at('b'));
  truncateSync(at('cut'), 1069);
  const bytes = readFileSync(at('copy'));
  rmSync(at('copy'));
  writeFileSync(at('copy'), bytes);
  writeFileSync(join(tree, 'planted'), 'x');
  vault.mountIt();
  t.same(readdirSync(vault.mount).sort(), names.sort(), 'planted names are not shown');
  for (const name of names) t.throws(() => readFileSync(vault.path(name)), { code: 'EIO' }, name);
  rmSync(vault.path('cut'));
  t.notOk(existsSync(vault.path('cut')), 'a damaged file can be deleted');
});
