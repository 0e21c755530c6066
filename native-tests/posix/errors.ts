import { alice, as, bad, bob, type Identity, O, put, root, S, sys, withFd } from './sys.js';

/** One way in which a call fails, as its man page's ERRORS section says: made in an empty directory. */
export interface ErrorRow {
  readonly call: string;
  readonly error: string;
  readonly what: string;
  readonly who: Identity;
  readonly prepare: (() => void) | undefined;
  readonly act: () => number;
}

export const rows: ErrorRow[] = [];
function row(
  call: string,
  error: string,
  what: string,
  act: () => number,
  prepare?: () => void,
  who: Identity = root,
): void {
  rows.push({ call, error, what, who, prepare, act });
}

const LONG = 'n'.repeat(256);
const PATH = `${'d/'.repeat(2048)}x`;
const RW = O.RDWR;

/** Things that calls on a path fail alike. `act` is told a path. */
const paths: readonly [call: string, act: (path: string) => number][] = [
  ['open', (p) => sys.open(`${p}/none`, O.RDONLY)],
  ['creat', (p) => sys.open(`${p}/new`, O.WRONLY | O.CREAT)],
  ['mkdir', (p) => sys.mkdir(`${p}/new`)],
  ['rmdir', (p) => sys.rmdir(`${p}/none`)],
  ['unlink', (p) => sys.unlink(`${p}/none`)],
  ['rename', (p) => sys.rename(`${p}/none`, 'other')],
  ['renameTo', (p) => sys.rename('ours', `${p}/new`)],
  ['link', (p) => sys.link(`${p}/none`, 'other')],
  ['linkTo', (p) => sys.link('ours', `${p}/new`)],
  ['symlink', (p) => sys.symlink('target', `${p}/new`)],
  ['readlink', (p) => sys.readlinkOf(`${p}/none`)],
  ['truncate', (p) => sys.truncate(`${p}/none`, 0)],
  ['chmod', (p) => sys.chmod(`${p}/none`, 0o600)],
  ['chown', (p) => sys.chown(`${p}/none`, 1, 1)],
  ['lchown', (p) => sys.lchown(`${p}/none`, 1, 1)],
  ['mknod', (p) => sys.mknod(`${p}/new`, S.FIFO | 0o644)],
  ['utimensat', (p) => sys.utimes(`${p}/none`, [1, 0], [1, 0])],
  ['access', (p) => sys.access(`${p}/none`, 0)],
  ['stat', (p) => sys.statOf(`${p}/none`)],
  ['statfs', (p) => sys.statfs(`${p}/none`)],
  ['getxattr', (p) => sys.getxattrOf(`${p}/none`, 'user.a')],
  ['setxattr', (p) => sys.setxattr(`${p}/none`, 'user.a', 'v')],
  ['removexattr', (p) => sys.removexattr(`${p}/none`, 'user.a')],
  ['listxattr', (p) => sys.listxattrOf(`${p}/none`, 100)],
  ['chdir', (p) => sys.chdir(`${p}/none`)],
];
const makes = new Set(['creat', 'mkdir', 'symlink', 'mknod', 'renameTo', 'linkTo']);
const ours = (): void => put('ours');
for (const [call, act] of paths) {
  const name = call.replace(/To$/, '');
  row(name, 'ENOENT', `${call}: a missing directory`, () => act('missing'), ours);
  row(
    name,
    'ENOTDIR',
    `${call}: a file in the path`,
    () => act('file'),
    () => {
      ours();
      put('file');
    },
  );
  row(
    name,
    'ELOOP',
    `${call}: symlinks in a circle`,
    () => act('one'),
    () => {
      ours();
      sys.symlink('two', 'one');
      sys.symlink('one', 'two');
    },
  );
  row(name, 'ENAMETOOLONG', `${call}: a name of 256 bytes`, () => act(LONG), ours);
  row(name, 'ENAMETOOLONG', `${call}: a path of 4,097 bytes`, () => act(PATH), ours);
  row(
    name,
    'EACCES',
    `${call}: a directory that may not be searched`,
    () => act('closed'),
    () => {
      as(bob, () => sys.mkdir('closed', 0o700));
      as(alice, () => put('ours'));
    },
    alice,
  );
  if (!makes.has(call)) continue;
  row(
    name,
    'EACCES',
    `${call}: a directory that may not be written`,
    () => act('shut'),
    () => {
      as(bob, () => sys.mkdir('shut', 0o755));
      as(alice, () => put('ours'));
    },
    alice,
  );
}
/** The last component itself is too long: the filesystem's own limit. */
const last: readonly [string, (path: string) => number][] = [
  ['open', (p) => sys.open(p, O.RDONLY)],
  ['creat', (p) => sys.open(p, O.WRONLY | O.CREAT, 0o644)],
  ['mkdir', (p) => sys.mkdir(p)],
  ['rmdir', (p) => sys.rmdir(p)],
  ['unlink', (p) => sys.unlink(p)],
  ['rename', (p) => sys.rename(p, 'x')],
  ['rename', (p) => sys.rename('ours', p)],
  ['link', (p) => sys.link('ours', p)],
  ['symlink', (p) => sys.symlink('t', p)],
  ['mknod', (p) => sys.mknod(p, S.FIFO | 0o600)],
  ['stat', (p) => sys.statOf(p)],
];
for (const [call, act] of last)
  row(call, 'ENAMETOOLONG', 'the last name has 256 bytes', () => act(LONG), ours);

