import { errno } from '../../base/errno.js';
import { HEADER_REGION } from '../../format/file/geometry.js';
import { MAP_INLINE, mapFileName, sealMap, XATTR_MAP } from '../../format/file/hole-map.js';
import { pinned } from '../../libc/memory.js';
import { Stat } from '../../libc/stat.js';
import { flag } from '../inodes/inode-table.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import type { OpenFile } from './open-file.js';

type Done = (result: number) => void;

const stat = new Stat();

/**
 * Writes hole map and header if they are behind, and puts the modification time back. The caller has the whole file. 0 or
 * -errno (kept in `failed`).
 */
export function flushHeader(file: OpenFile, io: IoBuffers, done: Done): void {
  if (!file.behind || file.header === undefined || file.volume.readOnly) {
    done(0);
    return;
  }
  file.volume.backing.fstat(file.descriptor, stat);
  const { mtime, mtimeNs } = stat;
  flushMap(file, (result) => {
    if (result < 0) {
      file.failed ||= -result;
      done(result);
    } else {
      writeHeader(file, io, mtime, mtimeNs, done);
    }
  });
}

function writeHeader(file: OpenFile, io: IoBuffers, mtime: number, mtimeNs: number, done: Done): void {
  file.sealHeader(io.sealed);
  // What changes from here on is not in it.
  file.headerDirty = false;
  // Also where the scope is wiped meanwhile: the write is there.
  const ended = (result: number): void => {
    file.touch(mtime, mtimeNs);
    done(result);
  };
  file.run({ op: 'pwrite', buffer: io.sealed, at: 0, length: HEADER_REGION, offset: 0 }, ended, (wrote) => {
    if (wrote === HEADER_REGION) {
      file.volume.leftBehind.delete(file.volume.table.ino[file.slot] as number);
      ended(0);
    } else {
      file.headerDirty = true;
      const result = wrote < 0 ? wrote : -errno.EIO;
      file.failed ||= -result;
      ended(result);
    }
  });
}

/**
 * Writes the hole map if it is behind, before the header that names its version: small ones to an xattr, larger ones to
 * a file. The caller has the whole file. 0 or -errno.
 */
function flushMap(file: OpenFile, done: Done): void {
  const { holes, header, volume } = file;
  if (!holes.dirty || header === undefined) {
    done(0);
    return;
  }
  if (volume.table.has(file.slot, flag.UNLINKED)) {
    // A file without a name is not opened again, unless it gets one.
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
    if (result >= 0) {
      header.mapVersion = context.version;
      header.sparse = true;
      holes.dirty = holes.changes !== changes;
    }
    done(result);
  };
  const { backing } = volume;
  if (record.length <= MAP_INLINE) {
    const set = backing.fsetxattr(file.descriptor, XATTR_MAP, record);
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
    if (file.dead) {
      done(-errno.ENOKEY);
      return;
    }
    if (result >= 0 && !holes.filed) backing.fremovexattr(file.descriptor, XATTR_MAP);
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
  executor.run({ op: 'pwrite', descriptor: target, buffer, at: 0, length, offset: 0 }, (wrote) => {
    if (wrote < length) end(wrote < 0 ? wrote : -errno.ENOSPC);
    else executor.run({ op: 'fdatasync', descriptor: target }, end);
  });
}
