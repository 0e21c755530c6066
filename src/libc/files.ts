import { constants } from 'node:fs';
import type { Address } from './ffi.js';
import { libcFunction, result } from './ffi.js';
import { pinned } from './memory.js';
import type { Stat } from './stat.js';

/**
 * File calls on directory descriptors. Names are latin1 strings of raw bytes (one character a byte). Each returns
 * its result or -errno and never follows a symlink in the last component. Man pages: section 2 under the same name.
 */
export const open = {
  O_RDONLY: constants.O_RDONLY,
  O_WRONLY: constants.O_WRONLY,
  O_RDWR: constants.O_RDWR,
  /** The bits that say which of these three. */
  O_ACCMODE: 3,
  O_CREAT: constants.O_CREAT,
  O_EXCL: constants.O_EXCL,
  O_TRUNC: constants.O_TRUNC,
  O_APPEND: constants.O_APPEND,
  O_DIRECTORY: constants.O_DIRECTORY,
  O_NOFOLLOW: constants.O_NOFOLLOW,
  O_NONBLOCK: constants.O_NONBLOCK,
  O_CLOEXEC: 0o2000000,
  O_PATH: 0o10000000,
  O_TMPFILE: 0o20000000 | constants.O_DIRECTORY,
  O_NOATIME: constants.O_NOATIME,
} as const;

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const AT_EMPTY_PATH = 0x1000;
/** STATX_BASIC_STATS | STATX_BTIME. */
const STATX_MASK = 0xfff;
const SYS_FCHMODAT2 = 452;

const openatCall = libcFunction('openat', 'i', 'ipiu');
const closeCall = libcFunction('close', 'i', 'i');
const statxCall = libcFunction('statx', 'i', 'ipiup');
const preadCall = libcFunction('pread', 'l', 'ippl');
const preadv2Call = libcFunction('preadv2', 'l', 'ipili');
const pwriteCall = libcFunction('pwrite', 'l', 'ippl');
const readCall = libcFunction('read', 'l', 'ipp');
const writeCall = libcFunction('write', 'l', 'ipp');
const fsyncCall = libcFunction('fsync', 'i', 'i');
const fdatasyncCall = libcFunction('fdatasync', 'i', 'i');
const ftruncateCall = libcFunction('ftruncate', 'i', 'il');
const fallocateCall = libcFunction('fallocate', 'i', 'iill');
const mknodatCall = libcFunction('mknodat', 'i', 'ipup');
const mkdiratCall = libcFunction('mkdirat', 'i', 'ipu');
const unlinkatCall = libcFunction('unlinkat', 'i', 'ipi');
const renameat2Call = libcFunction('renameat2', 'i', 'ipipu');
const linkatCall = libcFunction('linkat', 'i', 'ipipi');
const symlinkatCall = libcFunction('symlinkat', 'i', 'pip');
const readlinkatCall = libcFunction('readlinkat', 'l', 'ippp');
const fchownCall = libcFunction('fchown', 'i', 'iuu');
const fchownatCall = libcFunction('fchownat', 'i', 'ipuui');
const fchmodCall = libcFunction('fchmod', 'i', 'iu');
const syscallFchmodat2 = libcFunction('syscall', 'l', 'llplu');
const utimensatCall = libcFunction('utimensat', 'i', 'ippi');
const futimensCall = libcFunction('futimens', 'i', 'ip');
const getdentsCall = libcFunction('getdents64', 'l', 'ipp');
const lseekCall = libcFunction('lseek', 'l', 'ili');
const lgetxattrCall = libcFunction('lgetxattr', 'l', 'pppp');
const lsetxattrCall = libcFunction('lsetxattr', 'i', 'ppppi');
const fgetxattrCall = libcFunction('fgetxattr', 'l', 'ippp');
const fsetxattrCall = libcFunction('fsetxattr', 'i', 'ipppi');
const lremovexattrCall = libcFunction('lremovexattr', 'i', 'pp');
const fremovexattrCall = libcFunction('fremovexattr', 'i', 'ip');
const llistxattrCall = libcFunction('llistxattr', 'l', 'ppp');
const flistxattrCall = libcFunction('flistxattr', 'l', 'ipp');
const fstatfsCall = libcFunction('fstatfs', 'i', 'ip');
const F_DUPFD_CLOEXEC = 1030;
const fcntlCall = libcFunction('fcntl', 'i', 'iil');
const flockCall = libcFunction('flock', 'i', 'ii');

