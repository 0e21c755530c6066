import { errno } from '../../base/errno.js';
import type { Descriptor } from '../disk/backing.js';
import { flag, type Slot } from '../inodes/inode-table.js';
import type { Scope } from '../inodes/scope.js';
import type { Volume } from '../inodes/volume.js';
import { flushHeader } from './file-flush.js';
import { WHOLE } from './file-queue.js';
import { OpenFile } from './open-file.js';
import { Operation } from './operation.js';

/** The open file table: by slot, each open as long as it has handles, or something of it is not written back. */
export class OpenFiles {
  readonly #volume: Volume;
  readonly #bySlot = new Map<Slot, OpenFile>();
  /** Bytes that WRITE brought since the start: receipts tell what a lock flushed. */
  bytesWritten = 0;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  get size(): number {
    return this.#bySlot.size;
  }
  get(slot: Slot): OpenFile | undefined {
    return this.#bySlot.get(slot);
  }
  /** Of a scope, but for those that a lock has killed. */
  of(scope: Scope): OpenFile[] {
    return [...this.#bySlot.values()].filter((file) => file.scope === scope && !file.dead);
  }

  /** The file of a slot, opened if need be, with one more handle on it; or -errno. */
  hold(slot: Slot): OpenFile | number {
    const { directories, backing } = this.#volume;
    let file = this.#bySlot.get(slot);
    if (file === undefined) {
      const place = directories.place(slot);
      if (place === undefined) return -errno.ESTALE;
      const descriptor = backing.openFile(place.descriptor, place.name);
      if (descriptor < 0) return descriptor;
      file = this.#add(slot, descriptor);
    }
    file.opens++;
    return file;
  }
  /** A file that was made just now: empty, with one handle. */
  adopt(slot: Slot, descriptor: Descriptor): OpenFile {
    const file = this.#add(slot, descriptor);
    file.opens = 1;
    // Nothing is stored yet, so there is nothing to load.
    file.reset();
    return file;
  }
  #add(slot: Slot, descriptor: Descriptor): OpenFile {
    const file = new OpenFile(this.#volume, slot, this.#volume.scopeOf(slot), descriptor);
    this.#bySlot.set(slot, file);
    this.#volume.table.set(slot, flag.OPEN);
    return file;
  }

  /** One handle less; the last one writes the header back and closes. */
  drop(file: OpenFile, done: () => void): void {
    file.opens--;
    const end = (): void => {
      this.end(file);
      done();
    };
    if (file.opens > 0) {
      done();
      return;
    }
    if (file.dead) {
      // A job may still be inside, on this descriptor.
      file.queue.whenIdle(end);
      return;
    }
    const refused = (): void => file.queue.whenIdle(end);
    Operation.run(file, WHOLE, undefined, { loaded: false, refused }, (operation) => {
      flushHeader(file, operation.buffers, (result) => {
        operation.leave();
        const lost = result < 0 && !file.dead && !this.#volume.table.has(file.slot, flag.UNLINKED);
        if (lost) {
          // close(2) was answered long ago: nobody but the log can be told. What is right is here alone, so the file
          // stays: the next open finds it, and its last close or the lock tries again.
          const { volume, slot } = file;
          volume.tell({ kind: 'writeBackFailed', ...volume.whereabouts(slot), error: -result });
          done();
          return;
        }
        file.queue.whenIdle(end);
      });
    });
  }

  /** Closes a file without handles (it may have been opened again meanwhile), or one that a lock has killed. */
  end(file: OpenFile): void {
    const { table } = this.#volume;
    const { slot } = file;
    if (file.closed || (file.opens > 0 && !file.dead)) return;
    if (this.#bySlot.get(slot) === file) {
      this.#bySlot.delete(slot);
      table.clear(slot, flag.OPEN);
    }
    file.close();
    // Mapped pages were written before the kernel let go of the file (fuse_vma_close): none is dirty now.
    table.clear(slot, flag.WRITABLE);
  }
}
