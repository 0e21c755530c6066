import { errno } from '../../base/errno.js';
import type { FileHeader } from '../../format/file/file-header.js';
import { FRAME_OVERHEAD, MAX_SIZE } from '../../format/file/geometry.js';
import type { HoleMap } from '../../format/file/hole-map.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import { flushHeader } from './file-flush.js';
import type { OpenFile } from './open-file.js';

type Done = (result: number) => void;

/**
 * Sets the size. A last chunk whose extent changes is sealed anew at its new length; what a growing file gains is a
 * hole. `done`: 0 or -errno, and then the file is as it was. The file must be loaded, unless the size is 0.
 */
export function truncateFile(file: OpenFile, io: IoBuffers, size: number, done: Done): void {
  const old = file.size;
  if (size > MAX_SIZE) {
    done(-errno.EFBIG);
  } else if (size === old && size !== 0) {
    done(file.touch());
  } else if (size === 0) {
    new Truncation(file, io, 0, done).empty();
  } else {
    const prepared = file.prepareToSeal();
    if (prepared < 0) done(prepared);
    else new Truncation(file, io, size, done).run();
  }
}

class Truncation {
  readonly file: OpenFile;
  readonly io: IoBuffers;
  readonly size: number;
  readonly old: number;
  readonly done: Done;
  /** The header as it was, to go back to. */
  readonly before: Pick<FileHeader, 'size' | 'syncedSize' | 'chunks' | 'syncedChunks'> | undefined;
  readonly holes: HoleMap;
  /** The chunk at the smaller of both ends, and its lengths before and after. */
  readonly edge: number;
  readonly lengthBefore: number;
  readonly lengthAfter: number;
  /** Of the holes, before. */
  readonly changes: number;
  #resealed = false;

  constructor(file: OpenFile, io: IoBuffers, size: number, done: Done) {
    const { geometry } = file.volume;
    this.file = file;
    this.io = io;
    this.size = size;
    this.old = file.size;
    this.done = done;
    const { header } = file;
    this.before =
      header === undefined
        ? undefined
        : {
            size: header.size,
            syncedSize: header.syncedSize,
            chunks: header.chunks,
            syncedChunks: header.syncedChunks,
          };
    this.holes = file.holes.snapshot();
    this.changes = file.holes.changes;
    this.edge = geometry.chunksOf(Math.min(size, this.old)) - 1;
    this.lengthBefore = geometry.extent(this.edge, this.old);
    this.lengthAfter = geometry.extent(this.edge, size);
  }

  get #header(): FileHeader {
    return this.file.header as FileHeader;
  }

  empty(): void {
    this.file.cuts++;
    this.#setBackingSize(
      0,
      () => {
        this.file.reset();
        this.done(this.file.touch());
      },
      this.done,
    );
  }

  run(): void {
    const { file } = this;
    if (!file.hasChunk(this.edge) || this.lengthBefore === this.lengthAfter) {
      file.volume.chunks.drop(file);
      this.#resize();
      return;
    }
    file.fetch(this.io, { index: this.edge, extent: this.lengthBefore }, 0, (fetched) => {
      if (fetched < 0) {
        this.done(fetched);
        return;
      }
      const { bytes } = this.io.edges;
      if (this.lengthAfter > this.lengthBefore) bytes.fill(0, this.lengthBefore, this.lengthAfter);
      file.volume.chunks.drop(file);
      this.#resealed = true;
      this.#writeEdge(this.lengthAfter, (result) => {
        if (result < 0) this.#undo(result);
        else this.#resize();
      });
    });
  }

  #resize(): void {
    // Before the header says so: an fsync under way must not put the old size back.
    if (this.size < this.old) this.file.cuts++;
    if (this.size > this.old) {
      this.#setBackingSize(
        this.size,
        () => this.#writeHeader(this.#succeed),
        (error) => this.#undo(error),
      );
      return;
    }
    // Shrinking what is durable: the header must say so, durably, before the data goes; else a power cut between
    // would show a file that is shorter than its header promises.
    const durable = (this.before?.syncedSize ?? 0) > this.size;
    this.#writeHeader(() => {
      const cut = (): void => {
        this.#setBackingSize(this.size, this.#succeed, (error) => this.#undo(error));
      };
      if (!durable) {
        cut();
        return;
      }
      this.file.run({ op: 'fdatasync' }, this.done, (result) => {
        if (result < 0) {
          // A failed sync is nobody's alone: the next fsync must not say that all is well.
          this.file.failed ||= -result;
          this.#undo(result);
        } else cut();
      });
    });
  }

  readonly #succeed = (): void => {
    this.file.volume.table.size[this.file.slot] = this.size;
    this.file.touch();
    this.done(0);
  };

  #writeHeader(then: () => void): void {
    const header = this.#header;
    header.size = this.size;
    header.syncedSize = Math.min(header.syncedSize, this.size);
    header.chunks = Math.min(header.chunks, this.file.volume.geometry.chunksOf(this.size));
    header.syncedChunks = Math.min(header.syncedChunks, header.chunks);
    this.file.holes.cut(header.chunks);
    this.file.headerDirty = true;
    flushHeader(this.file, this.io, (result) => {
      if (result < 0) this.#undo(result);
      else then();
    });
  }

  #setBackingSize(size: number, then: () => void, failed: Done): void {
    const { geometry, table } = this.file.volume;
    const length = geometry.backingSize(size);
    const from = geometry.backingSize(this.old);
    this.file.run({ op: 'ftruncate', length, from }, this.done, (result) => {
      if (result < 0) {
        failed(result);
      } else {
        table.size[this.file.slot] = size;
        then();
      }
    });
  }

  /** Seals the edge chunk, whose plaintext lies in the first edge buffer, at a length. */
  #writeEdge(length: number, then: Done): void {
    const { file, io } = this;
    const { geometry } = file.volume;
    // Also here: a slot may have been removed while the chunk was read.
    const prepared = file.prepareToSeal();
    if (prepared < 0) {
      then(prepared);
      return;
    }
    file.keys.nonces(io.sealed, 0, geometry.stride, 1);
    file.keys.seal(io.sealed, 0, this.edge, length, io.edges.address);
    const stored = FRAME_OVERHEAD + length;
    const offset = geometry.frameOffset(this.edge);
    file.run({ op: 'pwrite', buffer: io.sealed, at: 0, length: stored, offset }, this.done, (wrote) => {
      then(wrote === stored ? 0 : wrote < 0 ? wrote : -errno.ENOSPC);
    });
  }

  /** Puts everything back as it was and reports `error`. What can't be put back is a sticky error of the file. */
  #undo(error: number): void {
    const { file, before, old } = this;
    if (file.dead) {
      this.done(-errno.ENOKEY);
      return;
    }
    const sized = (): void => {
      // Also where the disk's size could not be put back: then the file says so at every fsync.
      file.volume.table.size[file.slot] = old;
      if (old === 0) {
        file.reset();
      } else {
        Object.assign(this.#header, before);
        if (file.holes.changes !== this.changes) file.holes.restore(this.holes);
        file.headerDirty = true;
      }
      this.done(error);
    };
    const resize = (): void =>
      this.#setBackingSize(old, sized, (failed) => {
        file.failed ||= -failed;
        sized();
      });
    if (!this.#resealed || old === 0) {
      resize();
      return;
    }
    this.#writeEdge(this.lengthBefore, (result) => {
      if (result < 0) file.failed ||= errno.EIO;
      resize();
    });
  }
}
