/** Where things lie in a backing file: pure arithmetic (FORMAT.md, "Regular file"). All units are bytes. */
export const HEADER_BYTES = 512;
export const HEADER_REGION = 1024;
/** nonce 24, plaintext length 4, tag 16. */
export const FRAME_OVERHEAD = 44;
/** From a frame's start to its ciphertext. */
export const FRAME_PREFIX = 28;

/** The largest plaintext size: its backing size must stay a safe integer below the kernel's s64 limit. */
export const MAX_SIZE = 2 ** 52;

export class Geometry {
  readonly chunkSize: number;
  readonly stride: number;

  constructor(chunkSize: number) {
    this.chunkSize = chunkSize;
    this.stride = chunkSize + FRAME_OVERHEAD;
  }

  /** The chunk that holds byte `offset`. */
  chunkOf(offset: number): number {
    return Math.floor(offset / this.chunkSize);
  }
  /** How many chunks a file of `size` bytes has. */
  chunksOf(size: number): number {
    return Math.ceil(size / this.chunkSize);
  }
  /** Plaintext bytes of chunk `index` in a file of `size` bytes. */
  extent(index: number, size: number): number {
    return Math.max(0, Math.min(this.chunkSize, size - index * this.chunkSize));
  }
  /** Where the frame of a chunk starts in the backing file. */
  frameOffset(index: number): number {
    return HEADER_REGION + index * this.stride;
  }
  /** Size of the backing file of a file of `size` bytes. */
  backingSize(size: number): number {
    if (size === 0) return 0;
    return HEADER_REGION + size + this.chunksOf(size) * FRAME_OVERHEAD;
  }
  /** Plaintext size for a backing size, or -1 where no plaintext size gives it. */
  plainSize(backing: number): number {
    if (backing === 0) return 0;
    const body = backing - HEADER_REGION;
    if (body <= FRAME_OVERHEAD) return -1;
    const whole = Math.floor(body / this.stride);
    const rest = body - whole * this.stride;
    if (rest === 0) return whole * this.chunkSize;
    return rest > FRAME_OVERHEAD ? whole * this.chunkSize + rest - FRAME_OVERHEAD : -1;
  }
  /** As {@link plainSize}, but a torn last frame is cut off: the largest plaintext size that fits. */
  plainSizeTrimmed(backing: number): number {
    const exact = this.plainSize(backing);
    if (exact >= 0) return exact;
    return Math.max(0, Math.floor((backing - HEADER_REGION) / this.stride)) * this.chunkSize;
  }
}
