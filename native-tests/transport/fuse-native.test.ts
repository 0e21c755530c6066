import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type Test, test } from 'tap';
import { errno } from '../../src/base/errno.js';
import { open } from '../../src/libc/files.js';
import { rows } from '../posix/errors.js';
import { errorsIn, fresh, observationsIn } from '../posix/suite.js';
import { as, bob, outcome, root, sys } from '../posix/sys.js';
import { MAP_PRIVATE, PAGE } from '../support/board.js';
import { scan } from '../support/memory-scan.js';
import { cliPath, run, scopefs, Vault } from '../support/mounted.js';
import { Rig, sleep, within } from '../support/probe.js';

/** The npm binding: its named subset, what it refuses, and that a lock is a lock with it too. */
const NATIVE = ['--transport', 'fuse-native'] as const;

function mounted(t: Test): Vault {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt(...NATIVE);
  return vault;
}
function rigFor(t: Test): Rig {
  const rig = new Rig({ mount: false });
  t.teardown(() => rig.remove());
  rig.vault.mountIt(...NATIVE);
  rig.createScope('/a');
  return rig;
}

const NO_XATTR = 'the binding can be made to read beyond its buffer by a value larger than asked for';
/** Errors that this transport does not give, each with its reason; all other rows of root are as on ext4. */
const OTHER_ERRORS: Record<string, string> = {
  'open ENXIO': 'no device nodes',
  'linkat ENOENT': 'no O_TMPFILE: libfuse 2 does not know it',
  'lseek ENXIO': 'no SEEK_DATA: libfuse 2 does not know it, so all is data',
  'fallocate EFBIG': 'no fallocate: the binding does not pass it on',
  'getxattr ENODATA': NO_XATTR,
  'getxattr ERANGE': NO_XATTR,
  'setxattr EEXIST': NO_XATTR,
  'setxattr ENODATA': NO_XATTR,
  'setxattr ENOSPC': NO_XATTR,
  'removexattr ENODATA': NO_XATTR,
  'listxattr ERANGE': NO_XATTR,
};
/** What programs see as on ext4. What is not listed needs other users or what {@link OTHER_ERRORS} says. */
const SAME = [
  'modes of new objects under a umask',
  'a rename moves ctime of what is renamed, and mtime of a directory that is moved stays',
  'a read moves the access time once after each write (relatime)',
  'hard links: count, content and attributes are shared',
  'an unlinked file lives as long as it is open',
  'rename: over files, directories, itself, hard links, and back',
  'a listing during changes has every name that stayed, once',
  'seekdir returns to where telldir was',
  'copy_file_range and appends of several writers',
  'O_DIRECT, O_SYNC and O_DSYNC write what is read back',
  'deep trees and long paths',
  'link counts of directories and files',
  'locks: of a file, of ranges by process and by open file, and what ends them',
  'signals interrupt no call on a file',
];

test('the named subset is as on ext4', async (t) => {
  const vault = mounted(t);
  const mine = rows.filter(({ who }) => who === root);
  const seen = errorsIn(vault.mount, mine);
  let compared = 0;
  mine.forEach(({ call, error, what }, i) => {
    if (`${call} ${error}` in OTHER_ERRORS) return;
    compared++;
    t.equal(seen[i], error, `${call}: ${what}`);
  });
  t.comment(`${compared} rows, ${Object.keys(OTHER_ERRORS).length} differ by name`);
  const control = observationsIn(fresh(vault.directory, 'control'), SAME);
  const observed = observationsIn(vault.mount, SAME);
  for (const name of SAME) t.same(observed[name], control[name], name);
});