// open
row(
  'open',
  'EEXIST',
  'O_CREAT | O_EXCL on a file',
  () => sys.open('f', O.CREAT | O.EXCL | RW, 0o644),
  () => put('f'),
);
row(
  'open',
  'EEXIST',
  'O_EXCL on a dangling symlink',
  () => sys.open('l', O.CREAT | O.EXCL | RW, 0o644),
  () => sys.symlink('none', 'l'),
);
row(
  'open',
  'EISDIR',
  'writing a directory',
  () => sys.open('d', O.WRONLY),
  () => sys.mkdir('d'),
);
row(
  'open',
  'EISDIR',
  'O_CREAT on a directory',
  () => sys.open('d', O.CREAT | RW, 0o644),
  () => sys.mkdir('d'),
);
row(
  'open',
  'ENOTDIR',
  'O_DIRECTORY on a file',
  () => sys.open('f', O.DIRECTORY),
  () => put('f'),
);
row(
  'open',
  'ELOOP',
  'O_NOFOLLOW on a symlink',
  () => sys.open('l', O.NOFOLLOW),
  () => sys.symlink('x', 'l'),
);
row(
  'open',
  'ENXIO',
  'a fifo without a reader',
  () => sys.open('p', O.WRONLY | O.NONBLOCK),
  () => sys.mknod('p', S.FIFO | 0o600),
);
row(
  'open',
  'ENXIO',
  'a socket',
  () => sys.open('s', RW),
  () => sys.mknod('s', S.SOCK | 0o600),
);
row(
  'open',
  'ENXIO',
  'a device that is not there',
  () => sys.open('c', RW),
  () => sys.mknod('c', S.CHR | 0o600, 240, 77),
);
row('open', 'ENOENT', 'an empty path', () => sys.open('', O.RDONLY));
row(
  'open',
  'ENOENT',
  'a dangling symlink',
  () => sys.open('l', O.RDONLY),
  () => sys.symlink('none', 'l'),
);
row(
  'open',
  'ENOENT',
  'O_CREAT below a dangling symlink',
  () => sys.open('l/f', O.CREAT | RW, 0o644),
  () => sys.symlink('none', 'l'),
);
row('open', 'EINVAL', 'O_TMPFILE for reading only', () => sys.open('.', O.TMPFILE | O.RDONLY, 0o600));
row(
  'open',
  'ENOTDIR',
  'O_TMPFILE in a file',
  () => sys.open('f', O.TMPFILE | RW, 0o600),
  () => put('f'),
);
row(
  'open',
  'EACCES',
  'no read permission',
  () => sys.open('f', O.RDONLY),
  () => put('f', '', 0o200),
  alice,
);
row(
  'open',
  'EACCES',
  'no write permission',
  () => sys.open('f', O.WRONLY),
  () => put('f', '', 0o444),
  alice,
);
row(
  'open',
  'EACCES',
  'O_TRUNC without write permission',
  () => sys.open('f', O.RDONLY | O.TRUNC),
  () => put('f'),
  alice,
);
row(
  'open',
  'EPERM',
  'O_NOATIME on a foreign file',
  () => sys.open('f', O.RDONLY | O.NOATIME),
  () => put('f'),
  alice,
);
row(
  'open',
  'EACCES',
  'O_TMPFILE in a foreign directory',
  () => sys.open('d', O.TMPFILE | RW, 0o600),
  () => sys.mkdir('d'),
  alice,
);

