import { randomBytes } from 'node:crypto';
import { errno } from '../base/errno.js';
import { XATTR } from '../format/binding.js';
import { encodeDirectoryRecord } from '../format/directory-record.js';
import { NAME_MAX, type StoredName } from '../format/names.js';
import { readTarget, storeTarget } from '../format/symlink.js';
import { type Handle, RENAME_NOREPLACE } from './backing.js';
import type { Bindings } from './bindings.js';
import type { Caller, NodeId, Reply } from './contract.js';
import type { Directory } from './directories.js';
import { flag, type Slot } from './inode-table.js';
import type { Nodes } from './nodes.js';
import type { Volume } from './volume.js';

/** Operations that find or make names. One backing call makes the name; what it needs is written before. */
export class Namespace {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #bindings: Bindings;

  constructor(volume: Volume, nodes: Nodes, bindings: Bindings) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#bindings = bindings;
  }

  /** Answers with a slot and takes the lookup reference. */
  #entry(slot: Slot, reply: Reply): void {
    const attributes = this.#nodes.attributes(slot);
    if (typeof attributes === 'number') {
      reply.error(-attributes);
      return;
    }
    const { table } = this.#volume;
    table.lookups[slot] = (table.lookups[slot] as number) + 1;
    reply.entry(table.node(slot), attributes);
  }

  lookup(parent: NodeId, name: string, caller: Caller, reply: Reply): void {
    const directory = this.#nodes.directory(parent, caller);
    if (typeof directory === 'number') {
      reply.error(-directory);
      return;
    }
    const { executor, aside, directories } = this.#volume;
    if (directory.children.has(name) || name.length > NAME_MAX || !executor.warmsFirst(1)) {
      this.#find(directory, name, reply);
      return;
    }
    const stored = directories.stored(directory, name);
    aside.run(directory, 'warm', [stored.name], reply, () => this.#find(directory, name, reply));
  }

  #find(directory: Directory, name: string, reply: Reply): void {
    const slot = this.#nodes.find(directory, name);
    if (slot > 0) {
      this.#entry(slot, reply);
    } else if (slot === -errno.ENOENT) {
      // A scope's root keeps its node id over a lock: a remembered absence below it would outlive the generation.
      reply.negative(!this.#volume.table.has(directory.slot, flag.SCOPE_ROOT));
    } else {
      reply.error(-slot);
    }
  }

  /** The group of a new object: its parent's in a set-group-id directory, else the caller's (inode_init_owner). */
  groupOf(directory: Directory, caller: Caller): number {
    const { table } = this.#volume;
    const setgid = ((table.mode[directory.slot] as number) & 0o2000) !== 0;
    return setgid ? (table.gid[directory.slot] as number) : caller.gid;
  }

  /** Creates a regular file: its handle in the backing and its slot, or -errno. */
  createFile(
    parent: NodeId,
    name: string,
    mode: number,
    caller: Caller,
  ): { slot: Slot; handle: Handle } | number {
    const target = this.#nodes.target(parent, name, caller);
    if (typeof target === 'number') return target;
    const { backing, directories, stat } = this.#volume;
    const { directory, handle, stored } = target;
    const side = directories.writeSide(handle, stored);
    if (side < 0) return side;
    const file = backing.createFile(handle, stored.name, mode & 0o7777);
    if (file < 0) return file;
    const gid = this.groupOf(directory, caller);
    let done = caller.uid === 0 && gid === 0 ? 0 : backing.fchown(file, caller.uid, gid);
    // chown(2) clears set-user-id and set-group-id: put them back.
    if (done === 0 && (mode & 0o6000) !== 0) done = backing.fchmod(file, mode & 0o7777);
    if (done === 0) done = backing.fstat(file, stat);
    if (done < 0) {
      backing.unlink(handle, stored.name);
      backing.close(file);
      return done;
    }
    this.#nodes.touched(directory);
    const slot = this.#nodes.adopt(directory, handle, name, stored.name, stat);
    if (slot < 0) {
      backing.unlink(handle, stored.name);
      backing.close(file);
      return slot;
    }
    return { slot, handle: file };
  }

  mkdir(parent: NodeId, name: string, mode: number, caller: Caller, reply: Reply): void {
    const target = this.#nodes.target(parent, name, caller);
    if (typeof target === 'number') {
      reply.error(-target);
      return;
    }
    const { directory, handle, stored } = target;
    const keys = directory.scope.live;
    const directoryId = randomBytes(16);
    const made = { kind: 'directory', epoch: keys.epoch, id: directoryId } as const;
    const record = encodeDirectoryRecord(keys.current.binding, made, [{ directory: directory.id, name }]);
    const gid = this.groupOf(directory, caller);
    const done = this.makeDirectory(handle, stored, mode, caller.uid, gid, [[XATTR, record]]);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    this.#nodes.touched(directory);
    const { backing, directories, stat } = this.#volume;
    const known = backing.stat(handle, stored.name, stat);
    const slot = known < 0 ? known : this.#nodes.addDirectory(directory, name, directoryId, made.epoch, stat);
    if (slot >= 0) {
      this.#entry(slot, reply);
      return;
    }
    // What can't be shown is not made.
    backing.rmdir(handle, stored.name);
    directories.removeSide(handle, stored);
    reply.error(-slot);
  }

  /**
   * Makes a directory under a name of the vault's own, gives it its records, then its name: it is never seen
   * without them, also after a power cut (metadata operations persist in order).
   */
  makeDirectory(
    handle: Handle,
    stored: StoredName,
    mode: number,
    uid: number,
    gid: number,
    records: readonly (readonly [string, Buffer])[],
  ): number {
    const { backing, directories } = this.#volume;
    const side = directories.writeSide(handle, stored);
    if (side < 0) return side;
    const temporary = this.#volume.temporaryName();
    let done = backing.mkdir(handle, temporary, mode & 0o1777);
    if (done < 0) return done;
    for (const [attribute, record] of records) {
      if (done >= 0) done = backing.setxattr(handle, temporary, attribute, record);
    }
    if (done >= 0 && (uid !== 0 || gid !== 0)) done = backing.chown(handle, temporary, uid, gid);
    if (done >= 0) {
      done = backing.rename(handle, temporary, handle, stored.name, RENAME_NOREPLACE);
    }
    if (done < 0) backing.rmdir(handle, temporary);
    return Math.min(done, 0);
  }

  symlink(parent: NodeId, name: string, target: string, caller: Caller, reply: Reply): void {
    const place = this.#nodes.target(parent, name, caller);
    if (typeof place === 'number') {
      reply.error(-place);
      return;
    }
    const { backing, directories } = this.#volume;
    const { directory, handle, stored } = place;
    const sealed = storeTarget(directory.scope.live.current.symlink, target);
    if (sealed === undefined) {
      reply.error(errno.ENAMETOOLONG);
      return;
    }
    let done = directories.writeSide(handle, stored);
    if (done >= 0) done = backing.symlink(sealed, handle, stored.name);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    const gid = this.groupOf(directory, caller);
    if (caller.uid !== 0 || gid !== 0) backing.chown(handle, stored.name, caller.uid, gid);
    this.#nodes.touched(directory);
    const slot = this.#nodes.find(directory, name);
    if (slot >= 0) {
      this.#entry(slot, reply);
      return;
    }
    backing.unlink(handle, stored.name);
    directories.removeSide(handle, stored);
    reply.error(-slot);
  }

  readlink(node: NodeId, caller: Caller, reply: Reply): void {
    const slot = this.#nodes.usable(node, caller, 'use');
    if (slot < 0) {
      reply.error(-slot);
      return;
    }
    const { table, backing, directories } = this.#volume;
    const place = directories.place(slot);
    if (place === undefined) {
      reply.error(errno.ENOENT);
      return;
    }
    const stored = backing.readlink(place.handle, place.name);
    if (typeof stored === 'number') {
      reply.error(-stored);
      return;
    }
    let target: string | undefined;
    for (const { symlink } of this.#volume.scopeOf(slot).live.since(0))
      target ??= readTarget(symlink, stored);
    if (target === undefined) {
      reply.error(errno.EIO);
      return;
    }
    // The kernel caches targets as pages: a lock must drop them.
    table.set(slot, flag.PAGES);
    reply.target(target);
  }

  link(node: NodeId, parent: NodeId, name: string, caller: Caller, reply: Reply): void {
    const slot = this.#nodes.usable(node, caller, 'use');
    const target = slot < 0 ? slot : this.#nodes.target(parent, name, caller);
    if (typeof target === 'number') {
      reply.error(-target);
      return;
    }
    const { table, backing, directories, hardLinks } = this.#volume;
    const { directory, handle, stored } = target;
    if (this.#volume.scopeOf(slot) !== directory.scope) {
      reply.error(errno.EXDEV);
      return;
    }
    const source = directories.place(slot);
    if (source === undefined) {
      reply.error(errno.ENOENT);
      return;
    }
    // Opening the source's directory may have closed the target's where descriptors ran out.
    if (directories.handle(directory.slot) !== handle) {
      reply.error(errno.EMFILE);
      return;
    }
    let done = table.isRegular(slot) ? this.#bindings.unbind(slot, source.handle, source.name) : 0;
    if (done >= 0) done = directories.writeSide(handle, stored);
    if (done >= 0) done = backing.link(source.handle, source.name, handle, stored.name);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    table.set(slot, flag.STALE);
    this.#nodes.touched(directory);
    const attributes = this.#nodes.attributes(slot);
    if (typeof attributes === 'number') {
      // What can't be shown is not made.
      backing.unlink(handle, stored.name);
      directories.removeSide(handle, stored);
      reply.error(-attributes);
      return;
    }
    const home = directories.get(table.parent[slot] as number);
    if (home !== undefined) hardLinks.add(slot, home, table.name[slot] as string);
    hardLinks.add(slot, directory, name);
    directory.children.set(name, slot);
    this.#entry(slot, reply);
  }
}
