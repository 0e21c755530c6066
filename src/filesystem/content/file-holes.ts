import { errno } from '../../base/errno.js';
import {
  copyMap,
  emptyMap,
  type HoleMap,
  MAP_INLINE,
  MAP_RANGES,
  mapFileName,
  sealMap,
  XATTR_MAP,
} from '../../format/file/hole-map.js';
import { pinned } from '../../libc/memory.js';
import { flag } from '../inodes/inode-table.js';
import type { OpenFile } from './open-file.js';

type Done = (result: number) => void;

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
  /** The map lies in a file of its own. */
  filed = false;
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
  /** No map has room for one more range: what would make one is refused (ENOSPC). */
  get full(): boolean {
    return this.#map.holes.ranges.length + this.#map.filled.ranges.length >= MAP_RANGES - 2;
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
 * Writes the hole map if it is behind, before the header that names its version: small ones to an xattr, larger ones to
 * a file. The caller has the whole file. 0 or -errno.
 */
export function flushMap(file: OpenFile, done: Done): void {
  const { holes, header, volume } = file;
  if (!holes.dirty || header === undefined) {
    done(0);
    return;
  }
  if (volume.table.has(file.slot, flag.UNLINKED)) {
    // Nobody will open it again, unless it gets a name.
    holes.dirty = false;
    done(0);
    return;
  }
  if (holes.clean) {
    header.sparse = false;
    holes.dirty = false;
    done(0);
    return;
  }
  const keys = file.scope.live.at(header.epoch);
  if (keys === undefined) throw new Error('the hole map is of an epoch that its scope does not have');
  const context = { epoch: header.epoch, tag: header.tag, version: header.mapVersion + 1 };
  const record = sealMap(keys.header, context, holes.map);
  const { changes } = holes;
  const written = (result: number): void => {
    if (file.dead) {
      done(-errno.ENOKEY);
      return;
    }
    if (result >= 0) {
      header.mapVersion = context.version;
      header.sparse = true;
      holes.dirty = holes.changes !== changes;
    }
    done(result);
  };
  const { backing } = volume;
  if (record.length <= MAP_INLINE) {
    const set = backing.fsetxattr(file.handle, XATTR_MAP, record);
    if (set >= 0) {
      holes.unsynced = true;
      if (holes.filed) backing.unlink(backing.root, mapFileName(header.tag));
      holes.filed = false;
      written(0);
      return;
    }
    const noRoom = set === -errno.ENOSPC || set === -errno.ERANGE || set === -errno.E2BIG;
    if (!noRoom) {
      written(set);
      return;
    }
  }
  fileMap(file, Buffer.from(record), (result) => {
    // The one in the xattr is older: its version says so, should it stay.
    if (result >= 0 && !file.dead && !holes.filed) backing.fremovexattr(file.handle, XATTR_MAP);
    if (result >= 0) {
      holes.filed = true;
      holes.unsynced = true;
    }
    written(result);
  });
}

/** Replaces the map's file, durably and at once. 0 or -errno. */
function fileMap(file: OpenFile, record: Buffer, done: Done): void {
  const { backing, executor } = file.volume;
  const { root } = backing;
  const temporary = file.volume.temporaryName();
  const target = backing.createFile(root, temporary, 0o600);
  if (target < 0) {
    done(target);
    return;
  }
  const name = mapFileName((file.header as { tag: Buffer }).tag);
  const buffer = pinned(record.length);
  record.copy(buffer.bytes);
  const { length } = record;
  const end = (result: number): void => {
    backing.close(target);
    let last = result;
    if (last >= 0) last = backing.rename(root, temporary, root, name, 0);
    if (last < 0) backing.unlink(root, temporary);
    done(Math.min(last, 0));
  };
  executor.run({ op: 'pwrite', handle: target, buffer, at: 0, length, offset: 0 }, (wrote) => {
    if (wrote < length) end(wrote < 0 ? wrote : -errno.ENOSPC);
    else executor.run({ op: 'fdatasync', handle: target }, end);
  });
}
