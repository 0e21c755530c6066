import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { input } from '../../src/keyring/test-keyring.js';
import { Image } from '../bench/image.js';
import { run, Vault } from '../support/mounted.js';
import { Rig } from '../support/probe.js';

/** The disk of a vault is full: scopes open and close, so that somebody can make room. */

function stage(t: Test): {
  rig: Rig;
  fill: (directory: string, name: string) => void;
  fillBeside: () => void;
} {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-test-'));
  const image = new Image(directory, 'disk', { bytes: 48 << 20, inodes: 512 });
  image.create();
  const rig = new Rig({ directory: join(image.mountPoint, 'v') });
  t.teardown(() => {
    rig.remove();
    image.destroy();
    rmSync(directory, { recursive: true, force: true });
  });
  /** To the last block, as far as one gets. */
  const fill = (into: string, name: string): void => {
    for (const block of [1 << 20, 4096]) {
      const to = join(into, `${name}-${block}`);
      run('dd', ['if=/dev/zero', `of=${to}`, `bs=${block}`, 'oflag=append', 'conv=notrunc,fsync']);
    }
  };
  let times = 0;
  const fillBeside = (): void => fill(image.mountPoint, `beside-${times++}`);
  return { rig, fill, fillBeside };
}

test('unlock, lock, audit, slots, shred and a new mount work on a full disk, and make room', async (t) => {
  const { rig, fill, fillBeside } = stage(t);
  rig.createScope('/big');
  rig.createScope('/gone');
  writeFileSync(rig.path('big/file'), Buffer.alloc(4 << 20, 'x'));
  writeFileSync(rig.path('gone/file'), Buffer.alloc(64 << 10, 'x'));
  const reserve = join(rig.vault.vault, 'store.sqlite-reserve');
  const before = statSync(reserve);
  t.ok(before.size >= 1 << 17 && before.blocks * 512 >= before.size, 'there is a reserve, with blocks');
  await rig.lock('/big');
  await rig.lock('/gone');
  mkdirSync(rig.path('fill'));
  fill(rig.path('fill'), 'filler');
  fillBeside();
  t.throws(() => writeFileSync(rig.path('more'), Buffer.alloc(1 << 16)), { code: 'ENOSPC' });
  // Days of it: each is two rows of the audit.
  for (let day = 0; day < 200; day++) {
    await rig.unlock('/big');
    await rig.lock('/big');
  }
  t.match((await rig.client.audit(2)).at(-1), { event: 'lock', result: 'ok' });
  t.equal(statSync(reserve).size, before.size, 'nothing of the file was needed for it');
  const wrong = await rig.client
    .createLease('/big', {}, input(Buffer.alloc(40, 'w')))
    .catch(({ code }: { code: string }) => code);
  t.equal(wrong, 'bad_key', 'a wrong key is written down');
  const shredded = rig.vault.cli('rm', 'gone', '--shred', '--yes=gone');
  t.equal(shredded.status, 0, shredded.stderr);
  t.equal(rig.vault.unmount().status, 0);
  fillBeside();
  rig.vault.mountIt();
  t.throws(() => writeFileSync(rig.path('more'), Buffer.alloc(1 << 16)), { code: 'ENOSPC' }, 'still full');
  for (let day = 0; day < 100; day++) {
    await rig.unlock('/big');
    await rig.lock('/big');
  }
  await rig.unlock('/big');
  t.equal(readFileSync(rig.path('big/file')).length, 4 << 20);
  rmSync(rig.path('big/file'));
  writeFileSync(rig.path('small'), 'there is room again');
  rig.vault.remount();
  t.equal(readFileSync(rig.path('small'), 'utf8'), 'there is room again');
});

test('a reserve that is a link, or has another name too, is not cut', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  const reserve = join(vault.vault, 'store.sqlite-reserve');
  const victim = join(vault.directory, 'victim');
  for (const plant of ['ln', 'ln -s']) {
    writeFileSync(victim, Buffer.alloc(9 << 20, 'v'));
    rmSync(reserve, { force: true });
    t.equal(run('sh', ['-c', `${plant} ${victim} ${reserve}`]).status, 0);
    vault.mountIt();
    vault.expect(vault.unmount(), 'unmount');
    t.equal(statSync(victim).size, 9 << 20, plant);
    t.equal(
      readFileSync(victim).every((byte) => byte === 0x76),
      true,
    );
  }
  rmSync(reserve, { force: true });
  mkdirSync(reserve);
  vault.mountIt();
  vault.expect(vault.unmount(), 'a directory there is no reserve');
  t.ok(existsSync(reserve));
});
