import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { fails, freshVault, mounting } from '../support/failing.js';
import { cliPath, type Vault } from '../support/mounted.js';
import { vaultHashes } from '../support/vault-files.js';

/** The vault but its store, where the audit grows. */
const hashes = (vault: Vault): string[] =>
  vaultHashes(vault.vault).filter((line) => !line.startsWith('store.sqlite'));

test('a wrong key is exit 5, and nothing changed', async (t) => {
  const vault = freshVault(t);
  vault.mountIt();
  writeFileSync(vault.path('f'), 'content');
  vault.expect(vault.unmount(), 'unmount');
  const wrong = join(vault.directory, 'wrong');
  writeFileSync(wrong, Buffer.alloc(32, 1));
  const before = hashes(vault);
  fails(t, mounting(vault, wrong), 5, 'bad_key', { hint: false });
  t.same(hashes(vault), before, 'the vault is as it was');
  t.same(readdirSync(vault.mount), [], 'nothing is mounted');
  t.notOk(existsSync(vault.socket), 'no socket');
  vault.mountIt();
  t.equal(readFileSync(vault.path('f'), 'utf8'), 'content', 'the right key still works');
});

test('a mount by somebody who is not root', async (t) => {
  const vault = freshVault(t);
  const args = ['mount', vault.vault, vault.mount, '--with', `file:${vault.keyFile}`, '--json'];
  const done = spawnSync('setpriv', ['--reuid=1000', '--regid=1000', '--clear-groups', cliPath, ...args], {
    encoding: 'utf8',
  });
  t.equal(done.status, 1);
  t.match(JSON.parse(done.stderr), { error: { code: 'not_root', hint: /sudo/ } });
});

test('mount: a vault in use, no vault, no mount point, a mount point in use', async (t) => {
  const vault = freshVault(t, true);
  const other = join(vault.directory, 'other');
  mkdirSync(other);
  fails(t, mounting(vault, vault.keyFile, other), 7, 'busy');
  fails(t, mounting(vault), 7, 'busy');
  const second = freshVault(t);
  fails(t, mounting(second, second.keyFile, vault.mount), 7, 'busy');
  t.equal(vault.cli('status').status, 0, 'the first mount goes on');
  fails(t, mounting(second, second.keyFile, join(second.directory, 'none')), 1, 'bad_mount_point');
  fails(t, mounting(second, second.keyFile, second.keyFile), 1, 'bad_mount_point', { hint: false });
  fails(t, mounting(second, second.keyFile, second.vault), 1, 'bad_mount_point', { hint: false });
  fails(t, mounting(second, second.keyFile, second.directory), 1, 'bad_mount_point', { hint: false });
  const missing = ['mount', join(vault.directory, 'none'), other, '--with', `file:${vault.keyFile}`];
  fails(t, missing, 4, 'not_found');
  fails(t, ['mount', other, other, '--with', `file:${vault.keyFile}`], 1, 'not_a_vault');
  fails(t, ['init', vault.vault, '--with', `file:${vault.keyFile}`], 8, 'conflict');
  fails(t, ['unmount', other], 4, 'not_found', { hint: false });
  const holder = spawnSync('sh', [
    '-c',
    `cd ${vault.mount} && ${cliPath} unmount ${vault.mount} --json --host unix://${vault.socket}`,
  ]);
  t.equal(holder.status, 7, `somebody stands in it: ${holder.stderr}`);
  const { error } = JSON.parse(String(holder.stderr)) as { error: { holders: { pid: number }[] } };
  t.ok(
    error.holders.some(({ pid }) => pid === holder.pid),
    'and is named',
  );
});

/** Changes the volume record; `rehash` makes its own hash right again. */
function edit(vault: Vault, change: (bytes: Buffer) => void, rehash = true): void {
  const path = join(vault.vault, 'volume');
  const bytes = readFileSync(path);
  change(bytes);
  if (rehash) createHash('sha256').update(bytes.subarray(0, 96)).digest().copy(bytes, 96);
  writeFileSync(path, bytes);
}

test('a volume record that is newer, has unknown features, is damaged or was edited', async (t) => {
  const vault = freshVault(t);
  const path = join(vault.vault, 'volume');
  const whole = readFileSync(path);
  const refused = (
    change: (bytes: Buffer) => void,
    exit: number,
    code: string,
    rehash = true,
    hint = true,
  ): void => {
    edit(vault, change, rehash);
    const before = hashes(vault).filter((line) => !line.startsWith('lock '));
    const { message } = fails(t, mounting(vault), exit, code, { hint });
    if (exit === 1) t.match(message, vault.vault, 'it names the vault');
    t.same(
      hashes(vault).filter((line) => !line.startsWith('lock ')),
      before,
    );
    writeFileSync(path, whole);
  };
  refused((bytes) => bytes.writeUInt16LE(2, 8), 1, 'unsupported_format');
  refused((bytes) => bytes.writeUInt8(3, 24), 1, 'unsupported_format');
  refused((bytes) => bytes.writeUInt8(0x80, 31), 1, 'unsupported_format');
  refused((bytes) => bytes.writeUInt8(0xff, 40), 9, 'integrity', false);
  // Right in itself, but not what the root scope's sealed state remembers.
  refused((bytes) => bytes.writeUInt8(13, 11), 9, 'integrity', true, false);
  refused((bytes) => bytes.writeUInt8(1, 16), 9, 'integrity', true, false);
  refused((bytes) => bytes.writeUInt8(9, 10), 1, 'unsupported_format', true, false);
  writeFileSync(path, '');
  fails(t, mounting(vault), 1, 'not_a_vault');
  writeFileSync(path, whole);
  rmSync(join(vault.vault, 'store.sqlite'));
  fails(t, mounting(vault), 4, 'not_found');
  writeFileSync(join(vault.vault, 'store.sqlite'), 'this is no database, only some text');
  fails(t, mounting(vault), 9, 'integrity');
});

test('a backing without extended attributes can hold no vault, and nothing is left there', async (t) => {
  const vault = freshVault(t);
  const bare = join(vault.directory, 'bare');
  mkdirSync(bare);
  // ramfs has no user xattrs.
  t.equal(spawnSync('mount', ['-t', 'ramfs', 'none', bare]).status, 0);
  t.teardown(() => spawnSync('umount', ['-l', bare]));
  fails(t, ['init', join(bare, 'vault'), '--with', `file:${vault.keyFile}`], 1, 'unsupported_system');
  t.same(readdirSync(bare), []);
  spawnSync('umount', [bare]);
});

test('mount waits for the last daemon of the vault, which ends after its mount', async (t) => {
  const vault = freshVault(t, true);
  vault.expect(vault.unmount(), 'unmount');
  const holder = spawn('flock', [join(vault.vault, 'lock'), 'sh', '-c', 'echo held; sleep 2']);
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  vault.mountIt();
  t.equal(vault.cli('status').status, 0);
});