// mkdir, rmdir, unlink
row(
  'mkdir',
  'EEXIST',
  'a directory',
  () => sys.mkdir('d'),
  () => sys.mkdir('d'),
);
row(
  'mkdir',
  'EEXIST',
  'a file',
  () => sys.mkdir('f'),
  () => put('f'),
);
row(
  'mkdir',
  'EEXIST',
  'a dangling symlink',
  () => sys.mkdir('l'),
  () => sys.symlink('none', 'l'),
);
row('mkdir', 'EEXIST', '.', () => sys.mkdir('.'));
row(
  'rmdir',
  'ENOTEMPTY',
  'a file in it',
  () => sys.rmdir('d'),
  () => {
    sys.mkdir('d');
    put('d/f');
  },
);
row(
  'rmdir',
  'ENOTDIR',
  'a file',
  () => sys.rmdir('f'),
  () => put('f'),
);
row(
  'rmdir',
  'ENOTDIR',
  'a symlink to a directory',
  () => sys.rmdir('l'),
  () => {
    sys.mkdir('d');
    sys.symlink('d', 'l');
  },
);
row(
  'rmdir',
  'EINVAL',
  'the last name is .',
  () => sys.rmdir('d/.'),
  () => sys.mkdir('d'),
);
row(
  'rmdir',
  'ENOTEMPTY',
  'the last name is ..',
  () => sys.rmdir('d/..'),
  () => sys.mkdir('d'),
);
const sticky = (): void => {
  sys.mkdir('t', 0o1777);
  sys.chmod('t', 0o1777);
  as(bob, () => {
    put('t/f');
    sys.mkdir('t/d');
  });
  as(alice, () => put('t/mine'));
};
row('rmdir', 'EPERM', "another's directory in a sticky one", () => sys.rmdir('t/d'), sticky, alice);
row('unlink', 'EPERM', "another's file in a sticky directory", () => sys.unlink('t/f'), sticky, alice);
row(
  'rename',
  'EPERM',
  "another's file out of a sticky directory",
  () => sys.rename('t/f', 't/g'),
  sticky,
  alice,
);
row(
  'rename',
  'EPERM',
  "over another's file in a sticky directory",
  () => sys.rename('t/mine', 't/f'),
  sticky,
  alice,
);
row(
  'unlink',
  'EISDIR',
  'a directory',
  () => sys.unlink('d'),
  () => sys.mkdir('d'),
);
row(
  'unlink',
  'ENOTDIR',
  'a slash after a file',
  () => sys.unlink('f/'),
  () => put('f'),
);
row(
  'unlink',
  'EACCES',
  'a directory that may not be written',
  () => sys.unlink('d/f'),
  () => {
    sys.mkdir('d');
    put('d/f');
  },
  alice,
);
row(
  'rmdir',
  'EACCES',
  'a directory that may not be written',
  () => sys.rmdir('d/e'),
  () => {
    sys.mkdir('d');
    sys.mkdir('d/e');
  },
  alice,
);
row(
  'unlinkat',
  'EINVAL',
  'an unknown flag',
  () => sys.unlinkat('f', 0x4000),
  () => put('f'),
);

