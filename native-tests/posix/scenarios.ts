import { alice, as, bob, get, O, outcome, put, S, sys, withFd } from './sys.js';

/**
 * What programs see, as values that ext4 and the mount must agree on: no paths, inode numbers or times of the clock.
 * Each runs in an empty directory of its own.
 */
export const scenarios: Record<string, () => unknown> = {};

const stat = (path: string, follow = false) => {
  const found = sys.stat(path, follow);
  if (typeof found === 'number') return outcome(found);
  const { mode, nlink, uid, gid, size } = found;
  // What a directory's size counts is the filesystem's own (inode(7)).
  const length = found.isDirectory ? 'directory' : size;
  return { mode: mode.toString(8), nlink, uid, gid, size: length };
};
const ns = (seconds: number, nanoseconds: number): bigint =>
  BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
interface Times {
  atime: bigint;
  mtime: bigint;
  ctime: bigint;
}
function timesOf(path: string): Times {
  const found = sys.stat(path);
  if (typeof found === 'number') throw new Error(`${path}: ${outcome(found)}`);
  return {
    atime: ns(found.atime, found.atimeNs),
    mtime: ns(found.mtime, found.mtimeNs),
    ctime: ns(found.ctime, found.ctimeNs),
  };
}
/** Which times of which paths an action moves. The clock of file times ticks every 4 ms or so. */
function moves(paths: readonly string[], act: () => unknown): Record<string, string> {
  const before = paths.map(timesOf);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 12);
  act();
  return Object.fromEntries(
    paths.map((path, i) => {
      const [old, now] = [before[i] as Times, timesOf(path)];
      const moved = (['atime', 'mtime', 'ctime'] as const).filter((which) => old[which] !== now[which]);
      return [path, moved.join(' ')];
    }),
  );
}

scenarios['modes of new objects under a umask'] = () => {
  const before = sys.umask(0o027);
  put('f');
  sys.unlink('f');
  sys.close(sys.open('f', O.CREAT | O.WRONLY, 0o666));
  sys.close(sys.open('s', O.CREAT | O.WRONLY, 0o6777));
  sys.mkdir('d', 0o777);
  sys.mkdir('t', 0o1777);
  sys.mknod('p', S.FIFO | 0o666);
  sys.symlink('x', 'l');
  sys.umask(before);
  return ['f', 's', 'd', 't', 'p', 'l'].map((name) => stat(name));
};

scenarios['a set-group-id directory gives its group, and the bit to directories'] = () => {
  sys.mkdir('d');
  sys.chown('d', alice.uid, 41100);
  sys.chmod('d', 0o2777);
  as(bob, () => {
    sys.close(sys.open('d/f', O.CREAT | O.WRONLY, 0o644));
    sys.close(sys.open('d/g', O.CREAT | O.WRONLY, 0o2775));
    sys.mkdir('d/e');
    sys.mknod('d/p', S.FIFO | 0o644);
    sys.symlink('x', 'd/l');
  });
  as(alice, () => sys.close(sys.open('d/member', O.CREAT | O.WRONLY, 0o2775)));
  return ['d/f', 'd/g', 'd/e', 'd/p', 'd/l', 'd/member'].map((name) => stat(name));
};

scenarios['set-user-id and set-group-id after writes, truncates and chowns'] = () => {
  const seen: unknown[] = [];
  for (const mode of [0o6777, 0o6767, 0o4755, 0o2755, 0o2745]) {
    for (const who of ['owner', 'root'] as const) {
      const done = (act: () => void): void => {
        put('f', 'content');
        sys.chown('f', alice.uid, alice.gid);
        sys.chmod('f', mode);
        if (who === 'owner') as(alice, act);
        else act();
        seen.push([mode.toString(8), who, stat('f')]);
        sys.unlink('f');
      };
      done(() => withFd('f', O.WRONLY, (fd) => sys.write(fd, 'x')));
      done(() => sys.truncate('f', 3));
      done(() => sys.close(sys.open('f', O.WRONLY | O.TRUNC)));
      done(() => sys.chown('f', -1, 41100));
      done(() => withFd('f', O.RDWR, (fd) => sys.fallocate(fd, 0, 0, 100)));
      done(() => withFd('f', O.RDWR, (fd) => sys.fallocate(fd, 3, 0, 4)));
    }
  }
  return seen;
};

