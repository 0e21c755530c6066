import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { O, S, sys } from '../posix/sys.js';
import { run, Vault } from '../support/mounted.js';

/** Programs that copy trees with all they have, and an overlay with its upper layer on the mount. */

const ACL = Buffer.from(
  '0200000001000700ffffffff02000600e803000004000500ffffffff10000700ffffffff20000100ffffffff',
  'hex',
);

/** A tree with everything that a copy can lose. */
function makeTree(base: string): void {
  const at = (...names: string[]): string => join(base, ...names);
  mkdirSync(at('sub/deeper'), { recursive: true });
  mkdirSync(at('empty'));
  writeFileSync(at('file'), 'content of the file');
  writeFileSync(at('nothing'), '');
  writeFileSync(at('sub', 'n'.repeat(255)), 'long name');
  writeFileSync(at('sub/deeper/bin'), Buffer.alloc(300_000, 7));
  sys.mknod(`${base}/\xff\xfe not UTF-8`, S.REG | 0o600);
  sys.link(`${base}/file`, `${base}/sub/linked`);
  sys.link(`${base}/file`, `${base}/empty-looking`);
  symlinkSync('../file', at('sub/link'));
  sys.mknod(`${base}/fifo`, S.FIFO | 0o640);
  sys.mknod(`${base}/null`, S.CHR | 0o600, 1, 3);
  const fd = sys.open(`${base}/sparse`, O.RDWR | O.CREAT, 0o644);
  sys.pwrite(fd, 'start', 0);
  sys.pwrite(fd, 'end', 30 << 20);
  sys.close(fd);
  sys.chown(`${base}/file`, 1234, 4321);
  sys.chmod(`${base}/file`, 0o4751);
  sys.chmod(`${base}/sub`, 0o2775);
  sys.setxattr(`${base}/file`, 'user.note', 'a value');
  sys.setxattr(`${base}/sub`, 'user.of a directory', '');
  sys.setxattr(`${base}/sub/deeper/bin`, 'trusted.secret', Buffer.alloc(900, 3));
  sys.setxattr(`${base}/nothing`, 'system.posix_acl_access', ACL);
  sys.setxattr(`${base}/sub`, 'system.posix_acl_default', ACL);
  sys.setxattr(
    `${base}/sub/deeper/bin`,
    'security.capability',
    Buffer.from('0100000200200000000000000000000000000000', 'hex'),
  );
  // rsync takes times of the same second for equal.
  run('sh', ['-c', `cd '${base}' && find . -exec touch -h -d '2001-02-03 04:05:06.789012345' {} +`]);
  sys.utimes(`${base}/file`, [1_000_000_000, 1], [1_100_000_000, 123_456_789]);
  sys.utimes(`${base}/sub/link`, [1, 2], [3, 4], 0x100);
}

const rsync = (from: string, to: string, ...more: string[]): ReturnType<typeof run> =>
  run('rsync', ['-aHAXS', '--devices', '--specials', '--delete', ...more, `${from}/`, `${to}/`]);

function directory(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'scopefs-copies-'));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

test('rsync -aHAXS to the mount, over a remount and back: nothing is different', async (t) => {
  const host = directory(t);
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt('--dev', '--suid');
  makeTree(host);
  mkdirSync(vault.path('copy'));
  const there = rsync(host, vault.path('copy'));
  t.equal(there.status, 0, there.stderr);
  vault.remount();
  const same = (from: string, to: string): string =>
    rsync(from, to, '--dry-run', '--itemize-changes', '--checksum').stdout;
  t.equal(same(host, vault.path('copy')), '', 'a second run has nothing to do');
  t.ok(statSync(vault.path('copy/sparse')).blocks < 200, 'sparse stays sparse');
  const back = directory(t);
  t.equal(rsync(vault.path('copy'), back).status, 0);
  t.equal(same(host, back), '', 'and back');
  // Not by rsync's word alone. What a directory's size counts is the filesystem's own.
  const list = (base: string): string =>
    [
      "find . -type d -printf '%P %M %n %U %G %T@\\n' -o -printf '%P %M %n %U %G %T@ %s %l\\n' | sort",
      'find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex',
      'find . ! -type l -print0 | sort -z | xargs -0 getfacl -n',
    ]
      .map((command) => run('sh', ['-c', `cd '${base}' && ${command}`]))
      .map(({ stdout, stderr }) => `${stdout}${stderr}`)
      .join('\n');
  t.equal(list(vault.path('copy')), list(host));
  t.match(list(host), /user\.note[\s\S]*user:1000:rw-/, 'and there is something to see');
});

