import { errno } from '../base/errno.js';
import { repeat } from '../base/repeat.js';
import { copyMap, emptyMap, type HoleMap, mapFits, sealMap, XATTR_MAP } from '../format/hole-map.js';
import type { IoBuffers } from './io-buffers.js';
import type { OpenFile } from './open-file.js';

type Done = (result: number) => void;

/** A hole that no map has room for is stored as zeros, up to so many bytes. */
const MOST_ZEROS = 64 << 20;
/** Ranges kept in memory between two write-backs of the map. */
const CROWDED = 2000;

/**
 * The holes of an open file among its chunks ever written. What is here rules; the map on disk follows with the
 * header. Whoever changes it has the whole file.
 */
export class FileHoles {
  #map: HoleMap = emptyMap();
  /** The map on disk is behind the one here. */
  dirty = false;
  /** The map was written since the last fsync: a metadata change, so fdatasync would not do. */
  unsynced = false;
  /** Counts changes: an fsync says nothing of what changed meanwhile. */
  changes = 0;

  get map(): HoleMap {
    return this.#map;
  }
  get none(): boolean {
    return this.#map.holes.empty;
  }
  /** Neither holes nor chunks that may be one after a power cut: no map is needed. */
  get clean(): boolean {
    return this.none && this.#map.filled.empty;
  }
  /** Too many to go on without writing some of them. */
  get crowded(): boolean {
    return this.#map.holes.ranges.length + this.#map.filled.ranges.length > CROWDED;
  }
  has(chunk: number): boolean {
    return this.#map.holes.has(chunk);
  }
  overlaps(from: number, to: number): boolean {
    return this.#map.holes.overlaps(from, to);
  }

  #changed(): void {
    this.dirty = true;
    this.changes++;
  }
  /** As read from disk. */
  adopt(map: HoleMap): void {
    this.#map = map;
    this.dirty = false;
  }
  reset(): void {
    if (!this.clean) this.#changed();
    this.#map = emptyMap();
    this.dirty = false;
  }
  snapshot(): HoleMap {
    return copyMap(this.#map);
  }
  restore(map: HoleMap): void {
    this.#map = map;
    this.#changed();
  }

  /** Chunks become holes. */
  dig(from: number, to: number): void {
    if (from >= to) return;
    this.#map.holes.add(from, to);
    this.#map.filled.remove(from, to);
    this.#changed();
  }
  /** Chunks have data now. `synced`: chunks below it were durable with their holes, so a power cut may undo this. */
  fill(from: number, to: number, synced: number): void {
    if (!this.overlaps(from, to)) return;
    for (let range = this.#map.holes.next(from); range !== undefined && range.from < to; ) {
      const { to: end } = range;
      this.#map.filled.add(Math.max(from, range.from), Math.min(to, end, synced));
      range = this.#map.holes.next(end);
    }
    this.#map.holes.remove(from, to);
    this.#changed();
  }
  /** The file has only so many chunks now. */
  cut(chunks: number): void {
    const { holes, filled } = this.#map;
    if (
      !holes.overlaps(chunks, Number.POSITIVE_INFINITY) &&
      !filled.overlaps(chunks, Number.POSITIVE_INFINITY)
    )
      return;
    holes.remove(chunks, Number.POSITIVE_INFINITY);
    filled.remove(chunks, Number.POSITIVE_INFINITY);
    this.#changed();
  }
  /** What was filled is durable. */
  settle(): void {
    if (this.#map.filled.empty) return;
    this.#map.filled.remove(0, Number.POSITIVE_INFINITY);
    this.dirty = true;
  }
}

/**
 * Writes the hole map if it is behind, before the header that names its version. Where it does not fit its xattr the
 * shortest holes are stored as zeros. The caller has the whole file. 0 or -errno.
 */
export function flushMap(file: OpenFile, io: IoBuffers, done: Done): void {
  const { holes, header, volume } = file;
  if (!holes.dirty || header === undefined) {
    done(0);
    return;
  }
  // Halved while the xattr has no room beside the file's others.
  let share = 1;
  repeat((again) => {
    if (holes.clean) {
      header.sparse = false;
      holes.dirty = false;
      done(0);
      return;
    }
    const keys = file.scope.live.at(header.epoch);
    if (keys === undefined) throw new Error('the hole map is of an epoch that its scope does not have');
    const most = CROWDED * share;
    if (mapFits(holes.map) && holes.map.holes.ranges.length + holes.map.filled.ranges.length <= most) {
      const context = { epoch: header.epoch, tag: header.tag, version: header.mapVersion + 1 };
      const set = volume.backing.fsetxattr(file.handle, XATTR_MAP, sealMap(keys.header, context, holes.map));
      if (set !== -errno.ENOSPC && set !== -errno.ERANGE && set !== -errno.E2BIG) {
        if (set >= 0) {
          header.mapVersion++;
          header.sparse = true;
          holes.dirty = false;
          holes.unsynced = true;
        }
        done(Math.min(set, 0));
        return;
      }
      share /= 2;
    }
    relieve(file, io, (result) => {
      if (result < 0) done(result);
      else again();
    });
  });
}

/** Makes the map smaller: syncs what is filled, else stores the shortest hole as zeros. 0 or -errno. */
export function relieve(file: OpenFile, io: IoBuffers, done: Done): void {
  const { holes, volume, header } = file;
  const { filled } = holes.map;
  if (!filled.empty) {
    const { changes } = holes;
    volume.executor.run({ op: 'fdatasync', handle: file.handle }, (result) => {
      if (file.dead) done(-errno.ENOKEY);
      else if (result < 0) done(result);
      else if (holes.changes !== changes) throw new Error('the hole map changed under its owner');
      else {
        holes.settle();
        done(0);
      }
    });
    return;
  }
  const shortest = holes.map.holes.smallest;
  if (shortest === undefined || header === undefined) {
    done(0);
    return;
  }
  if ((shortest.to - shortest.from) * volume.geometry.chunkSize > MOST_ZEROS) {
    done(-errno.ENOSPC);
    return;
  }
  storeZeros(file, io, shortest.from, shortest.to, done);
}

/** Stores chunks that are holes as sealed zeros. 0 or -errno. */
function storeZeros(file: OpenFile, io: IoBuffers, from: number, to: number, done: Done): void {
  const { geometry, executor, zeros } = file.volume;
  let at = from;
  repeat((again) => {
    if (at >= to) {
      done(0);
      return;
    }
    const prepared = file.prepareToSeal();
    if (prepared < 0) {
      done(prepared);
      return;
    }
    const count = Math.min(io.frames, to - at);
    file.keys.nonces(io.sealed, 0, geometry.stride, count);
    for (let i = 0; i < count; i++) {
      file.keys.seal(
        io.sealed,
        i * geometry.stride,
        at + i,
        geometry.extent(at + i, file.size),
        zeros.address,
      );
    }
    const lastExtent = geometry.extent(at + count - 1, file.size);
    const length = count * geometry.stride - (geometry.chunkSize - lastExtent);
    const offset = geometry.frameOffset(at);
    executor.run({ op: 'pwrite', handle: file.handle, buffer: io.sealed, at: 0, length, offset }, (wrote) => {
      if (file.dead) {
        done(-errno.ENOKEY);
      } else if (wrote < length) {
        done(wrote < 0 ? wrote : -errno.ENOSPC);
      } else {
        file.holes.fill(at, at + count, file.header?.syncedChunks ?? 0);
        at += count;
        again();
      }
    });
  });
}
