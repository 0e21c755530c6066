import { copyInodes, freshInode, type Inode } from './test-memory-inode.js';

/** A metadata change, applied to the live disk at once and to a crash image in order (ext4, XFS). */
type Change = (image: Map<number, Inode>) => void;

/** The inodes of the disk in memory: live, and as a power cut would find them. */
export class MemoryImage {
  protected inodes = new Map<number, Inode>();
  protected nextInode = 2;
  protected image: Map<number, Inode>;
  protected readonly log: Change[] = [];
  protected durable = 0;
  /** Ticks once a change: times are distinct and repeatable. */
  protected time = 1_700_000_000;

  constructor() {
    this.inodes.set(1, this.make(1, 0o040755));
    this.image = copyInodes(this.inodes);
  }

  protected crashInto(disk: MemoryImage, changes: number): void {
    const image = copyInodes(this.image);
    for (const change of this.log.slice(0, Math.max(changes, this.durable))) change(image);
    disk.inodes = image;
    disk.image = copyInodes(image);
    disk.nextInode = this.nextInode;
  }
  /** How many metadata changes were made so far, and how many are durable. */
  get changes(): number {
    return this.log.length;
  }
  get durableChanges(): number {
    return this.durable;
  }
  /** Every byte of names, targets, xattrs and data: for searches. */
  dump(): Buffer {
    const parts: Buffer[] = [];
    for (const inode of this.inodes.values()) {
      parts.push(inode.data, Buffer.from(inode.target, 'latin1'), ...inode.xattrs.values());
      for (const name of inode.children?.keys() ?? []) parts.push(Buffer.from(name, 'latin1'));
    }
    return Buffer.concat(parts);
  }
  /** The live data of the one regular file at a stored path, for tampering. */
  raw(path: readonly string[]): Buffer {
    return this.at(path).data;
  }
  setRaw(path: readonly string[], data: Buffer): void {
    this.at(path).data = data;
  }
  xattrs(path: readonly string[]): Map<string, Buffer> {
    return this.at(path).xattrs;
  }
  protected at(path: readonly string[]): Inode {
    let inode = this.inodes.get(1) as Inode;
    for (const name of path) {
      inode = this.inodes.get(inode.children?.get(name) ?? 0) as Inode;
    }
    return inode;
  }

  protected make(id: number, mode: number): Inode {
    return freshInode(id, mode, this.time++);
  }
  protected change(change: Change): void {
    this.log.push(change);
    change(this.inodes);
  }
}
