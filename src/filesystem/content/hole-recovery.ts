import { errno } from '../../base/errno.js';
import { repeat } from '../../base/repeat.js';
import type { FileHeader } from '../../format/file/file-header.js';
import {
  type HoleMap,
  MAP_INLINE,
  MAP_LARGEST,
  mapFileName,
  mapTag,
  openMap,
  XATTR_MAP,
} from '../../format/file/hole-map.js';
import { pinned } from '../../libc/memory.js';
import { Stat } from '../../libc/stat.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import { NOT_AUTHENTIC, type OpenFile } from './open-file.js';

const record = Buffer.alloc(MAP_INLINE);
const stat = new Stat();

interface Found {
  readonly map: HoleMap;
  readonly version: number;
  readonly filed: boolean;
}

/**
 * Reads a file's hole map. 0 or -errno: EIO where it is missing, not authentic or older than the header says. A newer
 * one is the truth, whose header was not written. Of a file that was written in a session that stopped uncleanly an older
 * one may be all there is, down to what an fsync confirmed, or none.
 */
export function adoptMap(file: OpenFile): number {
  const { header, volume } = file;
  if (header === undefined || !header.sparse) return 0;
  const forgiven = volume.forgives(file.slot, header);
  const oldest = forgiven ? header.syncedMapVersion : header.mapVersion;
  const right = ({ version }: Found): boolean => version >= oldest;
  const found = [inline(file, header), filed(file, header)];
  // Both are replaced at once: a power cut leaves none that is of this file and does not open.
  if (found.includes('bad')) return -errno.EIO;
  const candidates = found.filter((one): one is Found => one !== undefined && one !== 'bad' && right(one));
  const best = candidates.sort((a, b) => b.version - a.version)[0];
  if (best === undefined) return forgiven && header.syncedMapVersion === 0 ? 0 : -errno.EIO;
  file.holes.adopt(best.map);
  file.holes.filed = best.filed;
  file.holes.cut(header.chunks);
  if (best.version !== header.mapVersion) {
    // The next one must be newer than both.
    header.mapVersion = Math.max(header.mapVersion, best.version);
    file.holes.dirty = true;
  }
  return 0;
}

function open(file: OpenFile, header: FileHeader, bytes: Buffer, isFile: boolean): Found | 'bad' | undefined {
  const keys = (epoch: number) => file.scope.live.at(epoch)?.header;
  // Of an identity that the file had before.
  if (!mapTag(bytes).equals(header.tag)) return undefined;
  const opened = openMap(keys, header.tag, bytes);
  return opened === undefined ? 'bad' : { ...opened, filed: isFile };
}

function inline(file: OpenFile, header: FileHeader): Found | 'bad' | undefined {
  const length = file.volume.backing.fgetxattr(file.descriptor, XATTR_MAP, record);
  return length < 0 || length > MAP_INLINE
    ? undefined
    : open(file, header, record.subarray(0, length), false);
}

function filed(file: OpenFile, header: FileHeader): Found | 'bad' | undefined {
  const { backing } = file.volume;
  const descriptor = backing.openFile(backing.root, mapFileName(header.tag));
  if (descriptor < 0) return undefined;
  const known = backing.fstat(descriptor, stat);
  let found: Found | 'bad' | undefined;
  if (known >= 0 && stat.isRegular && stat.size > 0 && stat.size <= MAP_LARGEST) {
    const length = stat.size;
    const buffer = pinned(length);
    const got = backing.perform({ op: 'pread', descriptor, buffer, at: 0, length, offset: 0 });
    if (got === length) found = open(file, header, buffer.bytes, true);
  }
  backing.close(descriptor);
  return found;
}

/** Chunks looked at before others have a turn. */
const AT_ONCE = 8;

/**
 * After an unclean stop, of a file that was written in that session: what was written into holes, or beyond the durable
 * chunks, and does not open is a hole (again). What was found is made durable, so it is looked for once. 0 or -errno.
 */
export function recoverHoles(file: OpenFile, io: IoBuffers, done: (result: number) => void): void {
  const { header, holes, volume } = file;
  if (header === undefined || !(header.sparse || !holes.clean) || !volume.forgives(file.slot, header)) {
    done(0);
    return;
  }
  const { geometry } = volume;
  const doubtful = holes.map.filled.copy();
  doubtful.add(header.syncedChunks, header.chunks);
  let chunk = 0;
  let looked = 0;
  const settle = (): void => {
    file.run({ op: 'fsync' }, done, (result) => {
      if (result < 0) {
        done(result);
      } else {
        holes.settle();
        header.syncedChunks = header.chunks;
        // In this session, so that the next mount need not look.
        file.headerDirty = true;
        done(0);
      }
    });
  };
  repeat((again) => {
    const range = doubtful.next(chunk);
    if (range === undefined) {
      settle();
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
    file.fetchRaw(io, { index, extent: geometry.extent(index, header.size) }, 0, (result) => {
      if (result < 0 && result !== NOT_AUTHENTIC) {
        done(result);
        return;
      }
      if (result === NOT_AUTHENTIC) holes.dig(index, index + 1);
      if (++looked % AT_ONCE !== 0) again();
      else file.yield(done, again);
    });
  });
}
