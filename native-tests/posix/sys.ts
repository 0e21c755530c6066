import { arch } from 'node:process';
import { errnoName } from '../../src/base/errno.js';
import { libcFunction, result } from '../../src/libc/ffi.js';
import { pinned } from '../../src/libc/memory.js';
import { Stat } from '../../src/libc/stat.js';

/**
 * System calls as a program makes them: paths and descriptors, by the identity that a test takes on. Each returns its
 * result or -errno. Paths are latin1 strings of raw bytes, relative to the working directory.
 */

const numbers = {
  x64: { setresuid: 117, setresgid: 119, setgroups: 116, fchmodat2: 452 },
  arm64: { setresuid: 147, setresgid: 149, setgroups: 159, fchmodat2: 452 },
} as const;
const number = numbers[arch as keyof typeof numbers];

const pathA = pinned(8192);
const pathB = pinned(8192);
const block = pinned((1 << 20) + 4096);
/** Aligned, as O_DIRECT asks. */
const skip = (4096 - (block.address % 4096)) % 4096;
const data = { address: block.address + skip, bytes: block.bytes.subarray(skip) };
const statBuffer = pinned(256);
const times = pinned(64);
const groupList = pinned(256);

function text(buffer: typeof pathA, value: string): number {
  buffer.bytes[buffer.bytes.write(value, 0, 'latin1')] = 0;
  return buffer.address;
}
const a = (path: string): number => text(pathA, path);
const b = (path: string): number => text(pathB, path);
const AT_FDCWD = -100;

function bind(name: string, signature: string, returns = 'i'): (...values: number[]) => number {
  const call = libcFunction(name, returns, signature);
  return (...values) => result(call(...values));
}
const raw = bind('syscall', 'llll', 'l');
const c = {
  open: bind('open', 'piu'),
  close: bind('close', 'i'),
  mkdir: bind('mkdir', 'pu'),
  rmdir: bind('rmdir', 'p'),
  unlink: bind('unlink', 'p'),
  unlinkat: bind('unlinkat', 'ipi'),
  renameat2: bind('renameat2', 'ipipu'),
  linkat: bind('linkat', 'ipipi'),
  symlink: bind('symlink', 'pp'),
  readlink: bind('readlink', 'ppp', 'l'),
  truncate: bind('truncate', 'pl'),
  ftruncate: bind('ftruncate', 'il'),
  chmod: bind('chmod', 'pu'),
  fchmod: bind('fchmod', 'iu'),
  lchown: bind('lchown', 'puu'),
  chown: bind('chown', 'puu'),
  fchown: bind('fchown', 'iuu'),
  mknod: bind('mknod', 'pup'),
  utimensat: bind('utimensat', 'ippi'),
  faccessat: bind('faccessat', 'ipii'),
  statx: bind('statx', 'ipiup'),
  statfs: bind('statfs', 'pp'),
  read: bind('read', 'ipp', 'l'),
  write: bind('write', 'ipp', 'l'),
  pread: bind('pread', 'ippl', 'l'),
  pwrite: bind('pwrite', 'ippl', 'l'),
  lseek: bind('lseek', 'ili', 'l'),
  fsync: bind('fsync', 'i'),
  fallocate: bind('fallocate', 'iill'),
  copy: bind('copy_file_range', 'ipippu', 'l'),
  getxattr: bind('lgetxattr', 'pppp', 'l'),
  setxattr: bind('lsetxattr', 'ppppi'),
  removexattr: bind('lremovexattr', 'pp'),
  listxattr: bind('llistxattr', 'ppp', 'l'),
  flock: bind('flock', 'ii'),
  chdir: bind('chdir', 'p'),
  getdents: bind('getdents64', 'ipp', 'l'),
  umask: bind('umask', 'u'),
  openat: bind('openat', 'ipiu'),
  mkdirat: bind('mkdirat', 'ipu'),
  symlinkat: bind('symlinkat', 'pip'),
  readlinkat: bind('readlinkat', 'ippp', 'l'),
  mknodat: bind('mknodat', 'ipup'),
  fstatfs: bind('fstatfs', 'ip'),
  fchdir: bind('fchdir', 'i'),
};

