import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { Vault } from '../support/mounted.js';

test('a scope without a directory does not answer to the path of one made there later', async (t) => {
  // As after a kill between the row and the directory.
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const old = vault.createScope('a');
  vault.expect(vault.unmount(), 'unmount');
  const tree = join(vault.vault, 'tree');
  for (const entry of readdirSync(tree)) rmSync(join(tree, entry), { recursive: true });
  vault.mountIt();
  const scopes = (): { path: string; state: string }[] =>
    (JSON.parse(vault.cli('ls', '--json').stdout) as { scopes: { path: string; state: string }[] }).scopes;
  t.match(scopes(), [{ path: '/' }, { path: '/a', state: 'locked' }]);
  const refused = vault.cli('unlock', 'a', '--with', `file:${old}`);
  t.equal(refused.status, 4, refused.stderr);
  const key = vault.createScope('a');
  writeFileSync(vault.path('a/file'), 'new');
  t.match(
    scopes().map(({ path }) => path),
    ['/', '/a', /^\/lost-[0-9a-f]{32}$/],
  );
  t.equal(vault.lock('a').length, 1, 'the path is the new one’s');
  t.throws(() => readFileSync(vault.path('a/file')), { errno: -126 } as never);
  vault.remount();
  vault.unlock('a', key);
  t.equal(readFileSync(vault.path('a/file'), 'utf8'), 'new', 'over a remount too');
});
