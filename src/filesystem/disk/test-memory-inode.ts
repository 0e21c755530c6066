import { errno } from '../../base/errno.js';
import type { Stat } from '../../libc/stat.js';
import type { Job } from './backing.js';

/** An inode of the disk in memory. `data` is the page cache; the durable copy lies in the image. */
export interface Inode {
  readonly id: number;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  mtime: readonly [number, number];
  atime: readonly [number, number];
  xattrs: Map<string, Buffer>;
  children: Map<string, number> | undefined;
  target: string;
  /** Of a device node: major and minor. */
  device: readonly [number, number];
  data: Buffer;
}

export function duplicate(inode: Inode): Inode {
  return {
    ...inode,
    xattrs: new Map(inode.xattrs),
    children: inode.children === undefined ? undefined : new Map(inode.children),
    data: Buffer.from(inode.data),
  };
}
/** All inodes, apart from these. */
export function copyInodes(inodes: Map<number, Inode>): Map<number, Inode> {
  return new Map([...inodes].map(([id, inode]) => [id, duplicate(inode)]));
}

const PAGE = Buffer.alloc(4096);
/** Pages are looked at only of files that a test made large for the sake of it. */
const SPARSE_FROM = 8 << 20;
function stored(data: Buffer): number {
  let pages = 0;
  for (let at = 0; at < data.length; at += PAGE.length) {
    const page = data.subarray(at, at + PAGE.length);
    if (!page.equals(PAGE.subarray(0, page.length))) pages++;
  }
  return pages;
}

/** stat(2) of an inode. */
export function fillStat(into: Stat, inode: Inode): void {
  into.mode = inode.mode;
  into.nlink = inode.nlink;
  into.uid = inode.uid;
  into.gid = inode.gid;
  into.ino = inode.id;
  into.size = inode.children !== undefined ? 4096 : inode.target.length || inode.data.length;
  [into.rdevMajor, into.rdevMinor] = inode.device;
  into.blocks = inode.data.length > SPARSE_FROM ? stored(inode.data) * 8 : Math.ceil(into.size / 512);
  [into.atime, into.atimeNs] = inode.atime;
  [into.mtime, into.mtimeNs] = inode.mtime;
  [into.ctime, into.ctimeNs] = inode.mtime;
}

/** `time`: seconds, for all of its times. */
export function freshInode(id: number, mode: number, time: number): Inode {
  const now = [time, 0] as const;
  const directory = (mode & 0o170000) === 0o040000;
  return {
    id,
    mode,
    uid: 0,
    gid: 0,
    nlink: directory ? 2 : 1,
    mtime: now,
    atime: now,
    xattrs: new Map(),
    children: directory ? new Map() : undefined,
    target: '',
    device: [0, 0],
    data: Buffer.alloc(0),
  };
}

/** Why `inode` can't take the name of `old`: -errno, or 0. */
export function refusedRename(inode: Inode, old: Inode, noReplace: boolean): number {
  if (noReplace) return -errno.EEXIST;
  const bothDirectories = inode.children !== undefined && old.children !== undefined;
  if (inode.children !== undefined && !bothDirectories) return -errno.ENOTDIR;
  if (old.children !== undefined && !bothDirectories) return -errno.EISDIR;
  return (old.children?.size ?? 0) > 0 ? -errno.ENOTEMPTY : 0;
}

export type Transfer = Extract<Job, { op: 'pread' | 'pwrite' }>;

/** pread(2): bytes read. */
export function readInode(inode: Inode, job: Transfer): number {
  const length = Math.max(0, Math.min(job.length, inode.data.length - job.offset));
  inode.data.copy(job.buffer.bytes, job.at, job.offset, job.offset + length);
  return length;
}

/** pwrite(2) of so many bytes at most: bytes written. */
export function writeInode(inode: Inode, job: Transfer, length: number): number {
  const end = job.offset + length;
  if (end > inode.data.length) {
    const data = Buffer.alloc(end);
    inode.data.copy(data);
    inode.data = data;
  }
  job.buffer.bytes.copy(inode.data, job.offset, job.at, job.at + length);
  return length;
}