export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DIRECT: 0o40000,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  NOATIME: 0o1000000,
  PATH: 0o10000000,
  TMPFILE: 0o20200000,
} as const;
export const S = { FIFO: 0o010000, CHR: 0o020000, BLK: 0o060000, REG: 0o100000, SOCK: 0o140000 } as const;

/** Who makes the calls: uid, gid and supplementary groups. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}
export const root: Identity = { uid: 0, gid: 0, groups: [0] };
/** Two ordinary users; the second is in the first one's group too. */
export const alice: Identity = { uid: 41001, gid: 41001, groups: [41001, 41100] };
export const bob: Identity = { uid: 41002, gid: 41002, groups: [41002, 41001] };

/** Takes an identity on: raw calls change this thread's credentials alone, so everything must be called from it. */
function become({ uid, gid, groups }: Identity): void {
  raw(number.setresuid, -1, 0, -1);
  groups.forEach((group, i) => {
    groupList.bytes.writeUInt32LE(group, i * 4);
  });
  raw(number.setgroups, groups.length, groupList.address, 0);
  raw(number.setresgid, -1, gid, -1);
  raw(number.setresuid, -1, uid, -1);
}
export function as<T>(who: Identity, act: () => T): T {
  become(who);
  try {
    return act();
  } finally {
    become(root);
  }
}

/** `ok`, or the error's name. */
export function outcome(value: number): string {
  return value < 0 ? errnoName(-value) : 'ok';
}