test('what would be wrong is refused', async (t) => {
  const vault = mounted(t);
  writeFileSync(vault.path('f'), 'content');
  writeFileSync(vault.path('other'), '');
  process.chdir(vault.mount);
  t.teardown(() => process.chdir('/'));
  t.equal(outcome(sys.utimes('f', [1, 0], [2, 0])), 'EOPNOTSUPP', 'times: it would lose the second');
  t.equal(outcome(sys.setxattr('f', 'user.a', 'v')), 'EOPNOTSUPP', 'extended attributes');
  t.equal(outcome(sys.rename('f', 'other', 2)), 'EINVAL', 'exchange');
  t.equal(outcome(sys.mknod('null', 0o020666, 0x103)), 'EPERM', 'device nodes');
  t.equal(outcome(sys.mkdir('\xff\xfe')), 'EILSEQ', 'a name that is not UTF-8');
  t.equal(outcome(sys.symlink('\xff\xfe', 'l')), 'EILSEQ', 'nor a target');
  t.equal(
    as(bob, () => outcome(sys.open('f', 0))),
    'EACCES',
    'other users',
  );
  process.chdir('/');
  for (const option of ['--suid', '--dev', '--writeback']) {
    const refused = scopefs(['mount', vault.vault, vault.mount, '--with', 'file:/x', ...NATIVE, option]);
    t.equal(refused.status, 2, option);
    t.match(refused.stderr, `can't do ${option}`);
  }
  // Made by the other transport: a listing that left it out would lose it for whoever copies by it.
  vault.expect(vault.unmount(), 'unmount');
  vault.mountIt();
  mkdirSync(vault.path('d'));
  writeFileSync(Buffer.concat([Buffer.from(vault.path('d/')), Buffer.from([0xff])]), 'x');
  vault.expect(vault.unmount(), 'unmount');
  vault.mountIt(...NATIVE);
  t.throws(() => readdirSync(vault.path('d')), { code: 'EILSEQ' }, 'a listing with such a name');
  t.same(readdirSync(vault.mount).sort(), ['d', 'f', 'other'], 'the others are there');
});

test('without libfuse 2 the error says what to install, and nothing is mounted', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  const hide = `for l in $(ldconfig -p | grep -o '/.*libfuse.so.2$'); do mount --bind /dev/null $(readlink -f $l); done`;
  const command = `${hide}; exec ${cliPath} mount ${vault.vault} ${vault.mount} --with file:${vault.keyFile} ${NATIVE.join(' ')}`;
  const done = run('unshare', ['-m', 'sh', '-c', command]);
  t.equal(done.status, 1);
  t.match(done.stderr, /libfuse 2/);
  t.match(done.stderr, /apt-get install libfuse2/);
  t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), vault.mount);
});

test('a lock: handles, names, directories and mappings are dead, and stay so', async (t) => {
  const rig = rigFor(t);
  mkdirSync(rig.path('a/sub'));
  writeFileSync(rig.path('a/sub/file'), Buffer.alloc(4 * PAGE, 0x61));
  const probe = rig.probe();
  const mapper = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a/sub/file'), flags: open.O_RDWR });
  const directory = await probe.must('open', { path: rig.path('a/sub') });
  const mapFd = await mapper.must('open', { path: rig.path('a/sub/file') });
  const shared = { fd: mapFd, length: 4 * PAGE, write: true };
  t.equal((await mapper.call('map', shared)).n < 0, true, 'no shared mapping: nothing dirty in the kernel');
  const map = await mapper.must('map', { fd: mapFd, length: 4 * PAGE, flags: MAP_PRIVATE });
  t.equal(await mapper.must('peek', { map }), 0x61, 'a private mapping reads');
  await probe.must('write', { fd, offset: 0, fill: 0x62, length: 100 });
  const [receipt] = await within(10_000, 'lock', rig.lock('/a'));
  t.same(receipt?.errors, []);
  const dead = async (when: string): Promise<void> => {
    t.equal((await probe.call('read', { fd })).n, -errno.ENOKEY, `read ${when}`);
    const write = { fd, offset: 0, fill: 1, length: 10 };
    t.equal((await probe.call('write', write)).n, -errno.ENOKEY, `write ${when}`);
    // libfuse goes by paths: an old directory is what is there now.
  };
  await dead('after the lock');
  t.equal((await probe.call('list', { fd: directory })).n, -errno.ENOKEY, 'a listing');
  t.throws(() => readFileSync(rig.path('a/sub/file')), { message: /-126|ENOKEY/ });
  t.throws(() => readdirSync(rig.path('a')), { message: /-126|ENOKEY/ });
  t.equal((await mapper.call('peek', { map })).signal, 'SIGBUS', 'a page that was mapped');
  await rig.unlock('/a');
  await dead('after the next unlock');
  t.equal(readFileSync(rig.path('a/sub/file'))[0], 0x62, 'what was written before the lock');
});

test('a lease ends in time, and content and keys are out of memory', async (t) => {
  const rig = rigFor(t);
  const marks = [randomBytes(32), randomBytes(32), randomBytes(32)];
  marks.forEach((mark, i) => {
    writeFileSync(rig.path('a', `f${i}`), Buffer.alloc(300_000, mark));
  });
  await rig.lock('/a');
  await rig.unlock('/a', '2s');
  for (const i of marks.keys()) readFileSync(rig.path('a', `f${i}`));
  const probe = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a/f0') });
  t.ok((await probe.call('read', { fd })).n > 0);
  await sleep(2_100);
  t.equal(await rig.state('/a'), 'locked');
  t.equal((await probe.call('read', { fd })).n, -errno.ENOKEY);
  t.same(scan(rig.vault.pid, marks), [0, 0, 0], 'no copies, in buffers of libfuse neither');
});

