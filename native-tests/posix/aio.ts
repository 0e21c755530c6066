import { arch } from 'node:process';
import { libcFunction, result } from '../../src/libc/ffi.js';
import { pinned } from '../../src/libc/memory.js';

/** Asynchronous writes as databases make them: io_setup(2), io_submit(2), io_getevents(2). */

const numbers = {
  x64: { setup: 206, destroy: 207, getevents: 208, submit: 209 },
  arm64: { setup: 0, destroy: 1, getevents: 4, submit: 2 },
} as const;
const number = numbers[arch as keyof typeof numbers];
const systemCall = libcFunction('syscall', 'l', 'llllll');
const raw = (which: number, ...rest: number[]): number =>
  result(systemCall(which, ...[0, 0, 0, 0, 0].map((none, i) => rest[i] ?? none)));

/** linux/aio_abi.h: struct iocb has 64 bytes, struct io_event 32. */
const IOCB_CMD_PWRITE = 1;
const context = pinned(8);
const control = pinned(64);
const list = pinned(8);
const event = pinned(32);

/** One context for all writes of a program: to take one down takes the kernel tens of milliseconds. */
export class AsyncWriter {
  readonly #handle: number;

  constructor() {
    context.bytes.fill(0);
    const made = raw(number.setup, 1, context.address);
    if (made < 0) throw new Error(`io_setup: ${made}`);
    this.#handle = Number(context.bytes.readBigUInt64LE());
  }

  /** Writes from aligned memory, and waits until the kernel says that it is done: bytes, or -errno. */
  write(fd: number, address: number, length: number, offset: number): number {
    control.bytes.fill(0);
    control.bytes.writeUInt16LE(IOCB_CMD_PWRITE, 16);
    control.bytes.writeUInt32LE(fd, 20);
    control.bytes.writeBigUInt64LE(BigInt(address), 24);
    control.bytes.writeBigUInt64LE(BigInt(length), 32);
    control.bytes.writeBigInt64LE(BigInt(offset), 40);
    list.bytes.writeBigUInt64LE(BigInt(control.address));
    const submitted = raw(number.submit, this.#handle, 1, list.address);
    const seen = submitted < 0 ? submitted : raw(number.getevents, this.#handle, 1, 1, event.address);
    return seen < 0 ? seen : Number(event.bytes.readBigInt64LE(16));
  }

  close(): void {
    raw(number.destroy, this.#handle);
  }
}
