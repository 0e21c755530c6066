import { errno } from '../../base/errno.js';
import { type Claim, DESCRIPTOR, WHOLE } from '../content/file-queue.js';
import { readFile } from '../content/file-read.js';
import { syncFile } from '../content/file-sync.js';
import { truncateFile } from '../content/file-truncate.js';
import { writeFile } from '../content/file-write.js';
import type { OpenFile } from '../content/open-file.js';
import type { OpenFiles } from '../content/open-files.js';
import { LOADED, Operation } from '../content/operation.js';
import {
  type Caller,
  type NewObject,
  type NodeId,
  type OpenRequest,
  type ReadRequest,
  Refusal,
  type Reply,
  type WriteRequest,
} from '../contract.js';
import type { Descriptor } from '../disk/backing.js';
import { flag, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Access } from '../names/admission.js';
import type { Creation } from '../names/creation.js';
import type { Nodes } from '../names/nodes.js';
import type { AttributeOperations } from './attributes.js';
import type { Handles } from './handles.js';

const KEEP = { keepCache: true } as const;

/** So many direct writes after the last use of the page cache, all pages are dropped, and later ones drop none. */
const QUIET_WRITES = 32;

/** Operations on the content of files, by an open handle. */
export class Files {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #creation: Creation;
  readonly #handles: Handles;
  readonly #open: OpenFiles;
  /** Operations on attributes. */
  readonly attributes: AttributeOperations;

