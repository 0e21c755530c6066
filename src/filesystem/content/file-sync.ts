import type { IoBuffers } from '../inodes/io-buffers.js';
import { flushHeader } from './file-flush.js';
import type { OpenFile } from './open-file.js';

/**
 * Makes a loaded file durable. `submitted`: header and map are out, so that others may work on the file meanwhile. `done`: 0
 * or -errno; a failed fsync stays failed.
 */
export function syncFile(
  file: OpenFile,
  io: IoBuffers,
  dataOnly: boolean,
  submitted: () => void,
  done: (result: number) => void,
): void {
  const { header, holes } = file;
  const size = header?.size ?? 0;
  const chunks = header?.chunks ?? 0;
  flushHeader(file, io, (flushed) => {
    if (file.failed !== 0 || flushed < 0) {
      done(file.failed !== 0 ? -file.failed : flushed);
      return;
    }
    const op = dataOnly && !holes.unsynced ? 'fdatasync' : 'fsync';
    const { cuts } = file;
    const { changes } = holes;
    const map = header?.mapVersion ?? 0;
    const wasUnsynced = holes.unsynced;
    holes.unsynced = false;
    file.run({ op }, done, (result) => {
      if (result < 0) {
        file.failed ||= -result;
        if (wasUnsynced) holes.unsynced = true;
      } else if (header !== undefined && file.header === header && file.cuts === cuts) {
        // Only now: a header that claimed it before the data was durable would condemn the file at a power cut.
        const synced = Math.min(size, header.size);
        if (header.syncedSize < synced) {
          header.syncedSize = synced;
          file.headerDirty = true;
        }
        if (holes.changes === changes) {
          holes.settle();
          if (header.sparse && header.syncedMapVersion < map) {
            header.syncedMapVersion = map;
            file.headerDirty = true;
          }
          if (header.syncedChunks < chunks) {
            header.syncedChunks = Math.min(chunks, header.chunks);
            file.headerDirty = true;
          }
        }
      }
      done(result);
    });
    submitted();
  });
}