// rename
const tree = (): void => {
  sys.mkdir('d');
  sys.mkdir('d/e');
  sys.mkdir('full');
  put('full/f');
  put('f', 'f');
  put('g', 'g');
};
row('rename', 'EINVAL', 'a directory into itself', () => sys.rename('d', 'd/e/x'), tree);
row('rename', 'EISDIR', 'a file over a directory', () => sys.rename('f', 'd'), tree);
row('rename', 'ENOTDIR', 'a directory over a file', () => sys.rename('d', 'f'), tree);
row('rename', 'ENOTEMPTY', 'over a directory with a file', () => sys.rename('d', 'full'), tree);
row('rename', 'ENOTEMPTY', 'over its own parent', () => sys.rename('d/e', 'd'), tree);
row('rename', 'EBUSY', 'the last name is .', () => sys.rename('d/.', 'x'), tree);
row('rename', 'EBUSY', 'the last name is ..', () => sys.rename('d/..', 'x'), tree);
row('rename', 'ENOENT', 'no such file', () => sys.rename('none', 'x'), tree);
row('rename', 'ENOTDIR', 'a slash after a new name of a file', () => sys.rename('f', 'x/'), tree);
row('renameat2', 'EEXIST', 'NOREPLACE over a file', () => sys.rename('f', 'g', 1), tree);
row('renameat2', 'EEXIST', 'NOREPLACE over itself', () => sys.rename('f', 'f', 1), tree);
row('renameat2', 'ENOENT', 'EXCHANGE with nothing', () => sys.rename('f', 'none', 2), tree);
row('renameat2', 'ENOENT', 'EXCHANGE of nothing', () => sys.rename('none', 'f', 2), tree);
row('renameat2', 'EINVAL', 'EXCHANGE of a directory with its child', () => sys.rename('d', 'd/e', 2), tree);
row('renameat2', 'EINVAL', 'EXCHANGE and NOREPLACE', () => sys.rename('f', 'g', 3), tree);
row('renameat2', 'EINVAL', 'EXCHANGE and WHITEOUT', () => sys.rename('f', 'g', 6), tree);
row('renameat2', 'EINVAL', 'an unknown flag', () => sys.rename('f', 'g', 8), tree);
row(
  'rename',
  'EACCES',
  "a foreign directory whose '..' would change",
  () => sys.rename('a/d', 'b/d'),
  () => {
    for (const name of ['a', 'b']) {
      sys.mkdir(name);
      sys.chmod(name, 0o777);
    }
    as(bob, () => sys.mkdir('a/d', 0o755));
  },
  alice,
);

// link, symlink, readlink
row('link', 'EEXIST', 'a file there', () => sys.link('f', 'g'), tree);
row('link', 'EPERM', 'a directory', () => sys.link('d', 'x'), tree);
row('link', 'ENOENT', 'no such file', () => sys.link('none', 'x'), tree);
row(
  'link',
  'EPERM',
  "another's file that may not be written",
  () => sys.link('f', 'd/x'),
  () => {
    put('f', '', 0o600);
    sys.mkdir('d');
    sys.chmod('d', 0o777);
  },
  alice,
);
row('linkat', 'EINVAL', 'an unknown flag', () => sys.link('f', 'x', 0x4000), tree);
row(
  'linkat',
  'ENOENT',
  'a file that was unlinked',
  () => {
    const fd = sys.open('f', RW);
    sys.unlink('f');
    const done = sys.linkFd(fd, 'again');
    sys.close(fd);
    return done;
  },
  tree,
);
row('linkat', 'ENOENT', 'O_TMPFILE with O_EXCL', () =>
  withFd('.', O.TMPFILE | O.EXCL | RW, (fd) => sys.linkFd(fd, 'x')),
);
row('symlink', 'EEXIST', 'a file there', () => sys.symlink('t', 'f'), tree);
row('symlink', 'ENOENT', 'an empty target', () => sys.symlink('', 'l'));
row('symlink', 'ENAMETOOLONG', 'a target of 4,096 bytes', () => sys.symlink('t'.repeat(4096), 'l'));
row('readlink', 'EINVAL', 'a file', () => sys.readlinkOf('f'), tree);
row('readlink', 'EINVAL', 'a directory', () => sys.readlinkOf('d'), tree);

// truncate
row('truncate', 'EISDIR', 'a directory', () => sys.truncate('d', 0), tree);
row('truncate', 'EINVAL', 'a negative size', () => sys.truncate('f', -1), tree);
row(
  'truncate',
  'EFBIG',
  'the largest size there is',
  () => sys.truncate('f', Number.MAX_SAFE_INTEGER * 512),
  tree,
);
row('truncate', 'EACCES', 'no write permission', () => sys.truncate('f', 0), tree, alice);
row(
  'truncate',
  'EINVAL',
  'a fifo',
  () => sys.truncate('p', 0),
  () => sys.mknod('p', S.FIFO | 0o600),
);
row(
  'ftruncate',
  'EINVAL',
  'open for reading',
  () => withFd('f', O.RDONLY, (fd) => sys.ftruncate(fd, 0)),
  tree,
);
row('ftruncate', 'EBADF', 'no descriptor', () => sys.ftruncate(9999, 0));
row('ftruncate', 'EINVAL', 'a negative size', () => withFd('f', RW, (fd) => sys.ftruncate(fd, -1)), tree);

