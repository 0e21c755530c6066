import { errno } from '../../base/errno.js';
import { encodeBinding, encodeUnbound, XATTR } from '../../format/names/binding.js';
import { NAME_MAX } from '../../format/names/names.js';
import { readTarget } from '../../format/names/symlink.js';
import { WHOLE } from '../content/file-queue.js';
import type { OpenFile } from '../content/open-file.js';
import { Operation, UNLOADED } from '../content/operation.js';
import { type Caller, type NodeId, Refusal, type Reply } from '../contract.js';
import type { Directory } from '../inodes/directories.js';
import { flag, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Bindings } from './bindings.js';
import type { Nodes } from './nodes.js';

/** Operations that find names, follow them and give objects further ones. */
export class Namespace {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #bindings: Bindings;

  constructor(volume: Volume, nodes: Nodes, bindings: Bindings) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#bindings = bindings;
  }

  lookup(parent: NodeId, name: string, caller: Caller, reply: Reply): void {
    const directory = this.#nodes.directory(parent, caller, 'handle');
    if (directory instanceof Refusal) {
      reply.refuse(directory);
      return;
    }
    const { executor, directoryJobs, directories } = this.#volume;
    if (directory.children.has(name) || name.length > NAME_MAX || !executor.warmsFirst(1)) {
      this.#find(directory, name, reply);
      return;
    }
    const stored = directories.stored(directory, name);
    directoryJobs.run(directory, 'warm', [stored.name], reply, () => this.#find(directory, name, reply));
  }

  #find(directory: Directory, name: string, reply: Reply): void {
    const slot = this.#nodes.find(directory, name);
    if (slot > 0) {
      this.#nodes.entry(slot, reply);
    } else if (slot === -errno.ENOENT) {
      // A scope's root keeps its node id over a lock: a remembered absence below it would outlive the generation.
      reply.negative(!this.#volume.table.has(directory.slot, flag.SCOPE_ROOT));
    } else {
      reply.error(-slot);
    }
  }

  readlink(node: NodeId, caller: Caller, reply: Reply): void {
    const slot = this.#nodes.admission.admit(node, caller, 'use');
    if (slot instanceof Refusal) {
      reply.refuse(slot);
      return;
    }
    const { table, backing, directories } = this.#volume;
    const place = directories.place(slot);
    if (place === undefined) {
      reply.error(errno.ENOENT);
      return;
    }
    const link = backing.readlink(place.descriptor, place.name);
    if (typeof link === 'number') {
      reply.error(-link);
      return;
    }
    const stored = { link, rest: this.#nodes.targetRest(place.descriptor, place.name, link.length) };
    let target: string | undefined;
    for (const { symlink } of this.#volume.scopeOf(slot).live.since(0))
      target ??= readTarget(symlink, stored);
    if (target === undefined) {
      reply.error(errno.EIO);
      return;
    }
    const spent = this.#volume.scopeOf(slot).spend(target.length);
    if (spent < 0) {
      reply.error(-spent);
      return;
    }
    // The kernel caches targets as pages: a lock must drop them.
    table.set(slot, flag.PAGES | flag.STALE);
    reply.target(target);
  }

  link(node: NodeId, parent: NodeId, name: string, caller: Caller, reply: Reply): void {
    const slot = this.#nodes.admission.admit(node, caller, 'change');
    if (slot instanceof Refusal) {
      reply.refuse(slot);
      return;
    }
    const target = this.#nodes.target(parent, name, caller);
    if (target instanceof Refusal) {
      reply.refuse(target);
      return;
    }
    const { table, backing, directories, hardLinks } = this.#volume;
    const { directory, descriptor, stored } = target;
    if (this.#volume.scopeOf(slot) !== directory.scope) {
      reply.error(errno.EXDEV);
      return;
    }
    const source = directories.place(slot);
    if (source === undefined) {
      this.#nameUnnamed(slot, directory, name, reply);
      return;
    }
    // Opening the source's directory may have closed the target's where descriptors ran out.
    if (directories.descriptor(directory.slot) !== descriptor) {
      reply.error(errno.EMFILE);
      return;
    }
    let done = table.isRegular(slot) ? this.#bindings.unbind(slot, source.descriptor, source.name) : 0;
    if (done >= 0) done = directories.writeSide(descriptor, stored);
    if (done >= 0) done = backing.link(source.descriptor, source.name, descriptor, stored.name);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    table.set(slot, flag.STALE);
    this.#nodes.touched(directory);
    const attributes = this.#nodes.attributes(slot);
    if (typeof attributes === 'number') {
      // What can't be shown is not made.
      backing.unlink(descriptor, stored.name);
      directories.removeSide(descriptor, stored);
      reply.error(-attributes);
      return;
    }
    const home = directories.get(table.parent[slot] as number);
    if (home !== undefined) hardLinks.add(slot, home, table.name[slot] as string);
    hardLinks.add(slot, directory, name);
    directory.children.set(name, slot);
    this.#nodes.entry(slot, reply);
  }

  /** Gives a file its first name (O_TMPFILE). The backing refuses one that had a name before. */
  #nameUnnamed(slot: Slot, directory: Directory, name: string, reply: Reply): void {
    const file = this.#nodes.files.get(slot);
    if (file === undefined) {
      reply.error(errno.ENOENT);
      return;
    }
    // Its first byte, which may be under way, makes its binding too.
    Operation.run(file, WHOLE, reply, UNLOADED, (operation) => {
      // Another link may have been faster: then it has a binding for its name already.
      const named = !this.#volume.table.has(slot, flag.UNLINKED);
      const done = named ? -errno.EBUSY : this.#linkFile(file, directory, name);
      if (done < 0) reply.error(-done);
      else this.#nodes.entry(slot, reply);
      operation.leave();
    });
  }

  #linkFile(file: OpenFile, directory: Directory, name: string): number {
    const { table, backing, directories } = this.#volume;
    const { slot, header, scope } = file;
    const descriptor = directories.descriptor(directory.slot);
    if (descriptor < 0) return descriptor;
    const stored = directories.stored(directory, name);
    const { binding } = scope.live.current;
    let done = 0;
    if (header !== undefined) {
      const place = { directory: directory.id, name };
      done = backing.fsetxattr(file.descriptor, XATTR, encodeBinding(binding, header.tag, [place]));
    }
    if (done >= 0) done = directories.writeSide(descriptor, stored);
    if (done >= 0) done = backing.linkDescriptor(file.descriptor, descriptor, stored.name);
    if (done < 0) {
      if (header !== undefined) backing.fsetxattr(file.descriptor, XATTR, encodeUnbound(binding, header.tag));
      return done;
    }
    table.clear(slot, flag.UNLINKED);
    table.set(slot, flag.STALE);
    if (!file.holes.clean) file.holes.dirty = true;
    table.parent[slot] = directory.slot;
    table.name[slot] = name;
    directory.children.set(name, slot);
    this.#nodes.touched(directory);
    return 0;
  }
}
