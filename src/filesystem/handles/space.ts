import { type Allocation, allocateFile, seekFile } from '../content/file-allocate.js';
import { WHOLE } from '../content/file-queue.js';
import type { Caller, NodeId, Reply } from '../contract.js';
import { flag } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Files } from './files.js';

/** Where a file has room, and where it has none: FALLOCATE and LSEEK. */
export class Space {
  readonly #volume: Volume;
  readonly #files: Files;

  constructor(volume: Volume, files: Files) {
    this.#volume = volume;
    this.#files = files;
  }

  fallocate(node: NodeId, number: number, what: Allocation, caller: Caller, reply: Reply): void {
    const file = this.#files.fileOf(node, number, caller, 'handle', reply);
    if (file === undefined) return;
    this.#files.inside(
      file,
      () => WHOLE,
      reply,
      { load: true },
      ({ io, leave }) => {
        // The kernel leaves this to us and does not say who has CAP_FSETID: root has.
        if (caller.uid !== 0) this.#files.attributes.killPrivileges(file.slot);
        allocateFile(file, io, what, (result) => {
          this.#volume.table.set(file.slot, flag.STALE);
          leave();
          if (result < 0) reply.error(-result);
          else reply.ok();
        });
      },
    );
  }

  /** Where the next data or hole from `offset` on begins. */
  seek(
    node: NodeId,
    number: number,
    offset: number,
    what: 'data' | 'hole',
    caller: Caller,
    reply: Reply,
  ): void {
    const file = this.#files.fileOf(node, number, caller, 'handle', reply);
    if (file === undefined) return;
    const all = { ...WHOLE, exclusive: false };
    this.#files.inside(
      file,
      () => all,
      reply,
      { load: true },
      ({ leave }) => {
        const found = seekFile(file, offset, what);
        leave();
        if (found < 0) reply.error(-found);
        else reply.position(found);
      },
    );
  }
}
