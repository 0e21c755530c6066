import { ByteWriter } from '../../base/cursor.js';
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

export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  readonly maxReadahead: number;
  /** Bits 0 to 31 and 32 to 63. */
  readonly low: number;
  readonly high: number;
  /** The kernel's writeback cache is wanted. */
  readonly writeback?: boolean;
}

const OUR_MAJOR = 7;
const OUR_MINOR = 45;

export const INIT_OUT_BYTES = 64;
/** Largest WRITE and READ: 256 pages. */
export const MAX_WRITE = 1 << 20;
const MAX_PAGES = 256;

/** Writes the reply to INIT: what we want of what the kernel offers. Returns the negotiated flags. */
export function encodeInit(into: Buffer, request: InitRequest): { low: number; high: number; minor: number } {
  let low = 0;
  let high = 0;
  for (const bit of Object.values(initFlag)) {
    if (bit === initFlag.WRITEBACK_CACHE && request.writeback !== true) continue;
    if (bit < 32) low = (low | (1 << bit)) >>> 0;
    else high = (high | (1 << (bit - 32))) >>> 0;
  }
  low = (low & request.low) >>> 0;
  high = (high & request.high) >>> 0;
  const minor = Math.min(OUR_MINOR, request.minor);
  new ByteWriter(into, OUT_HEADER_BYTES)
    .u32(OUR_MAJOR)
    .u32(minor)
    .u32(Math.max(request.maxReadahead, 1 << 20))
    .u32(low)
    .u16(64)
    .u16(48)
    .u32(MAX_WRITE)
    .u32(1)
    .u16(MAX_PAGES)
    .u16(0)
    .u32(high)
    .zeros(INIT_OUT_BYTES - 36);
  return { low, high, minor };
}