scenarios['chmod by somebody outside the group drops set-group-id'] = () => {
  put('f');
  sys.chown('f', alice.uid, 40999);
  as(alice, () => sys.chmod('f', 0o2777));
  return stat('f');
};

scenarios['supplementary groups open what their group may'] = () => {
  put('f', 'content', 0o640);
  sys.chown('f', 0, alice.gid);
  sys.mkdir('d', 0o750);
  sys.chown('d', 0, alice.gid);
  put('d/g', 'inside');
  return [as(alice, () => get('f')), as(bob, () => get('f')), as(bob, () => get('d/g'))];
};

scenarios['access by the owner, the group and others, in every mode'] = () => {
  const seen: string[] = [];
  for (let mode = 0; mode < 8; mode++) {
    for (const shift of [0, 3, 6]) {
      put('f', 'x', 0o700);
      sys.chown('f', alice.uid, 41100);
      sys.chmod('f', mode << shift);
      for (const who of [alice, bob]) {
        seen.push(as(who, () => [4, 2, 1].map((wanted) => outcome(sys.access('f', wanted))).join(' ')));
      }
      sys.unlink('f');
    }
  }
  return seen;
};

scenarios['times that each call moves'] = () => {
  sys.mkdir('d');
  put('d/f', 'content');
  put('d/g', 'other');
  const at = (act: () => unknown): Record<string, string> => moves(['d', 'd/f'], act);
  return {
    chmod: at(() => sys.chmod('d/f', 0o600)),
    chown: at(() => sys.chown('d/f', 5, 6)),
    link: at(() => sys.link('d/f', 'd/h')),
    unlinkOther: at(() => sys.unlink('d/h')),
    renameOther: at(() => sys.rename('d/g', 'd/i')),
    write: at(() => withFd('d/f', O.WRONLY, (fd) => sys.write(fd, 'abc'))),
    writeNothing: at(() => withFd('d/f', O.WRONLY, (fd) => sys.write(fd, ''))),
    openTruncate: at(() => sys.close(sys.open('d/f', O.WRONLY | O.TRUNC))),
    openTruncateEmpty: at(() => sys.close(sys.open('d/f', O.WRONLY | O.TRUNC))),
    truncateGrow: at(() => sys.truncate('d/f', 100)),
    truncateSame: at(() => sys.truncate('d/f', 100)),
    ftruncateSame: at(() => withFd('d/f', O.RDWR, (fd) => sys.ftruncate(fd, 100))),
    punch: at(() => withFd('d/f', O.RDWR, (fd) => sys.fallocate(fd, 3, 0, 50))),
    allocate: at(() => withFd('d/f', O.RDWR, (fd) => sys.fallocate(fd, 0, 0, 5000))),
    setxattr: at(() => sys.setxattr('d/f', 'user.a', 'v')),
    removexattr: at(() => sys.removexattr('d/f', 'user.a')),
    utimes: at(() => sys.utimes('d/f', [5, 6], [7, 8])),
    create: at(() => put('d/new')),
    openExisting: at(() => sys.close(sys.open('d/f', O.RDWR | O.CREAT, 0o644))),
    mkdir: at(() => sys.mkdir('d/e')),
    rmdir: at(() => sys.rmdir('d/e')),
    symlink: at(() => sys.symlink('x', 'd/l')),
    mknod: at(() => sys.mknod('d/p', S.FIFO | 0o600)),
    tmpfile: at(() => sys.close(sys.open('d', O.TMPFILE | O.RDWR, 0o600))),
    failedCreate: at(() => sys.open('d/f', O.CREAT | O.EXCL | O.RDWR, 0o600)),
    rename: at(() => sys.rename('d/new', 'd/f')),
  };
};

