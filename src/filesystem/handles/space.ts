import { type Allocation, allocateFile, seekFile } from '../content/file-allocate.js';
import { WHOLE } from '../content/file-queue.js';
import { LOADED, Operation } from '../content/operation.js';
import { type Caller, type NodeId, Refusal, type Reply } from '../contract.js';
import { flag } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { AttributeOperations } from './attributes.js';
import type { Files } from './files.js';

/** Where a file has room, and where it has none: FALLOCATE and LSEEK. */
export class Space {
  readonly #volume: Volume;
  readonly #files: Files;
  readonly #attributes: AttributeOperations;

  constructor(volume: Volume, files: Files, attributes: AttributeOperations) {
    this.#volume = volume;
    this.#files = files;
    this.#attributes = attributes;
  }

  fallocate(node: NodeId, number: number, what: Allocation, caller: Caller, reply: Reply): void {
    const file = this.#files.fileOf(node, number, caller, 'handle');
    if (file instanceof Refusal) {
      reply.refuse(file);
      return;
    }
    Operation.run(file, WHOLE, reply, LOADED, (operation) => {
      // The kernel leaves this to us and does not say who has CAP_FSETID: root has.
      const cleared = caller.uid === 0 ? 0 : this.#attributes.killPrivileges(file.slot);
      if (cleared < 0) {
        operation.leave();
        reply.error(-cleared);
        return;
      }
      allocateFile(file, operation.buffers, what, (result) => {
        this.#volume.table.set(file.slot, flag.STALE);
        operation.leave();
        if (result < 0) reply.error(-result);
        else reply.ok();
      });
    });
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
    const file = this.#files.fileOf(node, number, caller, 'handle');
    if (file instanceof Refusal) {
      reply.refuse(file);
      return;
    }
    Operation.run(file, { ...WHOLE, exclusive: false }, reply, LOADED, (operation) => {
      const found = seekFile(file, offset, what);
      operation.leave();
      if (found < 0) reply.error(-found);
      else reply.position(found);
    });
  }
}