// modes, owners, times
row('chmod', 'EPERM', "another's file", () => sys.chmod('f', 0o777), tree, alice);
row('chmod', 'ENOENT', 'no such file', () => sys.chmod('none', 0o777));
row('fchmod', 'EBADF', 'O_PATH', () => withFd('f', O.PATH, (fd) => sys.fchmod(fd, 0o600)), tree);
row('chown', 'EPERM', "another's file", () => sys.chown('f', alice.uid, -1), tree, alice);
row(
  'chown',
  'EPERM',
  'giving a file away',
  () => sys.chown('mine', bob.uid, -1),
  () => as(alice, () => put('mine')),
  alice,
);
row(
  'chown',
  'EPERM',
  'to a group that the owner is not in',
  () => sys.chown('mine', -1, bob.gid + 7),
  () => as(alice, () => put('mine')),
  alice,
);
row('fchown', 'EBADF', 'no descriptor', () => sys.fchown(9999, 0, 0));
row(
  'lchown',
  'EPERM',
  "another's symlink",
  () => sys.lchown('l', alice.uid, -1),
  () => sys.symlink('x', 'l'),
  alice,
);
row(
  'utimensat',
  'EACCES',
  "now, on another's file",
  () => sys.utimes('f', [0, 0x3fffffff], [0, 0x3fffffff]),
  tree,
  alice,
);
row(
  'utimensat',
  'EPERM',
  "a given time, on another's file",
  () => sys.utimes('f', [1, 0], [1, 0]),
  tree,
  alice,
);
row(
  'utimensat',
  'EPERM',
  'a given time, on a file that may be written',
  () => sys.utimes('f', [1, 0], [1, 0]),
  () => put('f', '', 0o666),
  alice,
);
row('utimensat', 'EINVAL', 'nanoseconds out of range', () => sys.utimes('f', [1, 1e9], [1, 0]), tree);
row('access', 'EACCES', 'no write permission', () => sys.access('f', 2), tree, alice);
row('access', 'EACCES', 'no execute permission, as root', () => sys.access('f', 1), tree);
row('access', 'EINVAL', 'an unknown mode', () => sys.access('f', 64), tree);

// mknod
row('mknod', 'EEXIST', 'a file there', () => sys.mknod('f', S.FIFO | 0o600), tree);
row(
  'mknod',
  'EEXIST',
  'a dangling symlink',
  () => sys.mknod('l', S.REG | 0o600),
  () => sys.symlink('none', 'l'),
);
row(
  'mknod',
  'EPERM',
  'a device, as a user',
  () => sys.mknod('d/c', S.CHR | 0o600, 1, 3),
  () => {
    sys.mkdir('d');
    sys.chmod('d', 0o777);
  },
  alice,
);
row('mknod', 'EPERM', 'a directory', () => sys.mknod('x', 0o040000 | 0o755));
row('mknod', 'EINVAL', 'an unknown type', () => sys.mknod('x', 0o150000 | 0o755));