scenarios['a rename moves ctime of what is renamed, and mtime of a directory that is moved stays'] = () => {
  sys.mkdir('d');
  sys.mkdir('e');
  put('f');
  sys.mkdir('sub');
  const before = timesOf('sub');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 12);
  sys.rename('sub', 'e/sub');
  const after = timesOf('e/sub');
  return {
    mtime: before.mtime === after.mtime,
    ctime: before.ctime < after.ctime,
    parents: moves(['d', 'e', '.'], () => sys.rename('f', 'd/f')),
  };
};

scenarios['times set to the nanosecond, before 1970 and after 2100, omitted and now'] = () => {
  put('f');
  const seen: unknown[] = [];
  const show = (): void => {
    const { atime, mtime } = timesOf('f');
    seen.push(atime.toString(), mtime.toString());
  };
  for (const [a, m] of [
    [
      [1, 123456789],
      [2, 987654321],
    ],
    [
      [-5, 1],
      [-1000000000, 999999999],
    ],
    [
      [4200000000, 7],
      [6000000000, 8],
    ],
    [
      [9, 0x3ffffffe],
      [77, 5],
    ],
    [
      [10, 6],
      [9, 0x3ffffffe],
    ],
  ] as const) {
    seen.push(outcome(sys.utimes('f', a, m)));
    show();
  }
  sys.symlink('f', 'l');
  seen.push(outcome(sys.utimes('l', [5, 5], [6, 6], 0x100)));
  show();
  seen.push(timesOf('l').mtime.toString());
  return seen;
};

scenarios['a read moves the access time once after each write (relatime)'] = () => {
  put('f', 'x'.repeat(10));
  sys.utimes('f', [1000, 0], [2000, 0]);
  const read = (): number => withFd('f', O.RDONLY | O.DIRECT, (fd) => sys.read(fd, 4096));
  const first = moves(['f'], read);
  const second = moves(['f'], read);
  return [first, second];
};

scenarios['birth time stays, and is not after the change time'] = () => {
  put('f');
  const birth = (): bigint => {
    const found = sys.stat('f');
    return typeof found === 'number' ? -1n : ns(found.btime, found.btimeNs);
  };
  const first = birth();
  sys.chmod('f', 0o600);
  withFd('f', O.WRONLY, (fd) => sys.write(fd, 'later'));
  return [first > 0n, first === birth(), first <= timesOf('f').ctime];
};

scenarios['hard links: count, content and attributes are shared'] = () => {
  sys.mkdir('d');
  put('f', 'one');
  const seen: unknown[] = [outcome(sys.link('f', 'd/g'))];
  withFd('d/g', O.WRONLY | O.APPEND, (fd) => sys.write(fd, ' two'));
  sys.chmod('f', 0o600);
  seen.push(get('f'), stat('f'), stat('d/g'));
  seen.push(outcome(sys.rename('f', 'd/g')), get('f'), outcome(sys.unlink('f')), stat('d/g'), get('d/g'));
  sys.symlink('target', 'l');
  seen.push(outcome(sys.link('l', 'm')), sys.readlink('m'), stat('m'));
  return seen;
};

scenarios['an unlinked file lives as long as it is open'] = () => {
  put('f', 'content');
  const fd = sys.open('f', O.RDWR);
  const seen: unknown[] = [outcome(sys.unlink('f')), stat('f')];
  sys.pwrite(fd, 'CON', 0);
  const length = sys.pread(fd, 100, 0);
  seen.push(sys.bytes(length).toString(), sys.fstat(fd).nlink, outcome(sys.fchmod(fd, 0o640)));
  seen.push(sys.fstat(fd).mode.toString(8), outcome(sys.ftruncate(fd, 3)), sys.fstat(fd).size);
  seen.push(outcome(sys.fsync(fd)));
  put('f', 'new');
  sys.close(fd);
  seen.push(get('f'));
  return seen;
};

scenarios['a file without a name: link count, a name, and then all is as usual'] = () => {
  const fd = sys.open('.', O.TMPFILE | O.RDWR, 0o640);
  const seen: unknown[] = [sys.fstat(fd).nlink, sys.fstat(fd).mode.toString(8)];
  sys.write(fd, 'content');
  seen.push(outcome(sys.linkFd(fd, 'f')), outcome(sys.linkFd(fd, 'f')), outcome(sys.linkFd(fd, 'g')));
  seen.push(stat('f'), get('g'));
  sys.close(fd);
  seen.push(outcome(sys.unlink('f')), get('g'));
  return seen;
};