test("what the kernel would hold is held, and what is nobody else's is not touched", async (t) => {
  const vault = mounted(t);
  const inodes = (): number =>
    (JSON.parse(vault.cli('status', '--json').stdout) as { inodes: number }).inodes;
  const before = inodes();
  for (let i = 0; i < 10; i++) {
    mkdirSync(vault.path('d'));
    mkdirSync(vault.path('e'));
    renameSync(vault.path('e'), vault.path('d'));
    rmdirSync(vault.path('d'));
    writeFileSync(vault.path('f'), 'x');
    writeFileSync(vault.path('g'), 'y');
    renameSync(vault.path('g'), vault.path('f'));
    rmSync(vault.path('f'));
  }
  t.ok(inodes() <= before + 2, `no inode is left behind: ${before} before, ${inodes()} after`);
  writeFileSync(vault.path('\ufefff'), 'with a mark');
  writeFileSync(vault.path('f'), 'without');
  t.same(readdirSync(vault.mount).sort(), ['f', '\ufefff'].sort());
  // Something mounted over it, and another vault that wants the same place.
  run('mount', ['-t', 'tmpfs', 'none', vault.mount]);
  await sleep(1_200);
  run('umount', [vault.mount]);
  t.equal(readFileSync(vault.path('f'), 'utf8'), 'without', 'the mount below is alive');
  const other = new Vault({ mount: false });
  t.teardown(() => other.remove());
  const second = ['mount', other.vault, vault.mount, '--with', `file:${other.keyFile}`, ...NATIVE];
  t.equal(scopefs(second).status, 7, 'busy');
  // A start that fails once it has mounted takes its mount away: here its socket is another daemon's.
  const taken = ['mount', other.vault, other.mount, '--with', `file:${other.keyFile}`, ...NATIVE];
  t.equal(scopefs([...taken, '--host', `unix://${vault.socket}`]).status, 7, 'the socket is in use');
  t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), other.mount);
  // By the vault that /proc/mounts names, without --host.
  t.equal(scopefs(taken).status, 0);
  t.equal(scopefs(['unmount', other.mount]).status, 0);
  const devices = run('sh', ['-c', `ls -l /proc/${vault.pid}/fd | grep -c /dev/fuse`]).stdout.trim();
  t.equal(devices, '2', "a descriptor of our own beside libfuse's, which is gone with the mount");
  t.equal(readFileSync(vault.path('f'), 'utf8'), 'without');
});

test('it unmounts, is busy while somebody is in it, and a dead one is cleared', async (t) => {
  const rig = rigFor(t);
  const { vault } = rig;
  const probe = rig.probe();
  writeFileSync(vault.path('f'), 'content');
  const fd = await probe.must('open', { path: vault.path('f') });
  const busy = vault.unmount();
  t.equal(busy.status, 7);
  t.match(busy.stderr, 'in use');
  await probe.must('close', { fd });
  vault.expect(vault.unmount(), 'unmount');
  vault.mountIt(...NATIVE);
  t.equal(readFileSync(vault.path('f'), 'utf8'), 'content');
  process.kill(vault.pid, 'SIGKILL');
  await sleep(200);
  t.throws(() => statSync(vault.path('f')), 'dead: fail-closed');
  vault.mountIt(...NATIVE);
  t.equal(readFileSync(vault.path('f'), 'utf8'), 'content');
  // The next reads what this wrote, and the other way round.
  writeFileSync(vault.path('g'), 'by the binding');
  vault.expect(vault.unmount(), 'unmount');
  vault.mountIt();
  t.equal(readFileSync(vault.path('g'), 'utf8'), 'by the binding');
  run('umount', [vault.mount]);
  vault.mountIt(...NATIVE);
  run('umount', [vault.mount]);
  // Where nothing reaps orphans the ended process stays as a zombie, without a command line.
  const commandLine = (): string => run('cat', [`/proc/${vault.pid}/cmdline`]).stdout;
  for (let i = 0; i < 400 && commandLine() !== ''; i++) await sleep(50);
  t.equal(commandLine(), '', 'a plain umount ends the daemon');
  rmSync(vault.socket, { force: true });
});
