import { errno } from '../base/errno.js';
import {
  type Attributes,
  type DirectorySink,
  MAX_TRANSFER,
  type NodeId,
  type OpenFlags,
  type Refusal,
  type Reply,
  type Usage,
} from '../filesystem/contract.js';
import { write } from '../libc/files.js';
import { type Pinned, pinned } from '../libc/memory.js';
import { encodeInit, INIT_OUT_BYTES, type InitIn, type Negotiated } from './abi/init.js';
import { OUT_HEADER_BYTES } from './abi/opcodes.js';
import * as abi from './abi/replies.js';
import type { BufferPool } from './buffer-pool.js';

/** Everything but data fits here; used up within one call. */
const small = pinned(8192);
/** Overwrites what the last replies left there: symlink targets pass through it. */
export function wipeSmall(): void {
  small.bytes.fill(0);
}

/** The answer to one request: one write(2) to the device. */
export class FuseReply implements Reply, DirectorySink {
  readonly #fd: number;
  readonly #buffers: BufferPool;
  readonly #uniqueLow: number;
  readonly #uniqueHigh: number;
  #done = false;
  #buffer: Pinned | undefined;
  /** Of a directory listing: bytes used and allowed. */
  #used = 0;
  #limit = 0;
  plus = false;
  /** Of an extended attribute or their list: bytes that the caller takes; 0 asks for the size. */
  #room = 0;

  constructor(fd: number, buffers: BufferPool, uniqueLow: number, uniqueHigh: number) {
    this.#fd = fd;
    this.#buffers = buffers;
    this.#uniqueLow = uniqueLow;
    this.#uniqueHigh = uniqueHigh;
  }

  get done(): boolean {
    return this.#done;
  }