scenarios['rename: over files, directories, itself, hard links, and back'] = () => {
  put('a', 'a');
  put('b', 'b');
  sys.mkdir('d');
  sys.mkdir('e');
  sys.mkdir('e/sub');
  put('e/f', 'deep');
  const seen: unknown[] = [
    outcome(sys.rename('a', 'a')),
    outcome(sys.rename('a', 'b')),
    get('b'),
    outcome(sys.rename('e', 'd')),
    get('d/f'),
    stat('e'),
    outcome(sys.rename('d', 'e')),
    outcome(sys.rename('b', 'e/b')),
    outcome(sys.rename('e/sub', 'sub')),
  ];
  seen.push(stat('.'), stat('e'), stat('sub'));
  return seen;
};

scenarios['exchange and whiteout'] = () => {
  put('a', 'a');
  sys.mkdir('d');
  put('d/b', 'b');
  const seen: unknown[] = [
    outcome(sys.rename('a', 'd/b', 2)),
    get('a'),
    get('d/b'),
    outcome(sys.rename('a', 'd', 2)),
    stat('a').toString(),
    get('d'),
    get('a/b'),
    outcome(sys.rename('d', 'n', 1)),
    outcome(sys.rename('n', 'w', 4)),
    stat('n'),
    get('w'),
    outcome(sys.rename('w', 'a/b', 4)),
    get('a/b'),
  ];
  const white = sys.stat('n');
  seen.push(typeof white === 'number' ? white : [white.rdevMajor, white.rdevMinor]);
  return seen;
};

scenarios['special files keep type and device number'] = () => {
  const seen: unknown[] = [];
  for (const [name, mode, major, minor] of [
    ['p', S.FIFO, 0, 0],
    ['s', S.SOCK, 0, 0],
    ['c', S.CHR, 1, 3],
    ['b', S.BLK, 7, 200],
    ['r', S.REG, 0, 0],
  ] as const) {
    seen.push(outcome(sys.mknod(name, mode | 0o640, major, minor)), stat(name));
    const found = sys.stat(name);
    if (typeof found !== 'number') seen.push([found.rdevMajor, found.rdevMinor]);
  }
  const fd = sys.open('c', O.RDWR);
  seen.push(outcome(fd), fd < 0 ? 0 : sys.write(fd, 'into /dev/null'));
  if (fd >= 0) sys.close(fd);
  return seen;
};

/** The names in what getdents64(2) just brought. */
function listed(length: number): string[] {
  const bytes = sys.bytes(Math.max(0, length));
  const found: string[] = [];
  for (let at = 0; at < length; at += bytes.readUInt16LE(at + 16)) {
    found.push(bytes.toString('latin1', at + 19, bytes.indexOf(0, at + 19)));
  }
  return found;
}

const names = (path: string): string[] => {
  const fd = sys.open(path, O.RDONLY | O.DIRECTORY);
  const found: string[] = [];
  for (;;) {
    const length = sys.getdents(fd, 4096);
    if (length <= 0) break;
    found.push(...listed(length));
  }
  sys.close(fd);
  return found.sort();
};

scenarios['names of every byte, 255 bytes long, and every length'] = () => {
  const seen: unknown[] = [];
  for (let byte = 1; byte < 256; byte++) {
    if (byte !== 0x2f) seen.push(outcome(sys.mkdir(`x${String.fromCharCode(byte)}y`)));
  }
  for (const length of [1, 15, 16, 17, 159, 160, 161, 162, 254, 255]) put('n'.repeat(length), String(length));
  put('\xff'.repeat(255), 'ff');
  put('+looks like ours', 'plus');
  seen.push(names('.'), get('n'.repeat(255)), get('\xff'.repeat(255)), get('+looks like ours'));
  return seen;
};

