import { FRAME_OVERHEAD, type Geometry, HEADER_REGION } from '../../format/file/geometry.js';
import { ioBuffer, type Pinned } from '../../libc/memory.js';
import { MAX_TRANSFER } from '../contract.js';

/** Buffers of one operation under way: owned by it from take to give. */
export interface IoBuffers {
  /** Frames as stored, and a header region before them. */
  readonly sealed: Pinned;
  /** How many frames `sealed` holds beside a header region. */
  readonly frames: number;
  /** Plaintext of four chunks: the ends of a transfer, a last chunk that grows, and what the first one held before. */
  readonly edges: Pinned;
}

/** Reuses {@link IoBuffers}: one set a concurrent operation. They hold plaintext: wiped when a scope is locked. */
export class IoPool {
  readonly #geometry: Geometry;
  readonly #idle: IoBuffers[] = [];

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
  }
  take(): IoBuffers {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    const { chunkSize } = this.#geometry;
    const frames = Math.ceil(MAX_TRANSFER / chunkSize) + 2;
    return {
      frames,
      sealed: ioBuffer(HEADER_REGION + frames * (chunkSize + FRAME_OVERHEAD)),
      edges: ioBuffer(4 * chunkSize),
    };
  }
  /** `wiped`: of an operation that a lock outran, so that nothing of it may stay. */
  give(buffers: IoBuffers, wiped: boolean): void {
    if (wiped) wipe(buffers);
    this.#idle.push(buffers);
  }
  wipe(): void {
    for (const buffers of this.#idle) wipe(buffers);
  }
}

function wipe(buffers: IoBuffers): void {
  buffers.sealed.bytes.fill(0);
  buffers.edges.bytes.fill(0);
}
