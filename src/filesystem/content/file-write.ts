import { errno } from '../../base/errno.js';
import type { FileHeader } from '../../format/file/file-header.js';
import { HEADER_REGION, MAX_SIZE } from '../../format/file/geometry.js';
import { copyMemory } from '../../libc/memory.js';
import type { Transfer } from '../contract.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import { slice } from './file-read.js';
import { truncateFile } from './file-truncate.js';
import type { OpenFile } from './open-file.js';

/** Which edge buffer keeps the first chunk's old bytes. */
const OLD_AREA = 3;

/**
 * One write under way. Chunks from the first that changes to the last are sealed and written in segments that fit
 * the buffer. What a partly covered chunk held before is fetched first.
 */
class Write {
  readonly file: OpenFile;
  readonly io: IoBuffers;
  readonly data: Transfer;
  readonly end: number;
  readonly done: (result: number) => void;
  readonly header: FileHeader;
  readonly oldSize: number;
  readonly newSize: number;
  readonly first: number;
  readonly last: number;
  /** Which chunk each edge buffer holds, composed of old bytes and new. */
  readonly edges: number[] = [];
  readonly oldChunks: number;
  /** The last edge buffer holds what the first chunk held before. */
  #keptOld = false;

  constructor(file: OpenFile, io: IoBuffers, data: Transfer, done: (result: number) => void) {
    const { geometry } = file.volume;
    const { offset, length } = data;
    this.file = file;
    this.io = io;
    this.data = data;
    this.end = offset + length;
    this.done = done;
    this.header = file.header as FileHeader;
    this.oldSize = file.size;
    this.oldChunks = this.header.chunks;
    this.newSize = Math.max(this.oldSize, this.end);
    this.last = geometry.chunkOf(this.end - 1);
    const target = geometry.chunkOf(offset);
    const tail = geometry.chunksOf(this.oldSize) - 1;
    const tailGrows =
      file.hasChunk(tail) && geometry.extent(tail, this.oldSize) < geometry.extent(tail, this.newSize);
    this.first = tailGrows ? Math.min(target, tail) : target;
  }

  run(): void {
    const { geometry } = this.file.volume;
    // The chunks whose old bytes matter: the first (grown or partly covered) and both ends of the data.
    const candidates = [this.first, geometry.chunkOf(this.data.offset), this.last];
    const wanted = candidates.filter((index, i) => candidates.indexOf(index) === i && !this.#covered(index));
    this.#fetch(wanted, 0);
  }

  /** The new data covers all of this chunk. */
  #covered(index: number): boolean {
    const { geometry } = this.file.volume;
    const start = index * geometry.chunkSize;
    return this.data.offset <= start && this.end >= start + geometry.extent(index, this.newSize);
  }

