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
    return (this.mode & 0o170000) === 0o040000;
  }
  get isRegular(): boolean {
    return (this.mode & 0o170000) === 0o100000;
  }
  get isSymlink(): boolean {
    return (this.mode & 0o170000) === 0o120000;
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
