import { arrayBufferAt, libcFunction, result, viewAt } from '../../src/libc/ffi.js';
import { ioBuffer, pinned } from '../../src/libc/memory.js';
import { map, prot } from './board.js';

/** io_uring(7) without liburing (linux/io_uring.h): a ring with one registered file. Numbers are the same everywhere. */
const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const SYS_IO_URING_REGISTER = 427;
const setupCall = libcFunction('syscall', 'l', 'lup');
const enterCall = libcFunction('syscall', 'l', 'liuuupp');
const registerCall = libcFunction('syscall', 'l', 'liupu');

const IORING_OFF_SQES = 0x1000_0000;
const IORING_ENTER_GETEVENTS = 1;
const IORING_REGISTER_FILES = 2;
const IORING_OP_READ = 22;
const IOSQE_FIXED_FILE = 1;
const SQE_BYTES = 64;
const CQE_BYTES = 16;
/** struct io_uring_params: where sq_off and cq_off begin, and fields in each. */
const PARAMS = { bytes: 120, sqEntries: 0, cqEntries: 4, sq: 40, cq: 80 } as const;
const FIELD = { head: 0, tail: 4, mask: 8, cqes: 20, array: 24 } as const;

export class Ring {
  readonly #fd: number;
  readonly #words: Int32Array;
  readonly #ring: Buffer;
  readonly #sqes: Buffer;
  readonly #entries: number;
  readonly #blockBytes: number;
  readonly #buffer;
  /** Offset of a field of the rings. */
  readonly #at: (side: 'sq' | 'cq', field: keyof typeof FIELD) => number;
  #left = 0;

  constructor(file: number, entries: number, blockBytes: number) {
    const params = pinned(PARAMS.bytes);
    this.#fd = result(setupCall(SYS_IO_URING_SETUP, entries, params.address));
    if (this.#fd < 0) throw new Error(`io_uring_setup: ${this.#fd}`);
    const { bytes } = params;
    const at = (side: 'sq' | 'cq', field: keyof typeof FIELD): number =>
      bytes.readUInt32LE(PARAMS[side] + FIELD[field]);
    this.#at = at;
    this.#entries = bytes.readUInt32LE(PARAMS.sqEntries);
    const completions = bytes.readUInt32LE(PARAMS.cqEntries);
    // IORING_FEAT_SINGLE_MMAP (Linux 5.4): both rings are in one mapping.
    const size = Math.max(at('sq', 'array') + this.#entries * 4, at('cq', 'cqes') + completions * CQE_BYTES);
    const mapped = (length: number, offset: number): number => {
      const address = map(this.#fd, length, prot.READ | prot.WRITE, undefined, offset);
      if (address < 0) throw new Error(`mmap of a ring: ${address}`);
      return address;
    };
    const rings = mapped(size, 0);
    this.#ring = viewAt(rings, size);
    this.#words = new Int32Array(arrayBufferAt(rings, size & ~3));
    this.#sqes = viewAt(mapped(this.#entries * SQE_BYTES, IORING_OFF_SQES), this.#entries * SQE_BYTES);
    this.#blockBytes = blockBytes;
    this.#buffer = ioBuffer(this.#entries * blockBytes);
    const files = pinned(4);
    files.bytes.writeInt32LE(file);
    const done = result(
      registerCall(SYS_IO_URING_REGISTER, this.#fd, IORING_REGISTER_FILES, files.address, 1),
    );
    if (done < 0) throw new Error(`io_uring_register: ${done}`);
  }

  #load(side: 'sq' | 'cq', field: 'head' | 'tail'): number {
    return Atomics.load(this.#words, this.#at(side, field) / 4);
  }

  /** Submits reads of blocks from the file's start; waits for none. How many the kernel took, or -errno. */
  submit(blocks: number): number {
    const tail = this.#load('sq', 'tail');
    for (let block = 0; block < blocks; block++) {
      const at = block * SQE_BYTES;
      this.#sqes.fill(0, at, at + SQE_BYTES);
      this.#sqes[at] = IORING_OP_READ;
      this.#sqes[at + 1] = IOSQE_FIXED_FILE;
      this.#sqes.writeBigUInt64LE(BigInt(block * this.#blockBytes), at + 8);
      this.#sqes.writeBigUInt64LE(BigInt(this.#buffer.address + block * this.#blockBytes), at + 16);
      this.#sqes.writeUInt32LE(this.#blockBytes, at + 24);
      this.#sqes.writeBigUInt64LE(BigInt(block), at + 32);
      const place = (tail + block) & (this.#entries - 1);
      this.#ring.writeUInt32LE(block, this.#at('sq', 'array') + place * 4);
      this.block(block).fill(0);
    }
    Atomics.store(this.#words, this.#at('sq', 'tail') / 4, tail + blocks);
    const taken = result(enterCall(SYS_IO_URING_ENTER, this.#fd, blocks, 0, 0, 0, 0));
    if (taken > 0) this.#left += taken;
    return taken;
  }

  /** Results by block of what has ended; `all` waits for the rest. */
  reap(all: boolean): Map<number, number> {
    if (all && this.#left > 0) {
      result(enterCall(SYS_IO_URING_ENTER, this.#fd, 0, this.#left, IORING_ENTER_GETEVENTS, 0, 0));
    }
    const ended = new Map<number, number>();
    const mask = this.#ring.readUInt32LE(this.#at('cq', 'mask'));
    const tail = this.#load('cq', 'tail');
    let head = this.#load('cq', 'head');
    for (; head !== tail; head++) {
      const at = this.#at('cq', 'cqes') + (head & mask) * CQE_BYTES;
      ended.set(Number(this.#ring.readBigUInt64LE(at)), this.#ring.readInt32LE(at + 8));
    }
    Atomics.store(this.#words, this.#at('cq', 'head') / 4, head);
    this.#left -= ended.size;
    return ended;
  }
  block(index: number): Buffer {
    return this.#buffer.bytes.subarray(index * this.#blockBytes, (index + 1) * this.#blockBytes);
  }
}
