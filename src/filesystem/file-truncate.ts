import { errno } from '../base/errno.js';
import type { FileHeader } from '../format/file-header.js';
import { FRAME_OVERHEAD, MAX_SIZE } from '../format/geometry.js';
import { UTIME_NOW, UTIME_OMIT } from '../libc/files.js';
import type { IoBuffers } from './io-buffers.js';
import type { OpenFile } from './open-file.js';

/**
 * Sets the size. A last chunk whose extent changes is sealed anew at its new length; what a growing file gains is a
 * hole. `done`: 0 or -errno. The file must be loaded.
 */
export function truncateFile(
  file: OpenFile,
  io: IoBuffers,
  size: number,
  done: (result: number) => void,
): void {
  const { geometry, executor, table, backing } = file.volume;
  const old = file.size;
  if (size > MAX_SIZE) {
    done(-errno.EFBIG);
    return;
  }
  const cut = (then: () => void): void => {
    executor.run({ op: 'ftruncate', handle: file.handle, length: geometry.backingSize(size) }, (result) => {
      if (file.dead) done(-errno.ENOKEY);
      else if (result < 0) done(result);
      else {
        table.size[file.slot] = size;
        then();
      }
    });
  };
  if (size === old) {
    done(backing.futimes(file.handle, 0, UTIME_OMIT, 0, UTIME_NOW));
    return;
  }
  if (size === 0) {
    cut(() => {
      file.reset();
      done(0);
    });
    return;
  }
  if (file.header === undefined) {
    const begun = file.begin();
    if (begun < 0) {
      done(begun);
      return;
    }
  }
  const header = file.header as FileHeader;
  const finish = (): void => {
    cut(() => {
      header.size = size;
      header.syncedSize = Math.min(header.syncedSize, size);
      header.chunks = Math.min(header.chunks, geometry.chunksOf(size));
      file.headerDirty = true;
      file.flushHeader(io, (result) => {
        backing.futimes(file.handle, 0, UTIME_OMIT, 0, UTIME_NOW);
        if (result < 0 && old === 0) abandon(result);
        else done(result);
      });
    });
  };
  // The chunk at the smaller of both ends: cut or filled up.
  const edge = geometry.chunksOf(Math.min(size, old)) - 1;
  const before = geometry.extent(edge, old);
  const after = geometry.extent(edge, size);
  if (edge < 0 || edge >= header.chunks || before === after) {
    file.volume.chunks.drop(file);
    finish();
    return;
  }
  file.fetch(io, edge, before, 0, (fetched) => {
    if (fetched < 0) {
      done(fetched);
      return;
    }
    if (after > before) io.edges.bytes.fill(0, before, after);
    file.volume.chunks.drop(file);
    file.key.nonces(io.sealed, 0, geometry.stride, 1);
    file.sealFrame(io.sealed, 0, edge, after, io.edges.address);
    const length = FRAME_OVERHEAD + after;
    executor.run(
      {
        op: 'pwrite',
        handle: file.handle,
        buffer: io.sealed,
        at: 0,
        length,
        offset: geometry.frameOffset(edge),
      },
      (wrote) => {
        if (file.dead) done(-errno.ENOKEY);
        else if (wrote === length) finish();
        else restore(wrote < 0 ? wrote : -errno.ENOSPC);
      },
    );
  });

  /** An empty file's first header could not be written: it stays empty. */
  function abandon(error: number): void {
    executor.run({ op: 'ftruncate', handle: file.handle, length: 0 }, () => {
      table.size[file.slot] = 0;
      file.reset();
      done(error);
    });
  }

  /** The longer frame did not fit: put the old one back, at the old length. */
  function restore(error: number): void {
    file.key.nonces(io.sealed, 0, geometry.stride, 1);
    file.sealFrame(io.sealed, 0, edge, before, io.edges.address);
    const length = FRAME_OVERHEAD + before;
    const offset = geometry.frameOffset(edge);
    executor.run({ op: 'pwrite', handle: file.handle, buffer: io.sealed, at: 0, length, offset }, (again) => {
      if (again < length) file.failed ||= errno.EIO;
      executor.run({ op: 'ftruncate', handle: file.handle, length: geometry.backingSize(old) }, () =>
        done(error),
      );
    });
  }
}
