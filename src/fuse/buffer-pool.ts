import { ioBuffer, type Pinned } from '../libc/memory.js';

/** I/O buffers of one size, reused. They hold plaintext, so a lock wipes the idle ones. */
export class BufferPool {
  readonly #bytes: number;
  readonly #idle: Pinned[] = [];

  /** `bytes`: of each. */
  constructor(bytes: number) {
    this.#bytes = bytes;
  }
  take(): Pinned {
    return this.#idle.pop() ?? ioBuffer(this.#bytes);
  }
  give(buffer: Pinned): void {
    this.#idle.push(buffer);
  }
  wipe(): void {
    for (const buffer of this.#idle) buffer.bytes.fill(0);
  }
}
