import { errno } from '../../base/errno.js';
import { FRAME_OVERHEAD, type Geometry } from '../../format/file/geometry.js';
import { copyMemory } from '../../libc/memory.js';
import type { Transfer } from '../contract.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import type { OpenFile } from './open-file.js';

/**
 * Reads plaintext of a loaded file. `done`: bytes read (short at the end of the file only) or -errno. One chunk that does
 * not open fails the whole read: a short one would be taken for the end of the file.
 */
export function readFile(
  file: OpenFile,
  io: IoBuffers,
  wanted: Transfer,
  done: (result: number) => void,
): void {
  const { geometry, chunks } = file.volume;
  const { size, header } = file;
  const { offset, buffer, at } = wanted;
  const length = Math.min(wanted.length, size - offset);
  if (length <= 0 || header === undefined) {
    done(0);
    return;
  }
  const end = offset + length;
  const first = geometry.chunkOf(offset);
  const last = geometry.chunkOf(end - 1);
  const lastStored = Math.min(last, header.chunks - 1);
  // Chunks beyond the highest one ever written are holes.
  const holeFrom = Math.max(offset, header.chunks * geometry.chunkSize);
  if (holeFrom < end) buffer.bytes.fill(0, at + holeFrom - offset, at + length);
  if (first > lastStored) {
    done(length);
  } else if (allHoles(file, first, lastStored)) {
    buffer.bytes.fill(0, at, at + length);
    done(length);
  } else if (first === last && chunks.has(file, first, geometry.extent(first, size))) {
    const from = offset - first * geometry.chunkSize;
    chunks.copyTo(file, buffer.address + at, from, length);
    done(length);
  } else {
    new Read(file, io, { ...wanted, length }, { first, last: lastStored }, done).run();
  }
}

/** None of these chunks is stored. */
function allHoles({ holes }: OpenFile, first: number, last: number): boolean {
  const hole = holes.none ? undefined : holes.map.holes.next(first);
  return hole !== undefined && hole.from <= first && hole.to > last;
}

/** Stored chunks on their way from the disk to plaintext. */
class Read {
  readonly #file: OpenFile;
  readonly #io: IoBuffers;
  readonly #wanted: Transfer;
  readonly #first: number;
  readonly #last: number;
  readonly #size: number;
  readonly #done: (result: number) => void;

  constructor(
    file: OpenFile,
    io: IoBuffers,
    wanted: Transfer,
    { first, last }: { readonly first: number; readonly last: number },
    done: (result: number) => void,
  ) {
    this.#file = file;
    this.#io = io;
    this.#wanted = wanted;
    this.#first = first;
    this.#last = last;
    this.#size = file.size;
    this.#done = done;
  }

  run(): void {
    const { geometry } = this.#file.volume;
    const stored =
      (this.#last - this.#first) * geometry.stride + FRAME_OVERHEAD + geometry.extent(this.#last, this.#size);
    const offset = geometry.frameOffset(this.#first);
    const buffer = this.#io.sealed;
    this.#file.run({ op: 'pread', buffer, at: 0, length: stored, offset }, this.#done, (got) => {
      if (got < 0) this.#done(got);
      else if (got < stored) this.#done(-errno.EIO);
      else this.#open(this.#first);
    });
  }

  /** Opens a slice, then lets others have a turn. */
  #open(from: number): void {
    const until = Math.min(from + slice(this.#file.volume.geometry), this.#last + 1);
    if (!this.#openUntil(from, until)) this.#done(-errno.EIO);
    else if (until > this.#last) this.#done(this.#wanted.length);
    else this.#file.yield(this.#done, () => this.#open(until));
  }

  #openUntil(first: number, limit: number): boolean {
    const { geometry, chunks } = this.#file.volume;
    const { holes, keys } = this.#file;
    const { sealed, edges } = this.#io;
    const { offset, length, buffer, at } = this.#wanted;
    const end = offset + length;
    for (let index = first; index < limit; index++) {
      const extent = geometry.extent(index, this.#size);
      const frame = (index - this.#first) * geometry.stride;
      const start = index * geometry.chunkSize;
      const from = Math.max(offset, start);
      const until = Math.min(end, start + extent);
      if (!holes.none && holes.has(index)) {
        buffer.bytes.fill(0, at + from - offset, at + until - offset);
        continue;
      }
      if (from === start && until === start + extent) {
        if (!keys.open(sealed, frame, index, extent, buffer.address + at + start - offset)) return false;
        continue;
      }
      // Only a part of this chunk is wanted: open it beside, then copy.
      if (!keys.open(sealed, frame, index, extent, edges.address)) return false;
      copyMemory(buffer.address + at + from - offset, edges.address + from - start, until - from);
      chunks.put(this.#file, index, edges.address, extent);
    }
    return true;
  }
}

/** How many chunks are sealed or opened in one go: 128 KiB keep the next request waiting for 0.1 ms. */
export function slice({ chunkSize }: Geometry): number {
  return Math.max(1, (128 << 10) / chunkSize);
}
