/** Bits of a mode (inode(7), sys/stat.h): its type, */
export const S_IFMT = 0o170000;
const S_IFLNK = 0o120000;
const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
/** set-user-id and set-group-id, which chown(2) and write(2) clear, */
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const SET_ID = S_ISUID | S_ISGID;
export const S_IXGRP = 0o010;
/** and all but the type: what chmod(2) sets. */
export const ALLPERMS = 0o7777;

export function isDirectory(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}
export function isRegular(mode: number): boolean {
  return (mode & S_IFMT) === S_IFREG;
}
export function isSymlink(mode: number): boolean {
  return (mode & S_IFMT) === S_IFLNK;
}

/** What statx(2) tells of an object. One instance is filled again and again: copy what must stay. */
export class Stat {
  mode = 0;
  nlink = 0;
  uid = 0;
  gid = 0;
  /** Inode number; numbers beyond 2^53 lose bits, which only `ls -i` sees. */
  ino = 0;
  size = 0;
  /** Units of 512 bytes. */
  blocks = 0;
  blksize = 4096;
  rdevMajor = 0;
  rdevMinor = 0;
  /** Seconds since 1970 (may be negative) and nanoseconds. */
  atime = 0;
  atimeNs = 0;
  mtime = 0;
  mtimeNs = 0;
  ctime = 0;
  ctimeNs = 0;
  /** Birth. */
  btime = 0;
  btimeNs = 0;

  get isDirectory(): boolean {
    return isDirectory(this.mode);
  }
  get isRegular(): boolean {
    return isRegular(this.mode);
  }
  get isSymlink(): boolean {
    return isSymlink(this.mode);
  }

  /** Reads a struct statx (linux/stat.h, 256 bytes). */
  decode(bytes: Buffer): void {
    this.blksize = bytes.readUInt32LE(4);
    this.nlink = bytes.readUInt32LE(16);
    this.uid = bytes.readUInt32LE(20);
    this.gid = bytes.readUInt32LE(24);
    this.mode = bytes.readUInt16LE(28);
    this.ino = unsigned(bytes, 32);
    this.size = unsigned(bytes, 40);
    this.blocks = unsigned(bytes, 48);
    this.atime = signed(bytes, 64);
    this.atimeNs = bytes.readUInt32LE(72);
    this.btime = signed(bytes, 80);
    this.btimeNs = bytes.readUInt32LE(88);
    this.ctime = signed(bytes, 96);
    this.ctimeNs = bytes.readUInt32LE(104);
    this.mtime = signed(bytes, 112);
    this.mtimeNs = bytes.readUInt32LE(120);
    this.rdevMajor = bytes.readUInt32LE(128);
    this.rdevMinor = bytes.readUInt32LE(132);
  }
}

function unsigned(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * 0x1_0000_0000 + bytes.readUInt32LE(at);
}
function signed(bytes: Buffer, at: number): number {
  const value = bytes.readInt32LE(at + 4) * 0x1_0000_0000 + bytes.readUInt32LE(at);
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value));
}
