import { errno } from '../../base/errno.js';
import { MAX_SIZE } from '../../format/file/geometry.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import { flushHeader } from './file-flush.js';
import { truncateFile } from './file-truncate.js';
import { writeFile } from './file-write.js';
import type { OpenFile } from './open-file.js';

type Done = (result: number) => void;

/** What fallocate(2) is to do. `keepSize`: the size does not grow. */
export interface Allocation {
  readonly kind: 'allocate' | 'punch' | 'zero';
  readonly keepSize: boolean;
  readonly offset: number;
  readonly length: number;
}

/** The backing frees whole blocks only: bytes of one that it keeps would be zeroed out of order (FORMAT.md, "Holes"). */
const BLOCK = 4096;

/** fallocate(2). The caller has the whole file, loaded. `done`: 0 or -errno. */
export function allocateFile(file: OpenFile, io: IoBuffers, what: Allocation, done: Done): void {
  const end = what.offset + what.length;
  if (end > MAX_SIZE) {
    done(-errno.EFBIG);
    return;
  }
  const grow = (result: number): void => {
    if (result < 0 || what.keepSize || end <= file.size) touch(file, result, done);
    else truncateFile(file, io, end, done);
  };
  const reserve = (result: number): void => {
    if (result < 0) done(result);
    else reserveRoom(file, what, grow);
  };
  if (what.kind === 'allocate') reserve(0);
  else punch(file, io, what.offset, Math.min(end, file.size), what.kind === 'punch' ? grow : reserve);
}

function touch(file: OpenFile, result: number, done: Done): void {
  if (result < 0) done(result);
  else done(file.touch());
}

/** Room for the frames of a range, so that writing them can't fail for want of it. */
function reserveRoom(file: OpenFile, { offset, length }: Allocation, done: Done): void {
  const { geometry } = file.volume;
  const first = geometry.chunkOf(offset);
  const from = first === 0 ? 0 : geometry.frameOffset(first);
  const to = geometry.frameOffset(geometry.chunksOf(offset + length));
  file.run({ op: 'allocate', offset: from, length: to - from }, done, done);
}

/** Bytes from `from` to `to`, at most the file's size, read as zeros from now on; whole chunks become holes. */
function punch(file: OpenFile, io: IoBuffers, from: number, to: number, done: Done): void {
  const { header, volume } = file;
  if (from >= to || header === undefined) {
    done(0);
    return;
  }
  const { geometry } = volume;
  const { chunkSize } = geometry;
  const first = Math.ceil(from / chunkSize);
  const last = to === file.size ? geometry.chunksOf(to) : geometry.chunkOf(to);
  const headEnd = Math.min(to, first * chunkSize);
  const tailStart = Math.max(headEnd, last * chunkSize);
  zero(file, io, from, headEnd, (head) => {
    if (head < 0) {
      done(head);
      return;
    }
    zero(file, io, tailStart, to, (tail) => {
      if (tail < 0) done(tail);
      else dig(file, io, first, Math.min(last, header.chunks), done);
    });
  });
}

/** Stores zeros in a part of one chunk, unless it is a hole. */
function zero(file: OpenFile, io: IoBuffers, from: number, to: number, done: Done): void {
  const { geometry, zeros } = file.volume;
  if (from >= to || !file.hasChunk(geometry.chunkOf(from))) done(0);
  else
    writeFile(file, io, { offset: from, length: to - from, buffer: zeros, at: 0 }, (result) =>
      done(Math.min(result, 0)),
    );
}

/** Makes chunks holes: the map says so before the backing gives the blocks back, and both reach the disk in that order. */
function dig(file: OpenFile, io: IoBuffers, first: number, last: number, done: Done): void {
  const { holes, volume } = file;
  const { geometry } = volume;
  if (first >= last) {
    done(0);
    return;
  }
  if (holes.full) {
    done(-errno.ENOSPC);
    return;
  }
  // The map is sealed anew: under the current epoch.
  const prepared = file.prepareToSeal();
  if (prepared < 0) {
    done(prepared);
    return;
  }
  const before = holes.snapshot();
  volume.chunks.drop(file);
  holes.dig(first, last);
  flushHeader(file, io, (flushed) => {
    if (flushed < 0) {
      // On the disk all is as it was.
      holes.restore(before);
      done(flushed);
      return;
    }
    const from = Math.ceil(geometry.frameOffset(first) / BLOCK) * BLOCK;
    const to = Math.floor(geometry.frameOffset(last) / BLOCK) * BLOCK;
    if (from >= to) {
      done(0);
      return;
    }
    file.run({ op: 'punch', offset: from, length: to - from }, done, (result) => {
      // A backing that can't free them keeps the blocks: they are holes all the same.
      done(result === -errno.EOPNOTSUPP ? 0 : result);
    });
  });
}

/** lseek(2) with SEEK_DATA or SEEK_HOLE in a loaded file: an offset, or -ENXIO. */
export function seekFile(file: OpenFile, offset: number, what: 'data' | 'hole'): number {
  const { header, size, holes } = file;
  const { geometry } = file.volume;
  if (offset >= size) return -errno.ENXIO;
  const chunks = header?.chunks ?? 0;
  const chunk = geometry.chunkOf(offset);
  const hole = holes.map.holes.next(chunk);
  const inHole = chunk >= chunks || (hole !== undefined && hole.from <= chunk);
  let next: number;
  if (what === 'hole') {
    if (inHole) return offset;
    next = Math.min(hole?.from ?? chunks, chunks);
  } else {
    if (!inHole) return offset;
    next = hole !== undefined && hole.from <= chunk ? hole.to : chunks;
    if (next >= chunks) return -errno.ENXIO;
  }
  return Math.min(size, next * geometry.chunkSize);
}
