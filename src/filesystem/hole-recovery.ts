import { errno } from '../base/errno.js';
import { repeat } from '../base/repeat.js';
import { MAP_BYTES, openMap, XATTR_MAP } from '../format/hole-map.js';
import type { IoBuffers } from './io-buffers.js';
import { NOT_AUTHENTIC, type OpenFile } from './open-file.js';

const record = Buffer.alloc(MAP_BYTES);

/**
 * Reads the hole map that a file's header names. 0 or -errno: EIO where it is missing, not authentic or of another
 * version, but after an unclean stop map and header may be of different moments, or the map not there yet.
 */
export function adoptMap(file: OpenFile): number {
  const { header, volume, scope } = file;
  if (header === undefined || !header.sparse) return 0;
  const length = volume.backing.fgetxattr(file.handle, XATTR_MAP, record);
  if (length === -errno.ENODATA && volume.unclean) return 0;
  if (length < 0) return length === -errno.ENODATA ? -errno.EIO : length;
  const keys = (epoch: number) => scope.live.at(epoch)?.header;
  const opened = openMap(keys, header.tag, record.subarray(0, length));
  if (opened === undefined || (opened.version !== header.mapVersion && !volume.unclean)) return -errno.EIO;
  file.holes.adopt(opened.map);
  file.holes.cut(header.chunks);
  if (opened.version !== header.mapVersion) {
    // The next one must be newer than both.
    header.mapVersion = Math.max(header.mapVersion, opened.version);
    file.holes.dirty = true;
  }
  return 0;
}

/**
 * After an unclean stop: what was written into holes, or beyond the durable chunks, and does not open is a hole (again).
 * 0 or -errno.
 */
export function recoverHoles(file: OpenFile, io: IoBuffers, done: (result: number) => void): void {
  const { header, holes } = file;
  if (header === undefined || !(header.sparse || !holes.clean)) {
    done(0);
    return;
  }
  const { geometry } = file.volume;
  const doubtful = holes.map.filled.copy();
  doubtful.add(header.syncedChunks, header.chunks);
  let chunk = 0;
  repeat((again) => {
    const range = doubtful.next(chunk);
    if (range === undefined) {
      done(0);
      return;
    }
    chunk = Math.max(chunk, range.from);
    const hole = holes.map.holes.next(chunk);
    if (hole !== undefined && hole.from <= chunk) {
      chunk = hole.to;
      again();
      return;
    }
    const index = chunk++;
    file.fetchRaw(io, index, geometry.extent(index, header.size), 0, (result) => {
      if (result < 0 && result !== NOT_AUTHENTIC) {
        done(result);
        return;
      }
      if (result === NOT_AUTHENTIC) holes.dig(index, index + 1);
      again();
    });
  });
}
