import { OUT_HEADER_BYTES } from './opcodes.js';
import { putU64 } from './replies.js';

/** Notifications (enum fuse_notify_code): a reply with unique 0 and a code where the error would be. */
export const notify = { INVAL_INODE: 2, INVAL_ENTRY: 3, PRUNE: 9 } as const;
/** Node ids in one PRUNE. */
export const PRUNE_MOST = 500;

function header(bytes: Buffer, length: number, code: number): number {
  bytes.writeUInt32LE(length, 0);
  bytes.writeInt32LE(code, 4);
  bytes.fill(0, 8, 16);
  return length;
}

/** What INVAL_INODE drops beside the attributes: no page, or all. */
export const NO_PAGES = { offset: -1, length: 0 } as const;
export const ALL_PAGES = { offset: 0, length: -1 } as const;

/** INVAL_INODE: attributes, and the pages of a range (bytes; length -1: to the end). */
export function putInvalInode(
  bytes: Buffer,
  nodeid: number,
  { offset, length }: { readonly offset: number; readonly length: number },
): number {
  putU64(bytes, OUT_HEADER_BYTES, nodeid);
  bytes.writeBigInt64LE(BigInt(offset), OUT_HEADER_BYTES + 8);
  bytes.writeBigInt64LE(BigInt(length), OUT_HEADER_BYTES + 16);
  return header(bytes, OUT_HEADER_BYTES + 24, notify.INVAL_INODE);
}

/** PRUNE (7.45): the kernel forgets those of at most {@link PRUNE_MOST} inodes that are not in use. */
export function putPrune(bytes: Buffer, nodeids: readonly number[]): number {
  const at = OUT_HEADER_BYTES;
  bytes.writeUInt32LE(nodeids.length, at);
  bytes.fill(0, at + 4, at + 16);
  nodeids.forEach((nodeid, i) => {
    putU64(bytes, at + 16 + i * 8, nodeid);
  });
  return header(bytes, at + 16 + nodeids.length * 8, notify.PRUNE);
}

/** INVAL_ENTRY: the kernel forgets a name and all below it. `name` is latin1. */
export function putInvalEntry(bytes: Buffer, parent: number, name: string): number {
  putU64(bytes, OUT_HEADER_BYTES, parent);
  bytes.writeUInt32LE(name.length, OUT_HEADER_BYTES + 8);
  bytes.writeUInt32LE(0, OUT_HEADER_BYTES + 12);
  const at = OUT_HEADER_BYTES + 16;
  bytes.write(name, at, 'latin1');
  bytes[at + name.length] = 0;
  return header(bytes, at + name.length + 1, notify.INVAL_ENTRY);
}
