import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { freshVault } from '../support/failing.js';
import { scopefs } from '../support/mounted.js';

test('a vault of the second suite keeps everything, and notices a flipped bit', async (t) => {
  const vault = freshVault(t);
  const at = join(vault.directory, 'second');
  const made = scopefs(['init', at, '--with', `file:${vault.keyFile}`, '--suite', 'xchacha', '--json']);
  t.match(JSON.parse(made.stdout), { suite: 'xchacha' });
  t.equal(readFileSync(join(at, 'volume'))[10], 2);
  (vault as { vault: string }).vault = at;
  vault.mountIt();
  const key = vault.createScope('a');
  const big = randomBytes(300_000);
  writeFileSync(vault.path('a/big'), big);
  symlinkSync('target', vault.path('a/link'));
  vault.expect(vault.cli('slot', 'rotate', 'a', '0', '--new', `file:${key}`), 'rotate');
  writeFileSync(vault.path('a/after'), 'x');
  vault.remount();
  vault.unlock('a', key);
  t.ok(readFileSync(vault.path('a/big')).equals(big));
  t.equal(readlinkSync(vault.path('a/link')), 'target');
  vault.expect(vault.unmount(), 'unmount');
  const tree = join(at, 'tree');
  const stored = readdirSync(tree, { recursive: true, encoding: 'utf8' })
    .map((name) => join(tree, name))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.size === 1024 + 300_000 + 19 * 44);
  t.type(stored, 'string');
  const bytes = readFileSync(stored as string);
  bytes[5000] = (bytes[5000] as number) ^ 1;
  writeFileSync(stored as string, bytes);
  vault.mountIt();
  vault.unlock('a', key);
  t.throws(() => readFileSync(vault.path('a/big')), /EIO/);
});

test('an unknown suite is refused by name', async (t) => {
  const vault = freshVault(t);
  const made = scopefs([
    'init',
    join(vault.directory, 'x'),
    '--with',
    `file:${vault.keyFile}`,
    '--suite',
    'rot13',
  ]);
  t.equal(made.status, 2);
  t.match(made.stderr, /rot13[\s\S]*xaes or xchacha/);
});
