import type { Attributes, Usage } from '../../filesystem/contract.js';
import { NAME_MAX } from '../../format/names/names.js';

/** Sizes of reply structs (linux/fuse.h). */
export const ENTRY_OUT_BYTES = 128;
export const ATTR_OUT_BYTES = 104;
export const OPEN_OUT_BYTES = 16;
export const STATFS_OUT_BYTES = 80;
export const WRITE_OUT_BYTES = 8;
export const LSEEK_OUT_BYTES = 8;
export const XATTR_OUT_BYTES = 8;
export const STATX_OUT_BYTES = 288;
const DIRENT_BYTES = 24;

/** How long the kernel may keep what only we can change (seconds): the vault belongs to the daemon alone. */
const VALID_SECONDS = 86_400;

export const FOPEN_KEEP_CACHE = 2;

const BLOCK_SIZE = 4096;

export function putU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, at);
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}
function putI64(bytes: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  bytes.writeUInt32LE(value - high * 0x1_0000_0000, at);
  bytes.writeInt32LE(high, at + 4);
}

/** struct fuse_attr. */
function putAttr(bytes: Buffer, at: number, a: Attributes): void {
  putU64(bytes, at, a.ino);
  putU64(bytes, at + 8, a.size);
  putU64(bytes, at + 16, a.blocks);
  putI64(bytes, at + 24, a.atime);
  putI64(bytes, at + 32, a.mtime);
  putI64(bytes, at + 40, a.ctime);
  bytes.writeUInt32LE(a.atimeNs, at + 48);
  bytes.writeUInt32LE(a.mtimeNs, at + 52);
  bytes.writeUInt32LE(a.ctimeNs, at + 56);
  bytes.writeUInt32LE(a.mode, at + 60);
  bytes.writeUInt32LE(a.nlink, at + 64);
  bytes.writeUInt32LE(a.uid, at + 68);
  bytes.writeUInt32LE(a.gid, at + 72);
  bytes.writeUInt32LE(a.rdev >>> 0, at + 76);
  bytes.writeUInt32LE(BLOCK_SIZE, at + 80);
  bytes.writeUInt32LE(0, at + 84);
}

const STATX_BASIC_STATS = 0x7ff;
const STATX_BTIME = 0x800;

/** struct fuse_statx_out. */
export function putStatx(
  bytes: Buffer,
  at: number,
  a: Attributes,
  birth: readonly [number, number] | undefined,
): void {
  bytes.fill(0, at, at + STATX_OUT_BYTES);
  putU64(bytes, at, a.cacheable ? VALID_SECONDS : 0);
  const stat = at + 32;
  bytes.writeUInt32LE(STATX_BASIC_STATS | (birth === undefined ? 0 : STATX_BTIME), stat);
  bytes.writeUInt32LE(BLOCK_SIZE, stat + 4);
  bytes.writeUInt32LE(a.nlink, stat + 16);
  bytes.writeUInt32LE(a.uid, stat + 20);
  bytes.writeUInt32LE(a.gid, stat + 24);
  bytes.writeUInt16LE(a.mode, stat + 28);
  putU64(bytes, stat + 32, a.ino);
  putU64(bytes, stat + 40, a.size);
  putU64(bytes, stat + 48, a.blocks);
  const time = (offset: number, seconds: number, nanoseconds: number): void => {
    putI64(bytes, stat + offset, seconds);
    bytes.writeUInt32LE(nanoseconds, stat + offset + 8);
  };
  time(64, a.atime, a.atimeNs);
  if (birth !== undefined) time(80, ...birth);
  time(96, a.ctime, a.ctimeNs);
  time(112, a.mtime, a.mtimeNs);
  bytes.writeUInt32LE((a.rdev >>> 8) & 0xfff, stat + 128);
  bytes.writeUInt32LE((a.rdev & 0xff) | ((a.rdev >>> 12) & 0xfff00), stat + 132);
}

/** struct fuse_entry_out; generation is 0, as a node id is never reused. */
export function putEntry(bytes: Buffer, at: number, nodeid: number, a: Attributes): void {
  putU64(bytes, at, nodeid);
  putU64(bytes, at + 8, 0);
  putU64(bytes, at + 16, VALID_SECONDS);
  putU64(bytes, at + 24, a.cacheable ? VALID_SECONDS : 0);
  putU64(bytes, at + 32, 0);
  putAttr(bytes, at + 40, a);
}

/** A fuse_entry_out that says "no such name" and how long that holds. */
export function putNegative(bytes: Buffer, at: number): void {
  bytes.fill(0, at, at + ENTRY_OUT_BYTES);
  putU64(bytes, at + 16, VALID_SECONDS);
}

/** struct fuse_attr_out. */
export function putAttrOut(bytes: Buffer, at: number, a: Attributes): void {
  putU64(bytes, at, a.cacheable ? VALID_SECONDS : 0);
  putU64(bytes, at + 8, 0);
  putAttr(bytes, at + 16, a);
}

/** struct fuse_open_out. */
export function putOpen(bytes: Buffer, at: number, fh: number, flags: number): void {
  putU64(bytes, at, fh);
  bytes.writeUInt32LE(flags, at + 8);
  bytes.writeUInt32LE(0, at + 12);
}

/** struct fuse_kstatfs. */
export function putStatfs(bytes: Buffer, at: number, usage: Usage): void {
  bytes.fill(0, at, at + STATFS_OUT_BYTES);
  putU64(bytes, at, usage.blocks);
  putU64(bytes, at + 8, usage.blocksFree);
  putU64(bytes, at + 16, usage.blocksAvailable);
  putU64(bytes, at + 24, usage.files);
  putU64(bytes, at + 32, usage.filesFree);
  bytes.writeUInt32LE(usage.blockSize, at + 40);
  bytes.writeUInt32LE(NAME_MAX, at + 44);
  bytes.writeUInt32LE(usage.blockSize, at + 48);
}

/** Bytes of a struct fuse_dirent with its name, padded to 8. */
export function direntBytes(nameLength: number): number {
  return (DIRENT_BYTES + nameLength + 7) & ~7;
}

/** struct fuse_dirent. */
export function putDirent(
  bytes: Buffer,
  at: number,
  ino: number,
  next: number,
  type: number,
  name: string,
): void {
  putU64(bytes, at, ino);
  putU64(bytes, at + 8, next);
  bytes.writeUInt32LE(name.length, at + 16);
  bytes.writeUInt32LE(type, at + 20);
  bytes.write(name, at + DIRENT_BYTES, 'latin1');
  bytes.fill(0, at + DIRENT_BYTES + name.length, at + direntBytes(name.length));
}