// reading and writing
row('read', 'EISDIR', 'a directory', () => withFd('d', O.RDONLY, (fd) => sys.read(fd, 10)), tree);
row('read', 'EBADF', 'open for writing', () => withFd('f', O.WRONLY, (fd) => sys.read(fd, 10)), tree);
row('pread', 'EINVAL', 'a negative offset', () => withFd('f', O.RDONLY, (fd) => sys.pread(fd, 1, -1)), tree);
row(
  'pread',
  'ESPIPE',
  'a fifo',
  () => withFd('p', RW, (fd) => sys.pread(fd, 1, 0)),
  () => sys.mknod('p', S.FIFO | 0o600),
);
row('write', 'EBADF', 'open for reading', () => withFd('f', O.RDONLY, (fd) => sys.write(fd, 'x')), tree);
row('pwrite', 'EINVAL', 'a negative offset', () => withFd('f', RW, (fd) => sys.pwrite(fd, 'x', -1)), tree);
row(
  'pwrite',
  'EFBIG',
  'beyond the largest file',
  () => withFd('f', RW, (fd) => sys.pwrite(fd, 'x', 2 ** 62)),
  tree,
);
row('lseek', 'EINVAL', 'before the start', () => withFd('f', RW, (fd) => sys.lseek(fd, -1, 0)), tree);
row('lseek', 'EINVAL', 'an unknown whence', () => withFd('f', RW, (fd) => sys.lseek(fd, 0, 77)), tree);
row('lseek', 'ENXIO', 'SEEK_DATA at the end', () => withFd('f', RW, (fd) => sys.lseek(fd, 1, 3)), tree);
row(
  'lseek',
  'ENXIO',
  'SEEK_DATA in a last hole',
  () =>
    withFd('f', RW, (fd) => {
      sys.ftruncate(fd, 1 << 20);
      return sys.lseek(fd, 1 << 19, 3);
    }),
  tree,
);
row('lseek', 'ENXIO', 'SEEK_HOLE beyond the end', () => withFd('f', RW, (fd) => sys.lseek(fd, 2, 4)), tree);
row(
  'lseek',
  'ESPIPE',
  'a fifo',
  () => withFd('p', RW, (fd) => sys.lseek(fd, 0, 0)),
  () => sys.mknod('p', S.FIFO | 0o600),
);
row('fsync', 'EBADF', 'no descriptor', () => sys.fsync(9999));
row(
  'fsync',
  'EINVAL',
  'a fifo',
  () => withFd('p', RW, (fd) => sys.fsync(fd)),
  () => sys.mknod('p', S.FIFO | 0o600),
);
row('getdents', 'ENOTDIR', 'a file', () => withFd('f', O.RDONLY, (fd) => sys.getdents(fd)), tree);
row(
  'getdents',
  'EINVAL',
  'no room for an entry',
  () => withFd('d', O.RDONLY, (fd) => sys.getdents(fd, 8)),
  tree,
);
row(
  'getdents',
  'ENOENT',
  'a directory that was removed',
  () =>
    withFd('d/e', O.RDONLY, (fd) => {
      sys.rmdir('d/e');
      return sys.getdents(fd);
    }),
  tree,
);
row(
  'fallocate',
  'EBADF',
  'open for reading',
  () => withFd('f', O.RDONLY, (fd) => sys.fallocate(fd, 0, 0, 1)),
  tree,
);
row('fallocate', 'EINVAL', 'no length', () => withFd('f', RW, (fd) => sys.fallocate(fd, 0, 0, 0)), tree);
row(
  'fallocate',
  'EINVAL',
  'a negative offset',
  () => withFd('f', RW, (fd) => sys.fallocate(fd, 0, -1, 5)),
  tree,
);
row(
  'fallocate',
  'EOPNOTSUPP',
  'PUNCH_HOLE without KEEP_SIZE',
  () => withFd('f', RW, (fd) => sys.fallocate(fd, 2, 0, 1)),
  tree,
);
row(
  'fallocate',
  'EOPNOTSUPP',
  'an unknown mode',
  () => withFd('f', RW, (fd) => sys.fallocate(fd, 0x400, 0, 1)),
  tree,
);
row(
  'fallocate',
  'EFBIG',
  'beyond the largest file',
  () => withFd('f', RW, (fd) => sys.fallocate(fd, 0, 2 ** 62, 1)),
  tree,
);
row(
  'fallocate',
  'ESPIPE',
  'a fifo',
  () => withFd('p', RW, (fd) => sys.fallocate(fd, 0, 0, 1)),
  () => sys.mknod('p', S.FIFO | 0o600),
);
row(
  'copy_file_range',
  'EBADF',
  'to one open for reading',
  () => withFd('f', O.RDONLY, (from) => withFd('g', O.RDONLY, (to) => sys.copy(from, to, 1))),
  tree,
);
row(
  'copy_file_range',
  'EBADF',
  'to one open for appending',
  () => withFd('f', O.RDONLY, (from) => withFd('g', O.WRONLY | O.APPEND, (to) => sys.copy(from, to, 1))),
  tree,
);
row(
  'copy_file_range',
  'EINVAL',
  'an unknown flag',
  () => withFd('f', O.RDONLY, (from) => withFd('g', RW, (to) => sys.copy(from, to, 1, 4))),
  tree,
);
row(
  'copy_file_range',
  'EINVAL',
  'overlapping in one file',
  () => withFd('f', RW, (fd) => sys.copy(fd, fd, 1)),
  tree,
);
row(
  'flock',
  'EAGAIN',
  'held by another',
  () =>
    withFd('f', RW, (one) =>
      withFd('f', RW, (other) => {
        sys.flock(one, 2);
        return sys.flock(other, 2 | 4);
      }),
    ),
  tree,
);
row('flock', 'EINVAL', 'an unknown operation', () => withFd('f', RW, (fd) => sys.flock(fd, 77)), tree);
row('chdir', 'ENOTDIR', 'a file', () => sys.chdir('f'), tree);
row(
  'chdir',
  'EACCES',
  'a directory that may not be searched',
  () => sys.chdir('c'),
  () => sys.mkdir('c', 0o700),
  alice,
);