export const sys = {
  open: (path: string, flags: number, mode = 0) => c.open(a(path), flags | 0o2000000, mode),
  close: (fd: number) => c.close(fd),
  mkdir: (path: string, mode = 0o755) => c.mkdir(a(path), mode),
  rmdir: (path: string) => c.rmdir(a(path)),
  unlink: (path: string) => c.unlink(a(path)),
  unlinkat: (path: string, flags: number) => c.unlinkat(AT_FDCWD, a(path), flags),
  rename: (from: string, to: string, flags = 0) => c.renameat2(AT_FDCWD, a(from), AT_FDCWD, b(to), flags),
  link: (from: string, to: string, flags = 0) => c.linkat(AT_FDCWD, a(from), AT_FDCWD, b(to), flags),
  linkFd: (fd: number, to: string) => c.linkat(AT_FDCWD, a(`/proc/self/fd/${fd}`), AT_FDCWD, b(to), 0x400),
  symlink: (target: string, path: string) => c.symlink(a(target), b(path)),
  readlink: (path: string): string => {
    const length = c.readlink(a(path), data.address, 4096);
    return length < 0 ? errnoName(-length) : data.bytes.toString('latin1', 0, length);
  },
  readlinkOf: (path: string) => c.readlink(a(path), data.address, 4096),
  truncate: (path: string, size: number) => c.truncate(a(path), size),
  ftruncate: (fd: number, size: number) => c.ftruncate(fd, size),
  chmod: (path: string, mode: number) => c.chmod(a(path), mode),
  fchmod: (fd: number, mode: number) => c.fchmod(fd, mode),
  chown: (path: string, uid: number, gid: number) => c.chown(a(path), uid >>> 0, gid >>> 0),
  lchown: (path: string, uid: number, gid: number) => c.lchown(a(path), uid >>> 0, gid >>> 0),
  fchown: (fd: number, uid: number, gid: number) => c.fchown(fd, uid >>> 0, gid >>> 0),
  mknod: (path: string, mode: number, major = 0, minor = 0) => c.mknod(a(path), mode, (major << 8) | minor),
  utimes: (path: string, atime: readonly [number, number], mtime: readonly [number, number], flags = 0) => {
    for (const [i, [seconds, nanoseconds]] of [atime, mtime].entries()) {
      times.bytes.writeBigInt64LE(BigInt(seconds), i * 16);
      times.bytes.writeBigInt64LE(BigInt(nanoseconds), i * 16 + 8);
    }
    return c.utimensat(AT_FDCWD, a(path), times.address, flags);
  },
  access: (path: string, mode: number) => c.faccessat(AT_FDCWD, a(path), mode, 0x200),
  stat: (path: string, follow = false): Stat | number => {
    const done = c.statx(AT_FDCWD, a(path), follow ? 0 : 0x100, 0xfff, statBuffer.address);
    if (done < 0) return done;
    const stat = new Stat();
    stat.decode(statBuffer.bytes);
    return stat;
  },
  fstat: (fd: number): Stat => {
    c.statx(fd, a(''), 0x1000, 0xfff, statBuffer.address);
    const stat = new Stat();
    stat.decode(statBuffer.bytes);
    return stat;
  },
  statOf: (path: string) => c.statx(AT_FDCWD, a(path), 0, 0xfff, statBuffer.address),
  statfs: (path: string) => c.statfs(a(path), statBuffer.address),
  read: (fd: number, length: number) => c.read(fd, data.address, length),
  pread: (fd: number, length: number, offset: number) => c.pread(fd, data.address, length, offset),
  /** What the last read brought. */
  bytes: (length: number) => Buffer.from(data.bytes.subarray(0, length)),
  write: (fd: number, value: string | Buffer) => {
    const bytes = Buffer.from(value);
    bytes.copy(data.bytes);
    return c.write(fd, data.address, bytes.length);
  },
  pwrite: (fd: number, value: string | Buffer, offset: number) => {
    const bytes = Buffer.from(value);
    bytes.copy(data.bytes);
    return c.pwrite(fd, data.address, bytes.length, offset);
  },
  lseek: (fd: number, offset: number, whence: number) => c.lseek(fd, offset, whence),
  fsync: (fd: number) => c.fsync(fd),
  fallocate: (fd: number, mode: number, offset: number, length: number) =>
    c.fallocate(fd, mode, offset, length),
  copy: (from: number, to: number, length: number, flags = 0, at?: number) => {
    if (at === undefined) return c.copy(from, 0, to, 0, length, flags);
    times.bytes.writeBigInt64LE(BigInt(at), 0);
    return c.copy(from, 0, to, times.address, length, flags);
  },
  getxattr: (path: string, name: string, room = 65536): string => {
    const length = c.getxattr(a(path), b(name), data.address, room);
    return length < 0 ? errnoName(-length) : data.bytes.toString('latin1', 0, room === 0 ? 0 : length);
  },
  getxattrOf: (path: string, name: string, room = 65536) => c.getxattr(a(path), b(name), data.address, room),
  setxattr: (path: string, name: string, value: string | Buffer, flags = 0) => {
    const bytes = Buffer.from(value as string, 'latin1');
    bytes.copy(data.bytes);
    return c.setxattr(a(path), b(name), data.address, bytes.length, flags);
  },
  removexattr: (path: string, name: string) => c.removexattr(a(path), b(name)),
  listxattr: (path: string): string[] | string => {
    const length = c.listxattr(a(path), data.address, 65536);
    if (length < 0) return errnoName(-length);
    return data.bytes.toString('latin1', 0, length).split('\0').slice(0, -1).sort();
  },
  listxattrOf: (path: string, room: number) => c.listxattr(a(path), data.address, room),
  flock: (fd: number, how: number) => c.flock(fd, how),
  chdir: (path: string) => c.chdir(a(path)),
  getdents: (fd: number, room = 65536) => c.getdents(fd, data.address, room),
  umask: (mask: number) => c.umask(mask),
};

/** Makes a file with content; throws where that fails. */
export function put(path: string, content = '', mode = 0o644): void {
  const fd = sys.open(path, O.WRONLY | O.CREAT | O.TRUNC, mode);
  if (fd < 0) throw new Error(`put ${path}: ${errnoName(-fd)}`);
  if (content !== '') sys.write(fd, content);
  sys.close(fd);
  sys.chmod(path, mode);
}
export function get(path: string): string {
  const fd = sys.open(path, O.RDONLY);
  if (fd < 0) return errnoName(-fd);
  const length = sys.read(fd, 65536);
  sys.close(fd);
  return length < 0 ? errnoName(-length) : sys.bytes(length).toString('latin1');
}
/** Opens, does, closes. */
export function withFd(path: string, flags: number, act: (fd: number) => number, mode = 0o644): number {
  const fd = sys.open(path, flags, mode);
  if (fd < 0) return fd;
  const done = act(fd);
  sys.close(fd);
  return done;
}

