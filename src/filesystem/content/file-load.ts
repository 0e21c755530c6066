import { timingSafeEqual } from 'node:crypto';
import { errno } from '../../base/errno.js';
import { repeat } from '../../base/repeat.js';
import { type FileHeader, openHeaderPair } from '../../format/file/file-header.js';
import { FRAME_OVERHEAD, HEADER_REGION } from '../../format/file/geometry.js';
import { judgeBinding, XATTR } from '../../format/names/binding.js';
import { Stat } from '../../libc/stat.js';
import { flag } from '../inodes/inode-table.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import { FileKeys } from './file-keys.js';
import { adoptMap, recoverHoles } from './hole-recovery.js';
import { NOT_AUTHENTIC, type OpenFile } from './open-file.js';

type Done = (result: number) => void;

const xattr = Buffer.alloc(1024);
const stat = new Stat();

/**
 * Reads and verifies a file's header and binding and gives them to the file. `done`: 0 or -errno. A small file's only
 * chunk comes along in the same read and is cached.
 */
export function loadFile(file: OpenFile, io: IoBuffers, done: Done): void {
  const { backing, table, geometry } = file.volume;
  const known = backing.fstat(file.descriptor, stat);
  if (known < 0 || !stat.isRegular) {
    done(known < 0 ? known : -errno.EIO);
    return;
  }
  if (stat.size === 0) {
    table.size[file.slot] = 0;
    file.adopt(undefined);
    done(0);
    return;
  }
  const backingSize = stat.size;
  const length = Math.min(backingSize, HEADER_REGION + geometry.stride);
  file.run({ op: 'pread', buffer: io.sealed, at: 0, length, offset: 0 }, done, (got) => {
    if (got < 0) done(got);
    else if (got <= HEADER_REGION) done(-errno.EIO);
    else judge(file, io, backingSize, got, done);
  });
}

function judge(file: OpenFile, io: IoBuffers, backingSize: number, got: number, done: Done): void {
  const { geometry, table } = file.volume;
  const lenient = file.volume.mayBeBehind(file.slot);
  const scopeKeys = file.scope.live;
  const pair = openHeaderPair((epoch) => scopeKeys.at(epoch)?.header, file.context, io.sealed.bytes, 0);
  if (pair.state === 'bad' || (pair.state === 'torn' && !lenient)) {
    done(-errno.EIO);
    return;
  }
  const { header } = pair;
  if (scopeKeys.at(header.firstEpoch) === undefined) {
    done(-errno.EIO);
    return;
  }
  const keys = FileKeys.derive(scopeKeys, header.fileId, header.firstEpoch);
  if (keys === undefined) {
    done(-errno.ENFILE);
    return;
  }
  const size = geometry.plainSize(backingSize);
  const authentic = timingSafeEqual(keys.tag, header.tag) && bound(file, header.tag);
  if (!authentic || (size !== header.size && !lenient)) {
    keys.close();
    done(-errno.EIO);
    return;
  }
  file.adopt({ header, keys, dirty: pair.state === 'torn' });
  const mapped = adoptMap(file);
  if (mapped < 0) {
    file.unload();
    done(mapped);
    return;
  }
  const finish = (): void => {
    table.size[file.slot] = header.size;
    // Repaired: once that is stored, it is a file like any other.
    if (file.volume.leftBehind.has(table.ino[file.slot] as number)) file.headerDirty = true;
    const single = header.size <= geometry.chunkSize && file.hasChunk(0);
    if (single && got === HEADER_REGION + FRAME_OVERHEAD + header.size) {
      if (keys.open(io.sealed, HEADER_REGION, 0, header.size, io.edges.address)) {
        file.volume.chunks.put(file, 0, io.edges.address, header.size);
      }
    }
    done(0);
  };
  const settle = (result: number): void => {
    if (result >= 0) {
      finish();
      return;
    }
    file.unload();
    done(result);
  };
  const holes = (result: number): void => {
    if (result < 0 || !lenient) settle(result);
    else recoverHoles(file, io, settle);
  };
  if (size === header.size) holes(0);
  else recover(file, io, header, backingSize, holes);
}

