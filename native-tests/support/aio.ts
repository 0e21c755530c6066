import { arch } from 'node:process';
import { libcFunction, result } from '../../src/libc/ffi.js';
import { ioBuffer, pinned } from '../../src/libc/memory.js';

/** io_submit(2) without libaio (linux/aio_abi.h): whole blocks of one file, all under way at once. */
const numbers = {
  x64: { setup: 206, getevents: 208, submit: 209 },
  arm64: { setup: 0, getevents: 4, submit: 2 },
} as const;
const number = numbers[arch as keyof typeof numbers];
const setupCall = libcFunction('syscall', 'l', 'lup');
const submitCall = libcFunction('syscall', 'l', 'lplp');
const geteventsCall = libcFunction('syscall', 'l', 'lpllpp');

const IOCB_BYTES = 64;
const EVENT_BYTES = 32;
const IOCB_CMD_PREAD = 0;
const IOCB_CMD_PWRITE = 1;

export interface AioOptions {
  fd: number;
  blocks: number;
  blockBytes: number;
  /** Writes blocks full of this; undefined reads. */
  fill?: number | undefined;
}

export class Aio {
  readonly #context: number;
  readonly #blocks: number;
  readonly #blockBytes: number;
  readonly #buffer;
  readonly #iocbs;
  readonly #pointers;
  readonly #events;
  readonly #fd: number;
  readonly #write: boolean;
  #left: number;

  constructor({ fd, blocks, blockBytes, fill }: AioOptions) {
    this.#fd = fd;
    this.#write = fill !== undefined;
    this.#blocks = blocks;
    this.#left = blocks;
    this.#blockBytes = blockBytes;
    // Page-aligned, as O_DIRECT asks; zeros where nothing was read.
    this.#buffer = ioBuffer(blocks * blockBytes);
    if (fill !== undefined) this.#buffer.bytes.fill(fill);
    this.#iocbs = pinned(blocks * IOCB_BYTES);
    this.#pointers = pinned(blocks * 8);
    this.#events = pinned(blocks * EVENT_BYTES);
    const context = pinned(8);
    const done = result(setupCall(number.setup, blocks, context.address));
    if (done < 0) throw new Error(`io_setup: ${done}`);
    this.#context = Number(context.bytes.readBigUInt64LE(0));
  }

  /** How many the kernel took, or -errno. */
  submit(): number {
    for (let block = 0; block < this.#blocks; block++) {
      const at = block * IOCB_BYTES;
      const { bytes, address } = this.#iocbs;
      bytes.writeBigUInt64LE(BigInt(block), at);
      bytes.writeUInt16LE(this.#write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, at + 16);
      bytes.writeUInt32LE(this.#fd, at + 20);
      bytes.writeBigUInt64LE(BigInt(this.#buffer.address + block * this.#blockBytes), at + 24);
      bytes.writeBigUInt64LE(BigInt(this.#blockBytes), at + 32);
      bytes.writeBigInt64LE(BigInt(block * this.#blockBytes), at + 40);
      this.#pointers.bytes.writeBigUInt64LE(BigInt(address + at), block * 8);
    }
    return result(submitCall(number.submit, this.#context, this.#blocks, this.#pointers.address));
  }

  /** Results by block of what has ended; `all` waits for the rest. */
  reap(all: boolean): Map<number, number> {
    const ended = new Map<number, number>();
    const least = all ? this.#left : 0;
    const { bytes, address } = this.#events;
    const got = result(geteventsCall(number.getevents, this.#context, least, this.#blocks, address, 0));
    for (let at = 0; at < got * EVENT_BYTES; at += EVENT_BYTES) {
      ended.set(Number(bytes.readBigUInt64LE(at)), Number(bytes.readBigInt64LE(at + 16)));
    }
    this.#left -= ended.size;
    return ended;
  }
  block(index: number): Buffer {
    return this.#buffer.bytes.subarray(index * this.#blockBytes, (index + 1) * this.#blockBytes);
  }
}