scenarios['symlink targets of every kind'] = () =>
  [
    'x',
    '/',
    'a/../b',
    '\xff\xfe',
    't'.repeat(1000),
    't'.repeat(3031),
    't'.repeat(3032),
    't'.repeat(4095),
  ].map((target, i) => [
    outcome(sys.symlink(target, `l${i}`)),
    sys.readlink(`l${i}`) === target,
    stat(`l${i}`),
  ]);

scenarios['a listing during changes has every name that stayed, once'] = () => {
  sys.mkdir('d');
  for (let i = 0; i < 500; i++) put(`d/stays-${i}`);
  for (let i = 0; i < 500; i++) put(`d/goes-${i}`);
  const fd = sys.open('d', O.RDONLY | O.DIRECTORY);
  const found: string[] = [];
  for (let round = 0; ; round++) {
    const length = sys.getdents(fd, 2048);
    if (length <= 0) break;
    found.push(...listed(length));
    for (let i = round * 10; i < round * 10 + 10; i++) {
      sys.unlink(`d/goes-${i}`);
      put(`d/new-${i}`);
    }
  }
  sys.close(fd);
  const stayed = found.filter((name) => name.startsWith('stays-'));
  return [stayed.length, new Set(stayed).size, new Set(found).size === found.length];
};

scenarios['seekdir returns to where telldir was'] = () => {
  sys.mkdir('d');
  for (let i = 0; i < 100; i++) put(`d/file-${i}`);
  const fd = sys.open('d', O.RDONLY | O.DIRECTORY);
  const page = (): string[] => {
    return listed(sys.getdents(fd, 1024));
  };
  page();
  const place = sys.lseek(fd, 0, 1);
  const first = page();
  page();
  sys.lseek(fd, place, 0);
  const again = page();
  sys.lseek(fd, 0, 0);
  let count = 0;
  for (let found = page(); found.length > 0; found = page()) count += found.length;
  sys.close(fd);
  return [first.join() === again.join(), count];
};

scenarios['sparse files: holes read as zeros, are found by lseek and take no room'] = () => {
  const fd = sys.open('f', O.RDWR | O.CREAT, 0o644);
  sys.pwrite(fd, 'start', 0);
  sys.pwrite(fd, 'end', 64 << 20);
  const blocks = sys.fstat(fd).blocks;
  sys.pread(fd, 100, 32 << 20);
  const zeros = sys.bytes(100).equals(Buffer.alloc(100));
  const hole = sys.lseek(fd, 0, 4);
  const data = sys.lseek(fd, 1 << 20, 3);
  sys.close(fd);
  return [blocks < 200, zeros, hole > 0 && hole <= 1 << 20, data > 60 << 20 && data <= 64 << 20, stat('f')];
};

scenarios['fallocate: sizes, zeros and room'] = () => {
  const fd = sys.open('f', O.RDWR | O.CREAT, 0o644);
  sys.write(fd, 'x'.repeat(300_000));
  const seen: unknown[] = [];
  const step = (mode: number, offset: number, length: number): void => {
    seen.push(outcome(sys.fallocate(fd, mode, offset, length)), sys.fstat(fd).size);
  };
  step(3, 100, 200_000);
  sys.pread(fd, 300_000, 0);
  const bytes = sys.bytes(300_000);
  seen.push(bytes.indexOf(0), bytes.lastIndexOf(0));
  step(0x10, 250_000, 100_000);
  step(0x11, 340_000, 100_000);
  step(0, 500_000, 1000);
  step(1, 600_000, 1 << 20);
  sys.pread(fd, 501_000, 0);
  seen.push(sys.bytes(501_000).lastIndexOf('x'.charCodeAt(0)));
  seen.push(sys.fstat(fd).blocks * 512 > 1 << 20);
  sys.close(fd);
  return seen;
};

scenarios['copy_file_range and appends of several writers'] = () => {
  put('a', 'abcdefghij'.repeat(10_000));
  const from = sys.open('a', O.RDONLY);
  const to = sys.open('b', O.RDWR | O.CREAT, 0o644);
  const seen: unknown[] = [sys.copy(from, to, 200_000), sys.fstat(to).size];
  sys.pread(to, 10, 99_990);
  seen.push(sys.bytes(10).toString());
  const one = sys.open('c', O.WRONLY | O.CREAT | O.APPEND, 0o644);
  const two = sys.open('c', O.WRONLY | O.APPEND);
  for (let i = 0; i < 5; i++) {
    sys.write(one, `one${i}`);
    sys.write(two, `two${i}`);
  }
  for (const fd of [from, to, one, two]) sys.close(fd);
  seen.push(get('c'));
  return seen;
};