/** After an unclean stop: keeps what opens, from the synced size on, and cuts off the rest. */
function recover(file: OpenFile, io: IoBuffers, header: FileHeader, backingSize: number, done: Done): void {
  const { volume, slot } = file;
  const { geometry } = volume;
  const limit = geometry.plainSizeTrimmed(backingSize);
  if (limit < header.syncedSize) {
    done(-errno.EIO);
    return;
  }
  let chunk = geometry.chunkOf(Math.min(header.size, header.syncedSize));
  const cutTo = (size: number): void => {
    volume.tell({ kind: 'recovered', ...volume.whereabouts(slot), before: header.size, after: size });
    header.size = size;
    header.chunks = Math.min(geometry.chunksOf(size), Math.max(header.chunks, chunk));
    header.syncedChunks = Math.min(header.syncedChunks, header.chunks);
    file.holes.cut(header.chunks);
    file.headerDirty = true;
    if (volume.readOnly) {
      done(0);
      return;
    }
    const length = geometry.backingSize(size);
    file.run({ op: 'ftruncate', length, from: backingSize }, done, done);
  };
  repeat((again) => {
    const extent = geometry.extent(chunk, limit);
    if (extent === 0) {
      cutTo(limit);
      return;
    }
    if (file.holes.has(chunk)) {
      chunk++;
      again();
      return;
    }
    file.fetchRaw(io, { index: chunk, extent }, 0, (result) => {
      if (result === NOT_AUTHENTIC) {
        endOfTrust(file, io, header, chunk, limit, (size) => {
          if (size < 0) done(size);
          else if (size < header.syncedSize) done(-errno.EIO);
          else cutTo(size);
        });
      } else if (result < 0) {
        // The disk's own error says nothing of the chunk: cut nothing.
        done(result);
      } else {
        chunk++;
        again();
      }
    });
  });
}

/** Where a file ends whose chunk `chunk` does not open at the backing's size; or -errno of the disk. */
function endOfTrust(
  file: OpenFile,
  io: IoBuffers,
  header: FileHeader,
  chunk: number,
  limit: number,
  then: (size: number) => void,
): void {
  const { geometry } = file.volume;
  const start = chunk * geometry.chunkSize;
  if (chunk >= header.chunks) {
    // A hole that the header knows of, or growth that got no data.
    then(Math.min(limit, Math.max(header.size, start)));
    return;
  }
  // A last chunk that was about to grow or was cut already has the length that the header's size gives it.
  const extent = geometry.extent(chunk, header.size);
  const last = chunk === geometry.chunksOf(header.size) - 1 && header.size <= limit;
  if (!last || extent === geometry.extent(chunk, limit)) {
    then(Math.min(limit, start));
    return;
  }
  file.fetchRaw(io, { index: chunk, extent }, 0, (result) => {
    if (result === 0) then(header.size);
    else then(result === NOT_AUTHENTIC ? Math.min(limit, start) : result);
  });
}

/** Whether the file's binding names this tag and, unless it has no name any more, its name. */
function bound(file: OpenFile, tag: Buffer): boolean {
  const { table, backing, directories } = file.volume;
  const length = backing.fgetxattr(file.descriptor, XATTR, xattr);
  if (length < 0) return false;
  const named = Buffer.alloc(16);
  const parent = directories.get(table.parent[file.slot] as number);
  const unlinked = table.has(file.slot, flag.UNLINKED) || parent === undefined;
  const place = { directory: parent?.id ?? Buffer.alloc(16), name: table.name[file.slot] as string };
  const verdict = judgeBinding(file.scope.live.since(0), xattr.subarray(0, length), place, named);
  return timingSafeEqual(named, tag) && (verdict !== 'mismatch' || unlinked);
}
