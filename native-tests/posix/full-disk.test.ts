import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { Image } from '../bench/image.js';
import { Vault } from '../support/mounted.js';
import { fullDiskRows } from './errors.js';
import { get, O, outcome, put, S, sys, withFd } from './sys.js';

/** A small ext4 that is full, and a vault on another: calls say ENOSPC, what was there stays, and room helps. */

function image(t: Test, name: string, options: { bytes: number; inodes: number }): Image {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-test-'));
  const made = new Image(directory, name, options);
  made.create();
  t.teardown(() => {
    made.destroy();
    rmSync(directory, { recursive: true, force: true });
  });
  return made;
}

/** Makes objects until no inode is left, then asks each call that needs one. */
function withoutInodes(base: string): Record<string, unknown> {
  process.chdir(base);
  mkdirSync('kept');
  put('kept/f', 'content');
  let made = 0;
  let last = 0;
  while (last >= 0 && made < 2000) {
    last = sys.mkdir(`d${made}`);
    if (last >= 0) made++;
  }
  const seen = {
    mkdir: outcome(last),
    open: outcome(sys.open('new', O.CREAT | O.WRONLY, 0o644)),
    tmpfile: outcome(sys.open('.', O.TMPFILE | O.RDWR, 0o600)),
    mknod: outcome(sys.mknod('p', S.FIFO | 0o600)),
    symlink: outcome(sys.symlink('target', 'l')),
    link: outcome(sys.link('kept/f', 'linked')),
    rename: outcome(sys.rename('linked', 'renamed')),
    kept: get('kept/f'),
    names: readdirSync('.')
      .filter((name) => !/^d\d+$/.test(name) && name !== 'lost+found')
      .sort(),
    rmdir: outcome(sys.rmdir('d0')),
    again: outcome(sys.mkdir('again')),
  };
  for (let i = 1; i < made; i++) sys.rmdir(`d${i}`);
  process.chdir('/');
  return seen;
}

/** Writes until no block is left. */
function withoutBlocks(base: string): Record<string, unknown> {
  process.chdir(base);
  put('kept', 'content');
  const megabyte = Buffer.alloc(1 << 20, 'x');
  let last = 0;
  const fd = sys.open('big', O.CREAT | O.RDWR, 0o644);
  for (let i = 0; i < 100 && last >= 0; i++) last = sys.write(fd, megabyte);
  const { size } = sys.fstat(fd);
  let intact = 0;
  for (let at = 0; at < size; at += 1 << 20) {
    const length = sys.pread(fd, 1 << 20, at);
    if (length > 0 && sys.bytes(length).equals(megabyte.subarray(0, length))) intact += length;
  }
  const seen = {
    write: outcome(last),
    intact: intact === size && size > 5 << 20,
    fallocate: outcome(sys.fallocate(fd, 0, 0, 100 << 20)),
    grow: outcome(sys.ftruncate(fd, size)),
    other: outcome(
      withFd('other', O.CREAT | O.WRONLY, (other) => {
        let done = 0;
        for (let i = 0; i < 64 && done >= 0; i++) done = sys.write(other, Buffer.alloc(65536, 'y'));
        return done;
      }),
    ),
    kept: get('kept'),
    removed: outcome(sys.unlink('big')),
    synced: outcome(sys.fsync(fd)),
  };
  sys.close(fd);
  sys.unlink('other');
  // The blocks come back a little later.
  let after = -1;
  for (let i = 0; i < 50 && after < 0; i++) {
    after = withFd('after', O.CREAT | O.WRONLY, (again) => sys.write(again, Buffer.alloc(1 << 19, 'z')));
    if (after < 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
  process.chdir('/');
  return { ...seen, after: outcome(after) };
}

for (const [what, play, options] of [
  ['no inode is left', withoutInodes, { bytes: 32 << 20, inodes: 128 }],
  ['no block is left', withoutBlocks, { bytes: 24 << 20, inodes: 128 }],
] as const) {
  test(`${what}: as on ext4`, async (t) => {
    const back = process.cwd();
    t.teardown(() => process.chdir(back));
    const control = image(t, 'control', options);
    const expected = play(control.mountPoint);
    const backing = image(t, 'backing', options);
    const vault = new Vault({ directory: join(backing.mountPoint, 'v') });
    try {
      t.same(play(vault.mount), expected);
      for (const { call, error } of fullDiskRows) {
        if (call in expected) t.equal(expected[call], error, call);
      }
      vault.remount();
      const kept = what === 'no inode is left' ? 'kept/f' : 'kept';
      t.equal(get(vault.path(kept)), 'content', 'and after a remount');
    } finally {
      vault.remove();
    }
  });
}