  /** Sends a header and `length` bytes of body that lie behind it. */
  #send(from: Pinned, length: number, error: number): void {
    if (!this.#done) {
      this.#done = true;
      const { bytes } = from;
      const total = OUT_HEADER_BYTES + length;
      bytes.writeUInt32LE(total, 0);
      bytes.writeInt32LE(-error, 4);
      bytes.writeUInt32LE(this.#uniqueLow, 8);
      bytes.writeUInt32LE(this.#uniqueHigh, 12);
      // ENOENT: the caller was killed meanwhile; ENODEV: unmounted. No process waits for this answer then.
      write(this.#fd, from.address, total);
    }
    if (this.#buffer !== undefined) {
      this.#buffers.give(this.#buffer);
      this.#buffer = undefined;
    }
  }

  error(number: number): void {
    this.#send(small, 0, number);
  }
  refuse(refusal: Refusal): void {
    this.error(refusal.errno);
  }
  ok(): void {
    this.#send(small, 0, 0);
  }
  entry(nodeid: NodeId, attributes: Attributes): void {
    abi.putEntry(small.bytes, OUT_HEADER_BYTES, nodeid, attributes);
    this.#send(small, abi.ENTRY_OUT_BYTES, 0);
  }
  negative(cacheable: boolean): void {
    if (!cacheable) {
      this.error(errno.ENOENT);
      return;
    }
    abi.putNegative(small.bytes, OUT_HEADER_BYTES);
    this.#send(small, abi.ENTRY_OUT_BYTES, 0);
  }
  attributes(attributes: Attributes): void {
    abi.putAttrOut(small.bytes, OUT_HEADER_BYTES, attributes);
    this.#send(small, abi.ATTR_OUT_BYTES, 0);
  }
  opened(fh: number, flags: OpenFlags): void {
    abi.putOpen(small.bytes, OUT_HEADER_BYTES, fh, openFlags(flags));
    this.#send(small, abi.OPEN_OUT_BYTES, 0);
  }
  created(nodeid: NodeId, attributes: Attributes, fh: number): void {
    const at = OUT_HEADER_BYTES;
    abi.putEntry(small.bytes, at, nodeid, attributes);
    abi.putOpen(small.bytes, at + abi.ENTRY_OUT_BYTES, fh, abi.FOPEN_KEEP_CACHE);
    this.#send(small, abi.ENTRY_OUT_BYTES + abi.OPEN_OUT_BYTES, 0);
  }
  data(): { buffer: Pinned; at: number } {
    this.#buffer ??= this.#buffers.take();
    return { buffer: this.#buffer, at: OUT_HEADER_BYTES };
  }
  read(length: number): void {
    this.#send(this.#buffer ?? small, length, 0);
  }
  written(length: number): void {
    small.bytes.writeUInt32LE(length, OUT_HEADER_BYTES);
    small.bytes.writeUInt32LE(0, OUT_HEADER_BYTES + 4);
    this.#send(small, abi.WRITE_OUT_BYTES, 0);
  }
  target(target: string): void {
    const length = small.bytes.write(target, OUT_HEADER_BYTES, 'latin1');
    this.#send(small, length, 0);
  }
  /** For GETXATTR and LISTXATTR: `size` as the caller of getxattr(2) gave it. */
  withRoom(size: number): this {
    this.#room = size;
    return this;
  }
  bytes(value: Buffer): void {
    if (this.#room === 0) {
      abi.putU64(small.bytes, OUT_HEADER_BYTES, value.length);
      this.#send(small, abi.XATTR_OUT_BYTES, 0);
    } else if (value.length > this.#room) {
      this.error(errno.ERANGE);
    } else {
      const { buffer, at } = this.data();
      value.copy(buffer.bytes, at);
      this.read(value.length);
    }
  }
  statx(attributes: Attributes, birth: readonly [number, number] | undefined): void {
    abi.putStatx(small.bytes, OUT_HEADER_BYTES, attributes, birth);
    this.#send(small, abi.STATX_OUT_BYTES, 0);
  }
  position(offset: number): void {
    abi.putU64(small.bytes, OUT_HEADER_BYTES, offset);
    this.#send(small, abi.LSEEK_OUT_BYTES, 0);
  }
  usage(usage: Usage): void {
    abi.putStatfs(small.bytes, OUT_HEADER_BYTES, usage);
    this.#send(small, abi.STATFS_OUT_BYTES, 0);
  }
  init(request: InitIn, writeback: boolean): Negotiated {
    const negotiated = encodeInit(small.bytes, request, writeback);
    this.#send(small, INIT_OUT_BYTES, 0);
    return negotiated;
  }

  // DirectorySink

  /** For READDIR and READDIRPLUS: entries of at most `size` bytes, with attributes where `plus`. */
  listing(size: number, plus: boolean): DirectorySink {
    this.#limit = Math.min(size, MAX_TRANSFER);
    this.plus = plus;
    return this;
  }
  fits(nameLength: number): boolean {
    const entry = this.plus ? abi.ENTRY_OUT_BYTES : 0;
    return this.#used + entry + abi.direntBytes(nameLength) <= this.#limit;
  }
  add(name: string, ino: number, type: number, next: number): boolean {
    if (!this.fits(name.length)) return false;
    const { buffer } = this.data();
    let at = OUT_HEADER_BYTES + this.#used;
    if (this.plus) {
      // Node id 0: no reference taken, nothing learned but the name.
      buffer.bytes.fill(0, at, at + abi.ENTRY_OUT_BYTES);
      at += abi.ENTRY_OUT_BYTES;
      this.#used += abi.ENTRY_OUT_BYTES;
    }
    abi.putDirent(buffer.bytes, at, ino, next, type, name);
    this.#used += abi.direntBytes(name.length);
    return true;
  }
  addNode(name: string, nodeid: NodeId, attributes: Attributes, next: number): boolean {
    if (!this.fits(name.length)) return false;
    const { buffer } = this.data();
    const at = OUT_HEADER_BYTES + this.#used;
    abi.putEntry(buffer.bytes, at, nodeid, attributes);
    const type = attributes.mode >> 12;
    abi.putDirent(buffer.bytes, at + abi.ENTRY_OUT_BYTES, attributes.ino, next, type, name);
    this.#used += abi.ENTRY_OUT_BYTES + abi.direntBytes(name.length);
    return true;
  }
  end(): void {
    this.read(this.#used);
  }
}

function openFlags(flags: OpenFlags): number {
  return flags.keepCache ? abi.FOPEN_KEEP_CACHE : 0;
}
