import { errno } from '../base/errno.js';
import type { ScopeId } from '../base/ids.js';
import type { Caller, DirectorySink, NodeId, Reply } from './contract.js';
import { Files } from './handles/files.js';
import { Handles } from './handles/handles.js';
import { Space } from './handles/space.js';
import { flag, NO_SLOT, ROOT_SLOT, type Slot } from './inodes/inode-table.js';
import type { Scope } from './inodes/scope.js';
import { type KnownScope, Volume, type VolumeOptions } from './inodes/volume.js';
import { Bindings } from './names/bindings.js';
import { Making } from './names/creation.js';
import { Listing } from './names/listing.js';
import { Namespace } from './names/namespace.js';
import { Nodes } from './names/nodes.js';
import { Removal } from './names/removal.js';
import { Renaming } from './names/renaming.js';
import { Xattrs } from './names/xattrs.js';
import { type LockEvents, Locks } from './scopes/locks.js';
import { ScopeAccess } from './scopes/scope-access.js';
import { ScopeCreation } from './scopes/scope-creation.js';
import { ScopeRemoval } from './scopes/scope-removal.js';

export interface CoreEvents extends LockEvents {
  /** A scope's root got another path below its parent scope. */
  moved(scope: ScopeId, path: string): void;
  /** A file was repaired after an unclean stop; `path` is below its scope's root. */
  recovered(scope: ScopeId, path: string, before: number, after: number): void;
  /** A file's last write-back failed after it was closed. */
  writeBackFailed(scope: ScopeId, path: string, error: number): void;
}

/**
 * The filesystem: the single writer behind every transport. `files`, `namespace`, `removal`, `renaming` and the methods here are the
 * contract's operations; the rest is for the control plane.
 */
export class Core {
  readonly volume: Volume;
  readonly nodes: Nodes;
  readonly namespace: Namespace;
  readonly making: Making;
  readonly removal: Removal;
  readonly renaming: Renaming;
  readonly xattrs: Xattrs;
  readonly files: Files;
  readonly space: Space;
  readonly #handles = new Handles();
  readonly locks: Locks;
  readonly access: ScopeAccess;
  readonly creation: ScopeCreation;
  readonly scopeRemoval: ScopeRemoval;

  constructor(options: VolumeOptions, scopes: readonly KnownScope[], events: CoreEvents) {
    this.volume = new Volume(options);
    this.nodes = new Nodes(this.volume);
    const bindings = new Bindings(this.volume);
    this.namespace = new Namespace(this.volume, this.nodes, bindings);
    this.making = new Making(this.volume, this.nodes);
    this.removal = new Removal(this.volume, this.nodes);
    this.renaming = new Renaming(this.volume, this.nodes, this.removal, bindings);
    this.xattrs = new Xattrs(this.volume, this.nodes);
    this.files = new Files(this.volume, this.nodes, this.making, this.#handles);
    this.space = new Space(this.volume, this.files);
    this.locks = new Locks(this.volume, this.#handles, this.files, events);
    this.access = new ScopeAccess(this.volume, this.nodes, this.locks);
    this.creation = new ScopeCreation(this.volume, this.nodes, this.making, this.access);
    this.scopeRemoval = new ScopeRemoval(this.volume, this.access, this.locks);
    this.nodes.onMoved = (scope, path) => events.moved(scope.id, path);
    const pathOf = (at: Slot): string => this.volume.directories.pathInScope(at) ?? '?';
    this.volume.onRecovered = (at, before, after) =>
      events.recovered(this.volume.scopeOf(at).id, pathOf(at), before, after);
    this.volume.onWriteBackFailed = (at, error) =>
      events.writeBackFailed(this.volume.scopeOf(at).id, pathOf(at), error);
    for (const known of scopes) this.volume.addScope(known);
    const root = this.volume.scopes[0];
    if (root === undefined) throw new Error('a volume needs a root scope');
    const { table, backing, stat } = this.volume;
    const slot = table.allocate(0, NO_SLOT, '');
    table.lookups[slot] = 1;
    table.set(slot, flag.SCOPE_ROOT);
    root.root = slot;
    if (backing.fstat(backing.root, stat) < 0) throw new Error('the tree cannot be read');
    table.fill(slot, stat, stat.size);
    table.parent[slot] = ROOT_SLOT;
  }

  scope(id: ScopeId): Scope | undefined {
    return this.volume.scope(id);
  }
  /** Where a scope is below its parent scope, as its label says; its directory corrects that when it is seen. */
  label(id: ScopeId, path: string): void {
    const scope = this.volume.scope(id);
    if (scope !== undefined) scope.path = path;
  }

  // Directories and the volume as a whole.

  opendir(node: NodeId, caller: Caller, reply: Reply): void {
    const directory = this.nodes.directory(node, caller, 'use');
    if (typeof directory === 'number') {
      reply.error(-directory);
      return;
    }
    const { slot, scope } = directory;
    const { table } = this.volume;
    const listing = new Listing(this.volume, this.nodes, directory);
    const handle = this.#handles.add({
      slot,
      scope,
      file: undefined,
      listing,
      own: caller.trusted,
      dead: false,
    });
    table.set(slot, flag.PAGES);
    // The kernel's cached listings would mix the offsets of several handles, each of which has its own (README.md).
    reply.opened(handle, { keepCache: false });
  }

  readdir(
    node: NodeId,
    number: number,
    offset: number,
    caller: Caller,
    sink: DirectorySink,
    reply: Reply,
  ): void {
    const handle = this.#handles.get(number);
    const slot = handle?.dead === true ? -errno.ENOKEY : this.nodes.usable(node, caller, 'handle');
    if (slot < 0 || handle?.listing === undefined) reply.error(slot < 0 ? -slot : errno.EBADF);
    else handle.listing.fill(offset, sink, reply);
  }

  releasedir(number: number, reply: Reply): void {
    this.#handles.remove(number);
    reply.ok();
  }

  fsyncdir(node: NodeId, caller: Caller, reply: Reply): void {
    const slot = this.nodes.usable(node, caller, 'drain');
    const directory = slot < 0 ? undefined : this.volume.directories.get(slot);
    if (directory === undefined) {
      reply.error(slot < 0 ? -slot : errno.ENOTDIR);
      return;
    }
    this.volume.aside.run(directory, 'fsync', [], reply, (result) => {
      if (result < 0) reply.error(-result);
      else reply.ok();
    });
  }

  statfs(reply: Reply): void {
    const usage = this.volume.backing.usage(this.volume.backing.root);
    if (typeof usage === 'number') reply.error(-usage);
    else reply.usage(usage);
  }
}