  constructor(
    volume: Volume,
    nodes: Nodes,
    creation: Creation,
    handles: Handles,
    attributes: AttributeOperations,
  ) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#creation = creation;
    this.#handles = handles;
    this.#open = nodes.files;
    this.attributes = attributes;
  }

  #handle(file: OpenFile, own = false): number {
    const { slot, scope } = file;
    return this.#handles.add({ slot, scope, file, listing: undefined, own, dead: false });
  }

  create(parent: NodeId, name: string, wanted: NewObject, caller: Caller, reply: Reply): void {
    this.#created(this.#creation.createFile(parent, name, wanted, caller), reply);
  }
  /** O_TMPFILE. */
  createUnnamed(parent: NodeId, wanted: NewObject, caller: Caller, reply: Reply): void {
    this.#created(this.#creation.createUnnamed(parent, wanted, caller), reply);
  }
  #created(made: { slot: Slot; descriptor: Descriptor } | Refusal, reply: Reply): void {
    if (made instanceof Refusal) {
      reply.refuse(made);
      return;
    }
    const { table } = this.#volume;
    const file = this.#open.adopt(made.slot, made.descriptor);
    table.set(made.slot, flag.PAGES | flag.WRITABLE);
    const attributes = this.#nodes.attributes(made.slot);
    if (typeof attributes === 'number') {
      reply.error(-attributes);
      return;
    }
    table.lookups[made.slot] = (table.lookups[made.slot] as number) + 1;
    reply.created(table.node(made.slot), attributes, this.#handle(file));
  }

  open(node: NodeId, request: OpenRequest, caller: Caller, reply: Reply): void {
    const access = request.write || request.truncate ? 'change' : 'use';
    const slot = this.#nodes.admission.admit(node, caller, access);
    if (slot instanceof Refusal) {
      reply.refuse(slot);
      return;
    }
    const spent = caller.trusted ? 0 : (this.#volume.scopeOf(slot).meter?.open() ?? 0);
    const file = spent < 0 ? spent : this.#open.hold(slot);
    if (typeof file === 'number') {
      reply.error(-file);
      return;
    }
    const { table } = this.#volume;
    table.set(slot, flag.PAGES | (request.write ? flag.WRITABLE : 0));
    if (!request.truncate) {
      reply.opened(this.#handle(file, caller.trusted), KEEP);
      return;
    }
    const cleared = request.killPrivileges ? this.attributes.killPrivileges(slot) : 0;
    if (cleared < 0) {
      this.#open.drop(file, () => reply.error(-cleared));
      return;
    }
    const refused = (): void => this.#open.drop(file, () => {});
    Operation.run(file, WHOLE, reply, { loaded: false, refused }, (operation) => {
      truncateFile(file, operation.buffers, 0, (result) => {
        table.set(slot, flag.STALE);
        operation.leave();
        if (result < 0) this.#open.drop(file, () => reply.error(-result));
        else reply.opened(this.#handle(file), KEEP);
      });
    });
  }

  /** The file behind a request's handle, alive and of the right node. */
  fileOf(node: NodeId, number: number, caller: Caller, access: Access): OpenFile | Refusal {
    const handle = this.#handles.get(number);
    if (handle === undefined) return Refusal.failed(-errno.EBADF);
    if (handle.dead) return Refusal.for('generation');
    const slot = this.#nodes.admission.admit(node, caller, access);
    if (slot instanceof Refusal) return slot;
    const { file } = handle;
    return handle.slot === slot && file !== undefined ? file : Refusal.failed(-errno.EBADF);
  }

  read(node: NodeId, number: number, request: ReadRequest, caller: Caller, reply: Reply): void {
    const file = this.fileOf(node, number, caller, 'handle');
    if (file instanceof Refusal) {
      reply.refuse(file);
      return;
    }
    const { offset, length } = request;
    if (request.direct !== true) this.#cached(file);
    Operation.run(file, file.claim(offset, length, false), reply, LOADED, (operation) => {
      const spent = file.scope.spend(Math.max(0, Math.min(length, file.size - offset)));
      if (spent < 0) {
        operation.leave();
        reply.error(-spent);
        return;
      }
      const { buffer, at } = reply.data(length);
      readFile(file, operation.buffers, { offset, length, buffer, at }, (result) => {
        if (result > 0) this.attributes.accessed(file);
        operation.leave();
        if (result < 0) reply.error(-result);
        else reply.read(result);
      });
    });
  }

  write(node: NodeId, number: number, request: WriteRequest, caller: Caller, reply: Reply): void {
    const file = this.fileOf(node, number, caller, request.fromCache ? 'drain' : 'handle');
    if (file instanceof Refusal) {
      reply.refuse(file);
      return;
    }
    const { table } = this.#volume;
    const { offset, length } = request;
    if (request.direct !== true) this.#cached(file);
    const claim = (): Claim => (file.stores(offset, length) ? file.claim(offset, length, true) : WHOLE);
    Operation.run(file, claim, reply, LOADED, (operation) => {
      const cleared = request.killPrivileges ? this.attributes.killPrivileges(file.slot) : 0;
      if (cleared < 0) {
        operation.leave();
        reply.error(-cleared);
        return;
      }
      writeFile(file, operation.buffers, request, (result) => {
        table.set(file.slot, flag.STALE);
        operation.leave();
        if (result < 0) {
          reply.error(-result);
          return;
        }
        this.#open.bytesWritten += result;
        if (request.direct === true && table.has(file.slot, flag.CACHED)) {
          this.#dropCached(file, offset, result, () => reply.written(result));
        } else {
          reply.written(result);
        }
      });
    });
  }

  #cached(file: OpenFile): void {
    this.#volume.table.set(file.slot, flag.CACHED);
    file.cacheUses++;
    file.directWrites = 0;
  }
  /** The kernel's pages of a part that was written beside them; when those who made them seem gone, all pages, once. */
  #dropCached(file: OpenFile, offset: number, length: number, done: () => void): void {
    const { table, cache } = this.#volume;
    const node = table.node(file.slot);
    if (++file.directWrites !== QUIET_WRITES) {
      cache.dropRange(node, offset, length, done);
      return;
    }
    const { cacheUses } = file;
    cache.dropRange(node, 0, -1, () => {
      // Only now, and if nobody came meanwhile: others' writes are not to be answered before this.
      if (file.cacheUses === cacheUses) table.clear(file.slot, flag.CACHED);
      done();
    });
  }

  fsync(node: NodeId, number: number, dataOnly: boolean, caller: Caller, reply: Reply): void {
    const file = this.fileOf(node, number, caller, 'drain');
    if (file instanceof Refusal) {
      reply.refuse(file);
      return;
    }
    // Loaded, so that the synced size is known also where this program wrote nothing.
    Operation.run(file, WHOLE, reply, LOADED, (operation) => {
      const submitted = (): void => operation.narrow(DESCRIPTOR);
      syncFile(file, operation.buffers, dataOnly, submitted, (result) => {
        operation.leave();
        if (result < 0) reply.error(-result);
        else reply.ok();
      });
    });
  }

  release(number: number, reply: Reply): void {
    const handle = this.#handles.get(number);
    this.#handles.remove(number);
    if (handle?.file === undefined) reply.ok();
    else this.#open.drop(handle.file, () => reply.ok());
  }
}
