import type { Pinned } from '../../libc/memory.js';
import { IN_HEADER_BYTES, type Opcode, opcodeOf, opcodes } from './opcodes.js';

/**
 * The request in the receive buffer, decoded in place: valid until the next one is read. Offsets into the body count
 * from the end of struct fuse_in_header.
 */
export class Request {
  #bytes: Buffer = Buffer.alloc(0);
  opcode: Opcode | undefined;
  code = 0;
  length = 0;
  /** Opaque, echoed in the reply: low and high 32 bits. */
  uniqueLow = 0;
  uniqueHigh = 0;
  /** NaN where it does not fit a safe integer: no node has such an id. */
  node = 0;
  uid = 0;
  gid = 0;
  pid = 0;
  readonly names: string[] = [];

  /** Takes `length` bytes as one request. False: not a well-formed one (only `unique*` may be used then). */
  decode(buffer: Pinned, length: number): boolean {
    const { bytes } = buffer;
    this.#bytes = bytes;
    this.names.length = 0;
    this.opcode = undefined;
    this.uniqueLow = 0;
    this.uniqueHigh = 0;
    if (length < IN_HEADER_BYTES) return false;
    this.length = bytes.readUInt32LE(0);
    this.code = bytes.readUInt32LE(4);
    this.uniqueLow = bytes.readUInt32LE(8);
    this.uniqueHigh = bytes.readUInt32LE(12);
    this.node = u64(bytes, 16);
    this.uid = bytes.readUInt32LE(24);
    this.gid = bytes.readUInt32LE(28);
    this.pid = bytes.readUInt32LE(32);
    if (this.length !== length) return false;
    this.opcode = opcodeOf(this.code);
    // Unknown operations are answered with ENOSYS by the session.
    if (this.opcode === undefined) return true;
    const row = opcodes[this.opcode];
    let at = IN_HEADER_BYTES + row.fixed;
    if (at > length) return false;
    for (let i = 0; i < row.names; i++) {
      const nul = bytes.indexOf(0, at);
      if (nul < 0 || nul >= length) return false;
      this.names.push(bytes.toString('latin1', at, nul));
      at = nul + 1;
    }
    return true;
  }

  u32(at: number): number {
    return this.#bytes.readUInt32LE(IN_HEADER_BYTES + at);
  }
  /** NaN where it does not fit a safe integer. */
  u64(at: number): number {
    return u64(this.#bytes, IN_HEADER_BYTES + at);
  }
  /** A signed 64-bit time in seconds; one beyond 2^53 is brought back to it (no filesystem keeps such a time). */
  i64(at: number): number {
    const start = IN_HEADER_BYTES + at;
    const value = this.#bytes.readInt32LE(start + 4) * 0x1_0000_0000 + this.#bytes.readUInt32LE(start);
    return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value));
  }
  /** What follows the first `skip` bytes after the fixed body: a view, valid until the next request is read. */
  after(skip: number): Buffer {
    const start = this.length - this.payload + skip;
    return this.#bytes.subarray(Math.min(start, this.length), this.length);
  }
  /** Bytes after the fixed body. */
  get payload(): number {
    const row = this.opcode === undefined ? undefined : opcodes[this.opcode];
    return this.length - IN_HEADER_BYTES - (row?.fixed ?? 0);
  }
}

function u64(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32LE(at + 4);
  return high > 0x1fffff ? Number.NaN : high * 0x1_0000_0000 + bytes.readUInt32LE(at);
}
