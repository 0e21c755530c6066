import { ByteWriter } from '../../base/cursor.js';
import { MAX_TRANSFER } from '../../filesystem/contract.js';
import { OUT_HEADER_BYTES } from './opcodes.js';

/** INIT flags by name: bit numbers of the 64-bit set (flags, flags2). */
export const initFlag = {
  ASYNC_READ: 0,
  ATOMIC_O_TRUNC: 3,
  BIG_WRITES: 5,
  DONT_MASK: 6,
  DO_READDIRPLUS: 13,
  READDIRPLUS_AUTO: 14,
  ASYNC_DIO: 15,
  WRITEBACK_CACHE: 16,
  PARALLEL_DIROPS: 18,
  POSIX_ACL: 20,
  MAX_PAGES: 22,
  CACHE_SYMLINKS: 23,
  EXPLICIT_INVAL_DATA: 25,
  HANDLE_KILLPRIV_V2: 28,
  SETXATTR_EXT: 29,
  INIT_EXT: 30,
  DIRECT_IO_ALLOW_MMAP: 36,
} as const;

/** struct fuse_init_in, as far as it matters: `flags` has bits 0 to 31, `flags2` 32 to 63. */
export interface InitIn {
  readonly minor: number;
  readonly max_readahead: number;
  readonly flags: number;
  readonly flags2: number;
}
/** What both sides use from now on. */
export interface Negotiated {
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
}

const OUR_MAJOR = 7;
const OUR_MINOR = 45;

export const INIT_OUT_BYTES = 64;
const PAGE = 4096;
/** A request or a reply with the most data: its header and structs have the first page. */
export const MESSAGE_BYTES = PAGE + MAX_TRANSFER;

/** Writes the reply to INIT: what we want of what the kernel offers. `writeback`: its cache for writes is wanted. */
export function encodeInit(into: Buffer, request: InitIn, writeback: boolean): Negotiated {
  let flags = 0;
  let flags2 = 0;
  for (const bit of Object.values(initFlag)) {
    if (bit === initFlag.WRITEBACK_CACHE && !writeback) continue;
    if (bit < 32) flags = (flags | (1 << bit)) >>> 0;
    else flags2 = (flags2 | (1 << (bit - 32))) >>> 0;
  }
  flags = (flags & request.flags) >>> 0;
  flags2 = (flags2 & request.flags2) >>> 0;
  const minor = Math.min(OUR_MINOR, request.minor);
  new ByteWriter(into, OUT_HEADER_BYTES)
    .u32(OUR_MAJOR)
    .u32(minor)
    .u32(Math.max(request.max_readahead, MAX_TRANSFER))
    .u32(flags)
    .u16(64)
    .u16(48)
    .u32(MAX_TRANSFER)
    .u32(1)
    .u16(MAX_TRANSFER / PAGE)
    .u16(0)
    .u32(flags2)
    .zeros(INIT_OUT_BYTES - 36);
  return { minor, flags, flags2 };
}