// Scratch for names and structs. Every call fills what it passes and reads what it got before it returns, so no
// nested call can overwrite it.
const nameA = pinned(4608);
const nameB = pinned(4608);
const statBuffer = pinned(256);
const timesBuffer = pinned(32);
/** About 500 entries with stored names: what one call may cost those who wait. */
const DIRENT_BATCH = 32768;
const direntBuffer = pinned(DIRENT_BATCH);
/** Of an extended attribute (linux/limits.h), in bytes: its name, its value, the list of an object's names. */
export const XATTR_NAME_MAX = 255;
export const XATTR_SIZE_MAX = 65536;
export const XATTR_LIST_MAX = 65536;
const attributeName = pinned(XATTR_NAME_MAX + 1);
const attributeValue = pinned(Math.max(XATTR_SIZE_MAX, XATTR_LIST_MAX));
const iovec = pinned(16);
const statfsBuffer = pinned(128);
const emptyName = pinned(1);

function cstring(buffer: typeof nameA, text: string): Address {
  if (text.length > 4600) return cstring(buffer, text.slice(0, 4600));
  const length = buffer.bytes.write(text, 0, 'latin1');
  buffer.bytes[length] = 0;
  return buffer.address;
}

export function openat(dir: number, name: string, flags: number, mode = 0): number {
  return result(openatCall(dir, cstring(nameA, name), flags | open.O_CLOEXEC | open.O_NOFOLLOW, mode));
}
/** Opens a path of the host (not of a vault's tree): symlinks are followed. UTF-8. */
export function openPath(path: string, flags: number, mode = 0): number {
  return result(
    openatCall(AT_FDCWD, cstring(nameA, Buffer.from(path).toString('latin1')), flags | open.O_CLOEXEC, mode),
  );
}
export function close(fd: number): number {
  return result(closeCall(fd));
}
export function statAt(dir: number, name: string, into: Stat): number {
  const done = result(
    statxCall(dir, cstring(nameA, name), AT_SYMLINK_NOFOLLOW, STATX_MASK, statBuffer.address),
  );
  if (done === 0) into.decode(statBuffer.bytes);
  return done;
}
export function fstat(fd: number, into: Stat): number {
  const done = result(statxCall(fd, emptyName.address, AT_EMPTY_PATH, STATX_MASK, statBuffer.address));
  if (done === 0) into.decode(statBuffer.bytes);
  return done;
}
export function pread(fd: number, address: Address, length: number, offset: number): number {
  return result(preadCall(fd, address, length, offset));
}
const RWF_NOWAIT = 8;
/** What of a range the host has cached, without waiting for the disk: preadv2(2) with RWF_NOWAIT; -EAGAIN if nothing. */
export function preadNowait(fd: number, address: Address, length: number, offset: number): number {
  iovec.bytes.writeUInt32LE(address % 0x1_0000_0000, 0);
  iovec.bytes.writeUInt32LE(Math.floor(address / 0x1_0000_0000), 4);
  iovec.bytes.writeUInt32LE(length, 8);
  return result(preadv2Call(fd, iovec.address, 1, offset, RWF_NOWAIT));
}
export function pwrite(fd: number, address: Address, length: number, offset: number): number {
  return result(pwriteCall(fd, address, length, offset));
}
export function read(fd: number, address: Address, length: number): number {
  return result(readCall(fd, address, length));
}
export function write(fd: number, address: Address, length: number): number {
  return result(writeCall(fd, address, length));
}
export function fsync(fd: number): number {
  return result(fsyncCall(fd));
}
/** Another descriptor of the same open file, or -errno: fcntl(2), F_DUPFD_CLOEXEC. */
export function duplicate(fd: number): number {
  return result(fcntlCall(fd, F_DUPFD_CLOEXEC, 3));
}
export function fdatasync(fd: number): number {
  return result(fdatasyncCall(fd));
}
export function ftruncate(fd: number, length: number): number {
  return result(ftruncateCall(fd, length));
}
export const falloc = { KEEP_SIZE: 1, PUNCH_HOLE: 2, ZERO_RANGE: 16 } as const;
export function fallocate(fd: number, mode: number, offset: number, length: number): number {
  return result(fallocateCall(fd, mode, offset, length));
}
/** `mode` with its type; the device number only of device nodes. */
export function mknodat(dir: number, name: string, mode: number, major: number, minor: number): number {
  // gnu_dev_makedev: minor 8 | major 12 | minor 12 above, then the rest of major.
  const low = (minor & 0xff) + (major & 0xfff) * 0x100 + (minor >>> 8) * 0x10_0000;
  return result(mknodatCall(dir, cstring(nameA, name), mode, low));
}
export function mkdirat(dir: number, name: string, mode: number): number {
  return result(mkdiratCall(dir, cstring(nameA, name), mode));
}
export function unlinkat(dir: number, name: string): number {
  return result(unlinkatCall(dir, cstring(nameA, name), 0));
}
export function rmdirat(dir: number, name: string): number {
  return result(unlinkatCall(dir, cstring(nameA, name), AT_REMOVEDIR));
}
export function renameat2(dir: number, name: string, newDir: number, newName: string, flags: number): number {
  return result(renameat2Call(dir, cstring(nameA, name), newDir, cstring(nameB, newName), flags));
}
export function linkat(dir: number, name: string, newDir: number, newName: string): number {
  return result(linkatCall(dir, cstring(nameA, name), newDir, cstring(nameB, newName), 0));
}
/** Gives a descriptor's object a name: AT_EMPTY_PATH, which needs CAP_DAC_READ_SEARCH. */
export function linkFd(fd: number, newDir: number, newName: string): number {
  return result(linkatCall(fd, emptyName.address, newDir, cstring(nameB, newName), AT_EMPTY_PATH));
}
export function symlinkat(target: string, dir: number, name: string): number {
  return result(symlinkatCall(cstring(nameB, target), dir, cstring(nameA, name)));
}
/** The target as latin1, or -errno. */
export function readlinkat(dir: number, name: string): string | number {
  const length = result(readlinkatCall(dir, cstring(nameA, name), nameB.address, nameB.bytes.length));
  return length < 0 ? length : nameB.bytes.toString('latin1', 0, length);
}
/** -1 leaves an id as it is. */
export function fchownat(dir: number, name: string, uid: number, gid: number): number {
  return result(fchownatCall(dir, cstring(nameA, name), uid >>> 0, gid >>> 0, AT_SYMLINK_NOFOLLOW));
}
export function fchown(fd: number, uid: number, gid: number): number {
  return result(fchownCall(fd, uid >>> 0, gid >>> 0));
}
export function fchmod(fd: number, mode: number): number {
  return result(fchmodCall(fd, mode));
}
/** fchmodat2(2), Linux 6.6: the first that can refuse to follow a symlink planted in the vault. */
export function fchmodat(dir: number, name: string, mode: number): number {
  return result(syscallFchmodat2(SYS_FCHMODAT2, dir, cstring(nameA, name), mode, AT_SYMLINK_NOFOLLOW));
}