test('tar -S with xattrs and ACLs from the mount and into it', async (t) => {
  const host = directory(t);
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt('--dev', '--suid');
  mkdirSync(vault.path('tree'));
  makeTree(vault.path('tree'));
  const archive = join(host, 'a.tar');
  const options = ['--xattrs', '--xattrs-include=*', '--acls', '-S', '--numeric-owner'];
  const made = run('tar', [...options, '-cf', archive, '-C', vault.path('tree'), '.']);
  t.equal(made.status, 0, made.stderr);
  t.ok(statSync(archive).size < 3 << 20, 'holes are not in the archive');
  mkdirSync(vault.path('again'));
  t.equal(run('tar', [...options, '-xpf', archive, '-C', vault.path('again')]).status, 0);
  const differences = rsync(
    vault.path('tree'),
    vault.path('again'),
    '--dry-run',
    '--itemize-changes',
    '--checksum',
    '--omit-dir-times',
  );
  t.equal(differences.stdout, '');
});

test('an overlay with its upper layer on the mount', async (t) => {
  const host = directory(t);
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt('--dev', '--suid');
  for (const name of ['lower', 'merged']) mkdirSync(join(host, name));
  for (const name of ['upper', 'work']) mkdirSync(vault.path(name));
  writeFileSync(join(host, 'lower/kept'), 'lower');
  writeFileSync(join(host, 'lower/changed'), 'lower');
  writeFileSync(join(host, 'lower/removed'), 'lower');
  mkdirSync(join(host, 'lower/directory'));
  writeFileSync(join(host, 'lower/directory/f'), 'lower');
  const merged = join(host, 'merged');
  const layers = `lowerdir=${host}/lower,upperdir=${vault.path('upper')},workdir=${vault.path('work')}`;
  const mounted = run('mount', ['-t', 'overlay', 'overlay', '-o', layers, merged]);
  t.equal(mounted.status, 0, mounted.stderr);
  if (mounted.status !== 0) return;
  try {
    writeFileSync(join(merged, 'changed'), 'upper');
    writeFileSync(join(merged, 'new'), 'upper');
    rmSync(join(merged, 'removed'));
    rmSync(join(merged, 'directory'), { recursive: true });
    mkdirSync(join(merged, 'directory'));
    writeFileSync(join(merged, 'directory/g'), 'upper');
    t.equal(sys.rename(join(merged, 'kept'), join(merged, 'moved')), 0, 'a rename leaves a whiteout');
    t.same(readdirSync(merged).sort(), ['changed', 'directory', 'moved', 'new']);
    t.same(readdirSync(join(merged, 'directory')), ['g'], 'an opaque directory');
    t.equal(readFileSync(join(merged, 'changed'), 'utf8'), 'upper');
    const white = sys.stat(vault.path('upper/removed'));
    t.match(white, { mode: 0o020000, rdevMajor: 0, rdevMinor: 0 }, 'a character device 0:0');
  } finally {
    run('umount', [merged]);
  }
  t.equal(readFileSync(join(host, 'lower/changed'), 'utf8'), 'lower');
  t.equal(readFileSync(vault.path('upper/moved'), 'utf8'), 'lower');
});