  #fetch(wanted: readonly number[], at: number): void {
    const index = wanted[at];
    if (index === undefined) {
      this.#segment(this.first);
      return;
    }
    const { geometry } = this.file.volume;
    const old = this.file.hasChunk(index) ? geometry.extent(index, this.oldSize) : 0;
    const compose = (result: number): void => {
      if (result < 0) {
        this.done(result);
        return;
      }
      const start = index * geometry.chunkSize;
      const area = at * geometry.chunkSize;
      const extent = geometry.extent(index, this.newSize);
      if (index === this.first && old > 0) {
        const { address } = this.io.edges;
        copyMemory(address + OLD_AREA * geometry.chunkSize, address + area, old);
        this.#keptOld = true;
      }
      if (extent > old) this.io.edges.bytes.fill(0, area + old, area + extent);
      const { offset, buffer, at: bufferAt } = this.data;
      const from = Math.max(offset, start);
      const until = Math.min(this.end, start + extent);
      if (until > from) {
        const source = buffer.address + bufferAt + from - offset;
        copyMemory(this.io.edges.address + area + from - start, source, until - from);
      }
      this.edges[at] = index;
      this.#fetch(wanted, at + 1);
    };
    if (old === 0) compose(0);
    else this.file.fetch(this.io, { index, extent: old }, at, compose);
  }

  /** Address of a chunk's new plaintext. */
  #plaintext(index: number): number {
    const { geometry } = this.file.volume;
    const edge = this.edges.indexOf(index);
    if (edge >= 0) return this.io.edges.address + edge * geometry.chunkSize;
    const { offset, buffer, at } = this.data;
    return buffer.address + at + index * geometry.chunkSize - offset;
  }

  #segment(from: number): void {
    const count = Math.min(this.io.frames, this.last - from + 1);
    // A new file's header goes out with its first frames: one call for a small file.
    const withHeader = from === 0 && this.header.version === 0;
    this.#seal(from, count, 0, withHeader ? HEADER_REGION : 0);
  }

  /** Seals the segment's frames from number `done` on, a slice at a time. */
  #seal(from: number, count: number, done: number, base: number): void {
    const { file, io } = this;
    const { geometry } = file.volume;
    // Also between slices: a slot may have been removed meanwhile.
    const prepared = file.prepareToSeal();
    if (prepared < 0) {
      this.#fail(from, 0, prepared);
      return;
    }
    const until = Math.min(done + slice(geometry), count);
    file.keys.nonces(io.sealed, base + done * geometry.stride, geometry.stride, until - done);
    for (let i = done; i < until; i++) {
      const index = from + i;
      const extent = geometry.extent(index, this.newSize);
      const at = base + i * geometry.stride;
      file.keys.seal(io.sealed, at, index, extent, this.#plaintext(index));
    }
    if (until === count) this.#write(from, count, base);
    else file.yield(this.done, () => this.#seal(from, count, until, base));
  }

  #write(from: number, count: number, base: number): void {
    const { file, io } = this;
    const { geometry } = file.volume;
    const withHeader = base > 0;
    if (withHeader) {
      this.header.size = this.newSize;
      this.header.chunks = Math.max(this.header.chunks, this.last + 1);
      file.sealHeader(io.sealed);
    }
    const lastExtent = geometry.extent(from + count - 1, this.newSize);
    const length = base + count * geometry.stride - (geometry.chunkSize - lastExtent);
    const offset = withHeader ? 0 : geometry.frameOffset(from);
    file.run({ op: 'pwrite', buffer: io.sealed, at: 0, length, offset }, this.done, (wrote) => {
      if (wrote < length) this.#fail(from, wrote - base, wrote < 0 ? wrote : -errno.ENOSPC);
      else if (from + count > this.last) this.#succeed(withHeader);
      else this.#segment(from + count);
    });
  }

  #succeed(headerIsWritten: boolean): void {
    const { file, header } = this;
    const { geometry, chunks, table } = file.volume;
    const stored = Math.max(header.chunks, this.last + 1);
    const changed = header.size !== this.newSize || header.chunks !== stored;
    header.size = this.newSize;
    header.chunks = stored;
    if (headerIsWritten) file.headerDirty = false;
    else if (changed) file.headerDirty = true;
    this.#fill(this.last + 1);
    table.size[file.slot] = this.newSize;
    // Keep the chunk that the next small write or append will need.
    const extent = geometry.extent(this.last, this.newSize);
    const partial = this.edges.includes(this.last) || extent < geometry.chunkSize;
    if (partial) chunks.put(file, this.last, this.#plaintext(this.last), extent);
    else chunks.drop(file);
    this.done(this.data.length);
  }

  /** The chunks from the first to `end` have data; what was skipped beyond those ever written are holes. */
  #fill(end: number): void {
    const { holes } = this.file;
    holes.dig(this.oldChunks, Math.min(this.first, end));
    holes.fill(this.first, end, this.header.syncedChunks);
  }

  /**
   * The disk took only part of a segment. Where new data was stored, whole frames count, and the frame at the break,
   * which may be torn, is sealed and written again at the size that remains (its place exists already). Where none
   * was, the file is put back as it was.
   */
  #fail(from: number, wrote: number, error: number): void {
    const { file, header, io } = this;
    const { geometry, chunks, table } = file.volume;
    chunks.drop(file);
    const good = from + Math.max(0, Math.floor(wrote / geometry.stride));
    const reached = Math.min(this.newSize, good * geometry.chunkSize);
    const progressed = reached > this.data.offset;
    const size = progressed ? Math.max(this.oldSize, reached) : this.oldSize;
    header.size = size;
    header.chunks = progressed
      ? Math.min(geometry.chunksOf(size), Math.max(this.oldChunks, good))
      : this.oldChunks;
    file.headerDirty = true;
    if (progressed) this.#fill(good);
    table.size[file.slot] = size;
    const cut = (): void => {
      const length = geometry.backingSize(size);
      const before = geometry.backingSize(this.newSize);
      file.run({ op: 'ftruncate', length, from: before }, this.done, (result) => {
        if (result < 0) file.failed ||= -result;
        if (size === 0) file.reset();
        this.done(progressed ? Math.min(this.end, reached) - this.data.offset : error);
      });
    };
    const torn = progressed ? good : this.first;
    const extent = geometry.extent(torn, size);
    if (extent === 0 || torn >= this.oldChunks || file.holes.has(torn)) {
      cut();
      return;
    }
    const kept = !progressed && this.#keptOld;
    const plaintext = kept ? io.edges.address + OLD_AREA * geometry.chunkSize : this.#plaintext(torn);
    file.keys.nonces(io.sealed, 0, geometry.stride, 1);
    file.keys.seal(io.sealed, 0, torn, extent, plaintext);
    const length = extent + geometry.stride - geometry.chunkSize;
    const offset = geometry.frameOffset(torn);
    file.run({ op: 'pwrite', buffer: io.sealed, at: 0, length, offset }, this.done, (again) => {
      if (again < length) file.failed ||= errno.EIO;
      cut();
    });
  }
}

/** Writes to a loaded file. The data must stay until `done`: bytes written or -errno. */
export function writeFile(
  file: OpenFile,
  io: IoBuffers,
  data: Transfer,
  done: (result: number) => void,
): void {
  const { offset, length } = data;
  if (length === 0) {
    done(0);
    return;
  }
  if (offset + length > MAX_SIZE) {
    done(-errno.EFBIG);
    return;
  }
  // A file without an identity gets one.
  const prepared = file.prepareToSeal();
  if (prepared < 0) {
    done(prepared);
    return;
  }
  const { geometry } = file.volume;
  const before = file.size;
  const first = geometry.chunkOf(offset);
  const skips = first > (file.header?.chunks ?? 0);
  if (file.holes.full && (skips || file.holes.overlaps(first, geometry.chunksOf(offset + length)))) {
    done(-errno.ENOSPC);
    return;
  }
  const tail = geometry.chunksOf(before) - 1;
  const apart = first > tail + 1 && geometry.extent(tail, before) < geometry.chunkSize;
  const write = (failed: (error: number) => void): void => {
    new Write(file, io, data, (result) => {
      if (result < 0 && !file.dead) failed(result);
      else done(result);
    }).run();
  };
  if (!apart || !file.hasChunk(tail)) {
    write((error) => {
      // A file that got no byte stays empty, without an identity.
      if (file.size === 0) file.reset();
      done(error);
    });
    return;
  }
  // The last chunk grows to its full length, and is not next to what is written.
  truncateFile(file, io, offset, (grown) => {
    if (grown < 0) done(grown);
    else write((error) => truncateFile(file, io, before, () => done(error)));
  });
}