/** A time for utimensat(2): seconds and nanoseconds, or one of its two magic values. */
export const UTIME_NOW = 0x3fffffff;
export const UTIME_OMIT = 0x3ffffffe;

function times(atime: number, atimeNs: number, mtime: number, mtimeNs: number): Address {
  const bytes = timesBuffer.bytes;
  bytes.writeBigInt64LE(BigInt(atime), 0);
  bytes.writeUInt32LE(atimeNs, 8);
  bytes.writeUInt32LE(0, 12);
  bytes.writeBigInt64LE(BigInt(mtime), 16);
  bytes.writeUInt32LE(mtimeNs, 24);
  bytes.writeUInt32LE(0, 28);
  return timesBuffer.address;
}
export function utimensat(
  dir: number,
  name: string,
  atime: number,
  atimeNs: number,
  mtime: number,
  mtimeNs: number,
): number {
  return result(
    utimensatCall(dir, cstring(nameA, name), times(atime, atimeNs, mtime, mtimeNs), AT_SYMLINK_NOFOLLOW),
  );
}
export function futimens(fd: number, atime: number, atimeNs: number, mtime: number, mtimeNs: number): number {
  return result(futimensCall(fd, times(atime, atimeNs, mtime, mtimeNs)));
}

export interface DirectoryEntry {
  readonly name: string;
  readonly ino: number;
  /** DT_* of dirent.h: the file type bits of the mode, shifted right by 12. */
  readonly type: number;
}
/** All entries of an open directory from its start, without "." and "..", or -errno. */
export function readDirectory(fd: number): DirectoryEntry[] | number {
  const rewound = result(lseekCall(fd, 0, 0));
  if (rewound < 0) return rewound;
  const entries: DirectoryEntry[] = [];
  for (;;) {
    const more = readEntries(fd);
    if (typeof more === 'number') return more;
    if (more.length === 0) return entries;
    for (const entry of more) entries.push(entry);
  }
}
/** The next entries of an open directory, as many as one getdents64(2) brings, or -errno. None: the end. */
export function readEntries(fd: number): DirectoryEntry[] | number {
  const bytes = direntBuffer.bytes;
  const entries: DirectoryEntry[] = [];
  // "." and ".." may come alone.
  while (entries.length === 0) {
    const length = result(getdentsCall(fd, direntBuffer.address, DIRENT_BATCH));
    if (length <= 0) return length < 0 ? length : entries;
    for (let at = 0; at < length; ) {
      const size = bytes.readUInt16LE(at + 16);
      const name = bytes.toString('latin1', at + 19, bytes.indexOf(0, at + 19));
      if (name !== '.' && name !== '..') {
        entries.push({
          name,
          ino: bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000,
          type: bytes[at + 18] as number,
        });
      }
      at += size;
    }
  }
  return entries;
}