// extended attributes
row('getxattr', 'ENODATA', 'none of that name', () => sys.getxattrOf('f', 'user.none'), tree);
row(
  'getxattr',
  'ERANGE',
  'no room',
  () => sys.getxattrOf('f', 'user.a', 2),
  () => {
    put('f');
    sys.setxattr('f', 'user.a', 'long');
  },
);
row('getxattr', 'ERANGE', 'a name of 256 bytes', () => sys.getxattrOf('f', `user.${'n'.repeat(251)}`), tree);
row('getxattr', 'EOPNOTSUPP', 'an unknown namespace', () => sys.getxattrOf('f', 'other.a'), tree);
row(
  'getxattr',
  'EACCES',
  'user.* of a file that may not be read',
  () => sys.getxattrOf('f', 'user.a'),
  () => put('f', '', 0o600),
  alice,
);
row(
  'getxattr',
  'ENODATA',
  'trusted.*, as a user',
  () => sys.getxattrOf('f', 'trusted.a'),
  () => {
    put('f');
    sys.setxattr('f', 'trusted.a', 'v');
  },
  alice,
);
row(
  'setxattr',
  'EEXIST',
  'XATTR_CREATE of one that is there',
  () => sys.setxattr('f', 'user.a', 'w', 1),
  () => {
    put('f');
    sys.setxattr('f', 'user.a', 'v');
  },
);
row('setxattr', 'ENODATA', 'XATTR_REPLACE of none', () => sys.setxattr('f', 'user.a', 'w', 2), tree);
row('setxattr', 'EINVAL', 'unknown flags', () => sys.setxattr('f', 'user.a', 'w', 8), tree);
row('setxattr', 'EOPNOTSUPP', 'an unknown namespace', () => sys.setxattr('f', 'other.a', 'w'), tree);
row(
  'setxattr',
  'EPERM',
  'user.* of a symlink',
  () => sys.setxattr('l', 'user.a', 'w'),
  () => sys.symlink('x', 'l'),
);
row(
  'setxattr',
  'EPERM',
  'user.* of a fifo',
  () => sys.setxattr('p', 'user.a', 'w'),
  () => sys.mknod('p', S.FIFO | 0o600),
);
row(
  'setxattr',
  'EPERM',
  'trusted.*, as a user',
  () => sys.setxattr('mine', 'trusted.a', 'w'),
  () => as(alice, () => put('mine')),
  alice,
);
row(
  'setxattr',
  'EPERM',
  'security.*, as a user',
  () => sys.setxattr('mine', 'security.a', 'w'),
  () => as(alice, () => put('mine')),
  alice,
);
row(
  'setxattr',
  'EACCES',
  'user.* of a file that may not be written',
  () => sys.setxattr('f', 'user.a', 'w'),
  tree,
  alice,
);
row(
  'setxattr',
  'ERANGE',
  'a name of 256 bytes',
  () => sys.setxattr('f', `user.${'n'.repeat(251)}`, 'w'),
  tree,
);
row(
  'setxattr',
  'E2BIG',
  'a value of more than 64 KiB',
  () => sys.setxattr('f', 'user.a', Buffer.alloc(65537)),
  tree,
);
row(
  'setxattr',
  'ENOSPC',
  'a value beyond what a block of ext4 takes',
  () => sys.setxattr('f', 'user.a', Buffer.alloc(5000)),
  tree,
);
row(
  'setxattr',
  'EINVAL',
  'an ACL that is none',
  () => sys.setxattr('f', 'system.posix_acl_access', 'xx'),
  tree,
);
row(
  'setxattr',
  'EACCES',
  'a default ACL on a file',
  () =>
    sys.setxattr(
      'f',
      'system.posix_acl_default',
      Buffer.from('0200000001000600ffffffff04000400ffffffff20000400ffffffff', 'hex'),
    ),
  tree,
);
row(
  'setxattr',
  'EPERM',
  "an ACL on another's file",
  () =>
    sys.setxattr(
      'f',
      'system.posix_acl_access',
      Buffer.from('0200000001000600ffffffff04000400ffffffff20000400ffffffff', 'hex'),
    ),
  tree,
  alice,
);
row('removexattr', 'ENODATA', 'none of that name', () => sys.removexattr('f', 'user.none'), tree);
row(
  'removexattr',
  'EACCES',
  'of a file that may not be written',
  () => sys.removexattr('f', 'user.a'),
  tree,
  alice,
);
row(
  'listxattr',
  'ERANGE',
  'no room',
  () => sys.listxattrOf('f', 2),
  () => {
    put('f');
    sys.setxattr('f', 'user.a', 'long');
  },
);