scenarios['extended attributes: every namespace, empty values, replace and list'] = () => {
  put('f');
  sys.mkdir('d');
  sys.symlink('f', 'l');
  const seen: unknown[] = [];
  for (const path of ['f', 'd', 'l']) {
    for (const name of ['user.a', 'user.empty', 'trusted.t', 'security.s']) {
      seen.push(outcome(sys.setxattr(path, name, name === 'user.empty' ? '' : `value of ${name}`)));
    }
    seen.push(sys.listxattr(path));
    for (const name of ['user.a', 'user.empty', 'trusted.t', 'security.s', 'user.none']) {
      seen.push(sys.getxattr(path, name), sys.getxattrOf(path, name, 0));
    }
    seen.push(outcome(sys.setxattr(path, 'user.a', 'changed', 2)), sys.getxattr(path, 'user.a'));
    seen.push(outcome(sys.removexattr(path, 'trusted.t')), sys.listxattr(path));
    seen.push(as(alice, () => sys.listxattr(path)));
  }
  return seen;
};

/** posix_acl_xattr (linux/posix_acl_xattr.h): version 2, then tag, permissions and id of each entry. */
function acl(...entries: readonly [tag: number, permissions: number, id?: number][]): Buffer {
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2, 0);
  entries.forEach(([tag, permissions, id = 0xffffffff], i) => {
    bytes.writeUInt16LE(tag, 4 + i * 8);
    bytes.writeUInt16LE(permissions, 6 + i * 8);
    bytes.writeUInt32LE(id, 8 + i * 8);
  });
  return bytes;
}
const [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER] = [1, 2, 4, 8, 0x10, 0x20];
const ACCESS = 'system.posix_acl_access';
const DEFAULT = 'system.posix_acl_default';
const shown = (path: string, which: string): string =>
  Buffer.from(sys.getxattr(path, which), 'latin1').toString('hex');

scenarios['ACLs: access, masks, chmod, and who may do what'] = () => {
  put('f', 'content', 0o640);
  const seen: unknown[] = [as(alice, () => get('f'))];
  const list = acl(
    [USER_OBJ, 6],
    [USER, 6, alice.uid],
    [GROUP_OBJ, 4],
    [GROUP, 4, 41100],
    [MASK, 6],
    [OTHER, 0],
  );
  seen.push(outcome(sys.setxattr('f', ACCESS, list)), stat('f'), shown('f', ACCESS));
  seen.push(
    as(alice, () => get('f')),
    as(bob, () => get('f')),
  );
  seen.push(as(alice, () => outcome(sys.access('f', 2))));
  seen.push(
    outcome(sys.chmod('f', 0o600)),
    shown('f', ACCESS),
    as(alice, () => get('f')),
  );
  seen.push(
    outcome(sys.chmod('f', 0o660)),
    as(alice, () => get('f')),
  );
  seen.push(
    sys.listxattr('f'),
    outcome(sys.removexattr('f', ACCESS)),
    stat('f'),
    as(alice, () => get('f')),
  );
  seen.push(outcome(sys.setxattr('f', ACCESS, acl([USER_OBJ, 7], [GROUP_OBJ, 5], [OTHER, 1]))), stat('f'));
  seen.push(sys.listxattr('f'));
  sys.chown('f', alice.uid, 40999);
  sys.chmod('f', 0o2775);
  seen.push(
    as(alice, () => outcome(sys.setxattr('f', ACCESS, list))),
    stat('f'),
  );
  return seen;
};