/** An address that no program has, and a descriptor that is not open. */
const NOWHERE = 1;
const NONE = 9999;
const withF = (act: (fd: number) => number): number => withFd('f', O.RDWR, act);
export const bad: Record<'address' | 'descriptor', Record<string, () => number>> = {
  address: {
    open: () => c.open(NOWHERE, 0, 0),
    mkdir: () => c.mkdir(NOWHERE, 0),
    rmdir: () => c.rmdir(NOWHERE),
    unlink: () => c.unlink(NOWHERE),
    rename: () => c.renameat2(AT_FDCWD, a('f'), AT_FDCWD, NOWHERE, 0),
    link: () => c.linkat(AT_FDCWD, a('f'), AT_FDCWD, NOWHERE, 0),
    symlink: () => c.symlink(NOWHERE, b('l')),
    readlink: () => c.readlink(NOWHERE, data.address, 10),
    truncate: () => c.truncate(NOWHERE, 0),
    chmod: () => c.chmod(NOWHERE, 0),
    chown: () => c.chown(NOWHERE, 0, 0),
    mknod: () => c.mknod(NOWHERE, S.FIFO, 0),
    utimensat: () => c.utimensat(AT_FDCWD, a('f'), NOWHERE, 0),
    access: () => c.faccessat(AT_FDCWD, NOWHERE, 0, 0),
    stat: () => c.statx(AT_FDCWD, a('f'), 0, 0xfff, NOWHERE),
    statfs: () => c.statfs(a('f'), NOWHERE),
    read: () => withF((fd) => c.read(fd, NOWHERE, 1)),
    write: () => withF((fd) => c.write(fd, NOWHERE, 1)),
    pread: () => withF((fd) => c.pread(fd, NOWHERE, 1, 0)),
    chdir: () => c.chdir(NOWHERE),
    getdents: () => withFd('d', O.RDONLY, (fd) => c.getdents(fd, NOWHERE, 4096)),
    getxattr: () => c.getxattr(NOWHERE, b('user.a'), data.address, 10),
    setxattr: () => c.setxattr(a('f'), b('user.a'), NOWHERE, 4, 0),
  },
  descriptor: {
    open: () => c.openat(NONE, a('f'), 0, 0),
    mkdir: () => c.mkdirat(NONE, a('x'), 0),
    unlink: () => c.unlinkat(NONE, a('f'), 0),
    rename: () => c.renameat2(NONE, a('f'), AT_FDCWD, b('x'), 0),
    link: () => c.linkat(NONE, a('f'), AT_FDCWD, b('x'), 0),
    symlink: () => c.symlinkat(a('t'), NONE, b('l')),
    readlink: () => c.readlinkat(NONE, a('f'), data.address, 10),
    chmod: () => c.fchmod(NONE, 0),
    chown: () => c.fchown(NONE, 0, 0),
    mknod: () => c.mknodat(NONE, a('x'), S.FIFO, 0),
    utimensat: () => c.utimensat(NONE, a('f'), 0, 0),
    access: () => c.faccessat(NONE, a('f'), 0, 0),
    stat: () => c.statx(NONE, a('f'), 0, 0xfff, statBuffer.address),
    statfs: () => c.fstatfs(NONE, statBuffer.address),
    read: () => c.read(NONE, data.address, 1),
    write: () => c.write(NONE, data.address, 1),
    pread: () => c.pread(NONE, data.address, 1, 0),
    lseek: () => c.lseek(NONE, 0, 0),
    chdir: () => c.fchdir(NONE),
    getdents: () => c.getdents(NONE, data.address, 10),
    fallocate: () => c.fallocate(NONE, 0, 0, 1),
  },
};