// Bad addresses, bad descriptors.
for (const [call, act] of Object.entries(bad.address))
  row(call, 'EFAULT', 'an address that is none', act, tree);
for (const [call, act] of Object.entries(bad.descriptor)) row(call, 'EBADF', 'no descriptor', act, tree);
row(
  'copy_file_range',
  'EISDIR',
  'from a directory',
  () => withFd('d', O.RDONLY, (from) => withFd('g', RW, (to) => sys.copy(from, to, 1))),
  tree,
);
row(
  'copy_file_range',
  'EFBIG',
  'beyond the largest file',
  () => withFd('f', O.RDONLY, (from) => withFd('g', RW, (to) => sys.copy(from, to, 1, 0, 2 ** 62))),
  tree,
);
row(
  'write',
  'EFBIG',
  'beyond the largest file',
  () =>
    withFd('f', RW, (fd) => {
      sys.lseek(fd, 2 ** 43 + 2 ** 42, 0);
      return sys.pwrite(fd, 'x', 2 ** 62);
    }),
  tree,
);
row('rename', 'EXDEV', 'to another filesystem', () => sys.rename('f', '/dev/shm/scopefs-posix'), tree);
row('link', 'EXDEV', 'to another filesystem', () => sys.link('f', '/dev/shm/scopefs-posix'), tree);
row('flock', 'EBADF', 'no descriptor', () => sys.flock(9999, 2));

/** Shown where the disk is full: full-disk.test.ts. */
export const fullDiskRows = ['open', 'mkdir', 'symlink', 'mknod', 'write', 'fallocate'].map((call) => ({
  call,
  error: 'ENOSPC',
}));

/** A program that runs can't be opened for writing: `busy` is one. */
export const busyRows: readonly { call: string; error: string; act: () => number }[] = [
  { call: 'open', error: 'ETXTBSY', act: () => sys.open('busy', O.WRONLY) },
  { call: 'truncate', error: 'ETXTBSY', act: () => sys.truncate('busy', 0) },
];

/** On a read-only mount; `f` and `d` are there. */
export const readOnlyRows: readonly { call: string; error: string; act: () => number }[] = (
  [
    ['open', () => sys.open('f', O.WRONLY)],
    ['open', () => sys.open('new', O.WRONLY | O.CREAT, 0o644)],
    ['mkdir', () => sys.mkdir('new')],
    ['rmdir', () => sys.rmdir('d')],
    ['unlink', () => sys.unlink('f')],
    ['rename', () => sys.rename('f', 'g')],
    ['link', () => sys.link('f', 'g')],
    ['symlink', () => sys.symlink('f', 'g')],
    ['truncate', () => sys.truncate('f', 0)],
    ['chmod', () => sys.chmod('f', 0o600)],
    ['chown', () => sys.chown('f', 1, 1)],
    ['mknod', () => sys.mknod('p', S.FIFO | 0o600)],
    ['utimensat', () => sys.utimes('f', [1, 0], [1, 0])],
    ['access', () => sys.access('f', 2)],
    ['setxattr', () => sys.setxattr('f', 'user.a', 'v')],
    ['removexattr', () => sys.removexattr('f', 'user.a')],
  ] as const
).map(([call, act]) => ({ call, error: 'EROFS', act }));