scenarios['default ACLs are inherited, and rule instead of the umask'] = () => {
  const before = sys.umask(0o077);
  sys.mkdir('d');
  const list = acl([USER_OBJ, 7], [USER, 7, alice.uid], [GROUP_OBJ, 5], [MASK, 7], [OTHER, 1]);
  const seen: unknown[] = [outcome(sys.setxattr('d', DEFAULT, list)), stat('d')];
  sys.close(sys.open('d/f', O.CREAT | O.WRONLY, 0o666));
  sys.close(sys.open('d/g', O.CREAT | O.WRONLY, 0o640));
  sys.close(sys.open('d/s', O.CREAT | O.WRONLY, 0o4755));
  sys.mkdir('d/e', 0o777);
  sys.mkdir('d/e/deeper', 0o750);
  sys.mknod('d/p', S.FIFO | 0o666);
  sys.symlink('f', 'd/l');
  const fd = sys.open('d', O.TMPFILE | O.RDWR, 0o666);
  sys.linkFd(fd, 'd/t');
  sys.close(fd);
  for (const name of ['f', 'g', 's', 'e', 'e/deeper', 'p', 'l', 't']) {
    seen.push([name, stat(`d/${name}`), shown(`d/${name}`, ACCESS), shown(`d/${name}`, DEFAULT)]);
  }
  seen.push(outcome(sys.removexattr('d', DEFAULT)));
  sys.close(sys.open('d/after', O.CREAT | O.WRONLY, 0o666));
  seen.push(stat('d/after'), shown('d/after', ACCESS), sys.listxattr('d'));
  sys.umask(before);
  return seen;
};

/** vfs_cap_data of `cap_net_raw+ep` (linux/capability.h), version 2. */
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex');
scenarios['capabilities go with a write, a truncate and a chown, not with a chmod or a rename'] = () => {
  const seen: unknown[] = [];
  for (const act of [
    () => withFd('f', O.WRONLY, (fd) => sys.write(fd, 'x')),
    () => sys.truncate('f', 2),
    () => sys.chown('f', alice.uid, -1),
    () => sys.chmod('f', 0o755),
    () => sys.rename('f', 'g') + sys.rename('g', 'f'),
    () => withFd('f', O.RDWR, (fd) => sys.fsync(fd)),
  ]) {
    put('f', 'content');
    seen.push(outcome(sys.setxattr('f', 'security.capability', CAPABILITY)));
    act();
    seen.push(Buffer.from(sys.getxattr('f', 'security.capability'), 'latin1').toString('hex'));
    sys.unlink('f');
  }
  return seen;
};

scenarios['O_DIRECT, O_SYNC and O_DSYNC write what is read back'] = () => {
  const seen: unknown[] = [];
  for (const flags of [O.DIRECT, 0o4010000, 0o10000]) {
    const fd = sys.open('f', O.RDWR | O.CREAT | O.TRUNC | flags, 0o644);
    seen.push(sys.pwrite(fd, 'p'.repeat(8192), 4096), sys.pread(fd, 16_384, 0));
    seen.push(sys.bytes(12_288).indexOf('p'.charCodeAt(0)), sys.fstat(fd).size);
    sys.close(fd);
  }
  return seen;
};

scenarios['deep trees and long paths'] = () => {
  let made = 0;
  for (; made < 60 && sys.mkdir('d'.repeat(60)) === 0; made++) sys.chdir('d'.repeat(60));
  put('f', 'deep');
  const seen: unknown[] = [made, get('f')];
  for (let i = 0; i < made; i++) sys.chdir('..');
  const long = `${'d'.repeat(60)}/`.repeat(60);
  seen.push(get(`${long}f`), outcome(sys.unlink(`${long}f`)));
  for (let i = made; i > 0; i--) seen.push(outcome(sys.rmdir(`${'d'.repeat(60)}/`.repeat(i))));
  return seen;
};

scenarios['link counts of directories and files'] = () => {
  for (let i = 0; i < 20; i++) sys.mkdir(`d${i}`);
  put('f');
  let links = 0;
  for (; links < 200; links++) if (sys.link('f', `l${links}`) < 0) break;
  sys.rmdir('d3');
  sys.rename('d4', 'd5/d4');
  sys.unlink('l7');
  return [stat('.'), stat('d5'), stat('f'), links];
};
