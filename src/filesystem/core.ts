import { errno } from '../base/errno.js';
import type { ScopeId } from '../base/ids.js';
import { OpenFiles } from './content/open-files.js';
import { type Caller, type DirectorySink, type NodeId, Refusal, type Reply } from './contract.js';
import { AttributeOperations } from './handles/attributes.js';
import { Files } from './handles/files.js';
import { Handles } from './handles/handles.js';
import { Space } from './handles/space.js';
import { flag, NO_SLOT, ROOT_SLOT } from './inodes/inode-table.js';
import type { Scope } from './inodes/scope.js';
import { type KnownScope, Volume, type VolumeOptions } from './inodes/volume.js';
import { Bindings } from './names/bindings.js';
import { Creation } from './names/creation.js';
import { Listing } from './names/listing.js';
import { Namespace } from './names/namespace.js';
import { Nodes } from './names/nodes.js';
import { Removal } from './names/removal.js';
import { Rename } from './names/rename.js';
import { Xattrs } from './names/xattrs.js';
import type { LockParts } from './scopes/lock.js';
import { Locks } from './scopes/locks.js';
import { ScopeAccess } from './scopes/scope-access.js';
import { ScopeCreation } from './scopes/scope-creation.js';
import { ScopeRemoval } from './scopes/scope-removal.js';

/**
 * The filesystem: the single writer behind every transport. Its parts and the methods here are the
 * contract's operations; the rest is for the control plane.
 */
export class Core {
  readonly volume: Volume;
  readonly nodes: Nodes;
  readonly namespace: Namespace;
  readonly creation: Creation;
  readonly removal: Removal;
  readonly rename: Rename;
  readonly xattrs: Xattrs;
  readonly files: Files;
  readonly attributes: AttributeOperations;
  readonly space: Space;
  readonly #handles = new Handles();
  readonly locks: Locks;
  readonly scopeAccess: ScopeAccess;
  readonly scopeCreation: ScopeCreation;
  readonly scopeRemoval: ScopeRemoval;

  constructor(options: VolumeOptions, scopes: readonly KnownScope[], wiped: LockParts['wiped']) {
    const volume = new Volume(options);
    const open = new OpenFiles(volume);
    const nodes = new Nodes(volume, open);
    const bindings = new Bindings(volume);
    this.volume = volume;
    this.nodes = nodes;
    this.namespace = new Namespace(volume, nodes, bindings);
    this.creation = new Creation(volume, nodes);
    this.removal = new Removal(volume, nodes);
    this.rename = new Rename(volume, nodes, this.removal, bindings);
    this.xattrs = new Xattrs(volume, nodes);
    this.attributes = new AttributeOperations(volume, nodes);
    this.files = new Files(volume, nodes, this.creation, this.#handles, this.attributes);
    this.space = new Space(volume, this.files, this.attributes);
    this.locks = new Locks({ volume, handles: this.#handles, files: open, wiped });
    this.scopeAccess = new ScopeAccess(volume, nodes, this.locks);
    this.scopeCreation = new ScopeCreation(volume, nodes, this.creation, this.scopeAccess);
    this.scopeRemoval = new ScopeRemoval(volume, this.scopeAccess, this.locks);
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
    if (directory instanceof Refusal) {
      reply.refuse(directory);
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
    const slot =
      handle?.dead === true ? Refusal.for('generation') : this.nodes.admission.admit(node, caller, 'handle');
    if (slot instanceof Refusal) reply.refuse(slot);
    else if (handle?.listing === undefined) reply.error(errno.EBADF);
    else handle.listing.fill(offset, sink, reply);
  }

  releasedir(number: number, reply: Reply): void {
    this.#handles.remove(number);
    reply.ok();
  }

  fsyncdir(node: NodeId, caller: Caller, reply: Reply): void {
    const directory = this.nodes.directory(node, caller, 'drain');
    if (directory instanceof Refusal) {
      reply.refuse(directory);
      return;
    }
    this.volume.directoryJobs.run(directory, 'fsync', [], reply, (result) => {
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
