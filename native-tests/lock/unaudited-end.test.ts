import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { Client } from '../support/client.js';
import { run, Vault } from '../support/mounted.js';

test('a lease ends although the disk is too full to say so, and the scope closes when its last one does', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-full-'));
  t.teardown(() => {
    run('umount', ['-l', directory]);
    rmSync(directory, { recursive: true, force: true });
  });
  t.equal(run('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'scopefs-test', directory]).status, 0);
  const vault = new Vault({ directory });
  t.teardown(() => vault.unmount());
  const key = vault.createScope('a');
  writeFileSync(vault.path('a/file'), 'text');
  vault.lock('a');
  vault.unlock('a', key);
  vault.unlock('a', key, '--ttl', '4s');
  const client = new Client(vault.socket);
  const endless = (await client.leases()).find((lease) => lease.path === '/a' && lease.expires === null);
  const fill = join(directory, 'fill');
  t.not(run('dd', ['if=/dev/zero', `of=${fill}`, 'bs=4k']).status, 0, 'the disk is full');
  t.same(await client.endLease(endless?.id ?? ''), [], 'one lease is left');
  rmSync(fill);
  t.equal(readFileSync(vault.path('a/file'), 'utf8'), 'text');
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  t.equal((await client.scope('a')).state, 'locked', 'the last lease’s end is the scope’s');
  t.throws(() => readFileSync(vault.path('a/file')), { errno: -126 } as never);
});
