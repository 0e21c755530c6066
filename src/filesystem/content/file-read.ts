import { errno } from '../../base/errno.js';
import { FRAME_OVERHEAD, type Geometry } from '../../format/file/geometry.js';
import { copyMemory, type Pinned } from '../../libc/memory.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import type { OpenFile } from './open-file.js';

/**
 * Reads plaintext into `out.bytes[at]`. `done`: bytes read (short at the end of the file only) or -errno. One chunk
 * that does not open fails the whole read: a short one would be taken for the end of the file.
 */
export function readFile(
  file: OpenFile,
  io: IoBuffers,
  offset: number,
  wanted: number,
  out: Pinned,
  at: number,
  done: (result: number) => void,
): void {
  const { geometry, chunks, executor } = file.volume;
  const { size, header } = file;
  const length = Math.min(wanted, size - offset);
  if (length <= 0 || header === undefined) {
    done(0);
    return;
  }
  const end = offset + length;
  const first = geometry.chunkOf(offset);
  const last = geometry.chunkOf(end - 1);
  const lastStored = Math.min(last, header.chunks - 1);
  const { holes } = file;
  // Chunks beyond the highest one ever written are holes.
  const holeFrom = Math.max(offset, header.chunks * geometry.chunkSize);
  if (holeFrom < end) out.bytes.fill(0, at + holeFrom - offset, at + length);
  if (first > lastStored || allHoles()) {
    done(length);
    return;
  }
  if (first === last && chunks.has(file, first, geometry.extent(first, size))) {
    const from = offset - first * geometry.chunkSize;
    chunks.copyTo(file, out.address + at, from, length);
    done(length);
    return;
  }
  const stored = (lastStored - first) * geometry.stride + FRAME_OVERHEAD + geometry.extent(lastStored, size);
  executor.run(
    {
      op: 'pread',
      handle: file.handle,
      buffer: io.sealed,
      at: 0,
      length: stored,
      offset: geometry.frameOffset(first),
    },
    (got) => {
      if (file.dead) done(-errno.ENOKEY);
      else if (got < 0) done(got);
      else if (got < stored) done(-errno.EIO);
      else openFrom(first);
    },
  );

  /** Nothing of it is stored: fills in the zeros. */
  function allHoles(): boolean {
    const hole = holes.none ? undefined : holes.map.holes.next(first);
    if (hole === undefined || hole.from > first || hole.to <= lastStored) return false;
    out.bytes.fill(0, at, at + length);
    return true;
  }

  /** Opens a slice, then lets others have a turn. */
  function openFrom(from: number): void {
    const until = Math.min(from + slice(geometry), lastStored + 1);
    if (!openUntil(from, until)) done(-errno.EIO);
    else if (until > lastStored) done(length);
    else executor.yield(() => (file.dead ? done(-errno.ENOKEY) : openFrom(until)));
  }

  function openUntil(from: number, limit: number): boolean {
    for (let index = from; index < limit; index++) {
      const extent = geometry.extent(index, size);
      const frame = (index - first) * geometry.stride;
      const start = index * geometry.chunkSize;
      const to = out.address + at + start - offset;
      if (!holes.none && holes.has(index)) {
        out.bytes.fill(0, at + Math.max(0, start - offset), at + Math.min(end, start + extent) - offset);
        continue;
      }
      if (start >= offset && start + extent <= end) {
        if (!file.keys.open(io.sealed, frame, index, extent, to)) return false;
        continue;
      }
      // Only a part of this chunk is wanted: open it beside, then copy.
      if (!file.keys.open(io.sealed, frame, index, extent, io.edges.address)) return false;
      const from = Math.max(offset, start);
      const until = Math.min(end, start + extent);
      copyMemory(out.address + at + from - offset, io.edges.address + from - start, until - from);
      chunks.put(file, index, io.edges.address, extent);
    }
    return true;
  }
}

/** How many chunks are sealed or opened in one go: 128 KiB keep the next request waiting for 0.1 ms. */
export function slice({ chunkSize }: Geometry): number {
  return Math.max(1, (128 << 10) / chunkSize);
}