/** Reads an open directory to its end and keeps nothing of it. 0 or -errno. */
export function skimDirectory(fd: number): number {
  let length: number;
  do length = result(getdentsCall(fd, direntBuffer.address, direntBuffer.bytes.length));
  while (length > 0);
  return length;
}

function attribute(name: string): Address {
  const length = attributeName.bytes.write(name, 0, XATTR_NAME_MAX, 'latin1');
  attributeName.bytes[length] = 0;
  return attributeName.address;
}
// The kernel's magic link to a descriptor: the only way to an xattr below a directory without opening the object.
const below = (dir: number, name: string): Address => cstring(nameA, `/proc/self/fd/${dir}/${name}`);

/** The value's length, its bytes in `into` as far as they fit, or -errno (ENODATA where there is none). */
export function getxattrAt(dir: number, name: string, attr: string, into: Buffer): number {
  const length = result(
    lgetxattrCall(below(dir, name), attribute(attr), attributeValue.address, XATTR_SIZE_MAX),
  );
  if (length > 0) attributeValue.bytes.copy(into, 0, 0, length);
  return length;
}
export function fgetxattr(fd: number, attr: string, into: Buffer): number {
  const length = result(fgetxattrCall(fd, attribute(attr), attributeValue.address, XATTR_SIZE_MAX));
  if (length > 0) attributeValue.bytes.copy(into, 0, 0, length);
  return length;
}
export function setxattrAt(dir: number, name: string, attr: string, value: Buffer): number {
  value.copy(attributeValue.bytes);
  return result(lsetxattrCall(below(dir, name), attribute(attr), attributeValue.address, value.length, 0));
}
export function fsetxattr(fd: number, attr: string, value: Buffer): number {
  value.copy(attributeValue.bytes);
  return result(fsetxattrCall(fd, attribute(attr), attributeValue.address, value.length, 0));
}

export function removexattrAt(dir: number, name: string, attr: string): number {
  return result(lremovexattrCall(below(dir, name), attribute(attr)));
}
export function fremovexattr(fd: number, attr: string): number {
  return result(fremovexattrCall(fd, attribute(attr)));
}
function names(length: number): string[] | number {
  if (length <= 0) return length < 0 ? length : [];
  return attributeValue.bytes.toString('latin1', 0, length - 1).split('\0');
}
/** The names of all xattrs, or -errno. */
export function listxattrAt(dir: number, name: string): string[] | number {
  return names(result(llistxattrCall(below(dir, name), attributeValue.address, XATTR_LIST_MAX)));
}
export function flistxattr(fd: number): string[] | number {
  return names(result(flistxattrCall(fd, attributeValue.address, XATTR_LIST_MAX)));
}

export interface FilesystemUsage {
  blockSize: number;
  blocks: number;
  blocksFree: number;
  blocksAvailable: number;
  files: number;
  filesFree: number;
}
/** fstatfs(2); sizes in units of `blockSize`. */
export function fstatfs(fd: number): FilesystemUsage | number {
  const done = result(fstatfsCall(fd, statfsBuffer.address));
  if (done < 0) return done;
  const word = (at: number): number => Number(statfsBuffer.bytes.readBigUInt64LE(at));
  return {
    blockSize: word(8),
    blocks: word(16),
    blocksFree: word(24),
    blocksAvailable: word(32),
    files: word(40),
    filesFree: word(48),
  };
}
const F_GETFL = 3;
const F_SETFL = 4;
/**
 * Has the kernel set the access time of a file that is open with O_NOATIME, by a read without that flag: utimensat(2)
 * would move the change time too, and this keeps to the policy of the host's mount.
 */
export function touchAccess(fd: number): void {
  const flags = result(fcntlCall(fd, F_GETFL, 0));
  if (flags < 0) return;
  fcntlCall(fd, F_SETFL, flags & ~open.O_NOATIME);
  preadCall(fd, statBuffer.address, 1, 0);
  fcntlCall(fd, F_SETFL, flags);
}
/** LOCK_EX | LOCK_NB: 0, or -EAGAIN while another process has it. */
export function lockExclusive(fd: number): number {
  return result(flockCall(fd, 2 | 4));
}
