import { randomBytes } from 'node:crypto';
import { errno } from '../base/errno.js';
import { idBytes } from '../base/ids.js';
import { encodeBinding, encodeUnbound, judgeBinding, type Place, XATTR } from '../format/binding.js';
import { encodeDirectoryRecord } from '../format/directory-record.js';
import { NAME_MAX, type StoredName } from '../format/names.js';
import { readTarget, storeTarget } from '../format/symlink.js';
import type { Handle } from './backing.js';
import type { Caller, NodeId, Reply } from './contract.js';
import type { Directory } from './directories.js';
import { flag, ROOT_SLOT, type Slot } from './inode-table.js';
import type { Nodes } from './nodes.js';
import type { Volume } from './volume.js';

const RENAME_NOREPLACE = 1;
const xattr = Buffer.alloc(1024);

/** A directory with an open descriptor and the stored form of a name in it. */
interface Target {
  readonly directory: Directory;
  readonly handle: Handle;
  readonly stored: StoredName;
}

/** Operations on names. One backing call changes the name; what must be there before it is written before it. */
export class Namespace {
  readonly #volume: Volume;
  readonly #nodes: Nodes;

  constructor(volume: Volume, nodes: Nodes) {
    this.#volume = volume;
    this.#nodes = nodes;
  }

  #target(parent: NodeId, name: string, caller: Caller): Target | number {
    const directory = this.#nodes.directory(parent, caller);
    if (typeof directory === 'number') return directory;
    if (name.length > NAME_MAX) return -errno.ENAMETOOLONG;
    const handle = this.#volume.directories.handle(directory.slot);
    if (handle < 0) return handle;
    return { directory, handle, stored: this.#volume.directories.stored(directory, name) };
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

  /** Marks a directory's attributes stale after a change of its names. */
  #touched(directory: Directory): void {
    this.#volume.table.set(directory.slot, flag.STALE);
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
    const target = this.#target(parent, name, caller);
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
    this.#touched(directory);
    const slot = this.#nodes.adopt(directory, handle, name, stored.name, stat);
    if (slot < 0) {
      backing.unlink(handle, stored.name);
      backing.close(file);
      return slot;
    }
    return { slot, handle: file };
  }

  mkdir(parent: NodeId, name: string, mode: number, caller: Caller, reply: Reply): void {
    const target = this.#target(parent, name, caller);
    if (typeof target === 'number') {
      reply.error(-target);
      return;
    }
    const { directory, handle, stored } = target;
    const keys = directory.scope.live;
    const directoryId = randomBytes(16);
    const made = { kind: 'directory', epoch: keys.epoch, id: directoryId } as const;
    const record = encodeDirectoryRecord(keys.binding, made, [{ directory: directory.id, name }]);
    const gid = this.groupOf(directory, caller);
    const done = this.makeDirectory(handle, stored, mode, caller.uid, gid, [[XATTR, record]]);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    this.#touched(directory);
    const { backing, directories, stat } = this.#volume;
    const known = backing.stat(handle, stored.name, stat);
    const slot = known < 0 ? known : this.#nodes.addDirectory(directory, name, directoryId, stat);
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
    const place = this.#target(parent, name, caller);
    if (typeof place === 'number') {
      reply.error(-place);
      return;
    }
    const { backing, directories } = this.#volume;
    const { directory, handle, stored } = place;
    const sealed = storeTarget(directory.scope.live.symlink, target);
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
    this.#touched(directory);
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
    const target = readTarget(this.#volume.scopeOf(slot).live.symlink, stored);
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
    const target = slot < 0 ? slot : this.#target(parent, name, caller);
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
    let done = table.isRegular(slot) ? this.#unbind(slot, source.handle, source.name) : 0;
    if (done >= 0) done = directories.writeSide(handle, stored);
    if (done >= 0) done = backing.link(source.handle, source.name, handle, stored.name);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    table.set(slot, flag.STALE);
    this.#touched(directory);
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

  /** Before a file gets a second name, its binding stops naming the first. An empty file has none. */
  #unbind(slot: Slot, handle: Handle, name: string): number {
    const { backing } = this.#volume;
    const { table, directories } = this.#volume;
    const home = directories.get(table.parent[slot] as number) as Directory;
    const tag = Buffer.alloc(16);
    const verdict = this.#judge(slot, home, table.name[slot] as string, handle, name, tag);
    if (verdict === 'none' || verdict === 'unbound') return 0;
    if (verdict === 'mismatch') return -errno.EIO;
    const unbound = encodeUnbound(this.#volume.scopeOf(slot).live.binding, tag);
    return backing.setxattr(handle, name, XATTR, unbound);
  }

  unlink(parent: NodeId, name: string, caller: Caller, reply: Reply): void {
    const target = this.#target(parent, name, caller);
    if (typeof target === 'number') {
      reply.error(-target);
      return;
    }
    const { backing, directories } = this.#volume;
    const { directory, handle, stored } = target;
    const done = backing.unlink(handle, stored.name);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    directories.removeSide(handle, stored);
    this.#touched(directory);
    this.#gone(directory, name);
    reply.ok();
  }

  /** A name went away: its inode has one link less. */
  #gone(directory: Directory, name: string): void {
    const { table, hardLinks } = this.#volume;
    const slot = directory.children.get(name);
    directory.children.delete(name);
    if (slot === undefined) return;
    const directoryGone = table.isDirectory(slot);
    const links = directoryGone ? 0 : Math.max(0, (table.nlink[slot] as number) - 1);
    table.nlink[slot] = links;
    if (links === 0) table.set(slot, flag.UNLINKED);
    else table.set(slot, flag.STALE);
    hardLinks.remove(slot, directory, name);
    // Open files tell their change time by their descriptor.
    if (this.#volume.files.has(slot)) table.set(slot, flag.STALE);
  }

  rmdir(parent: NodeId, name: string, caller: Caller, reply: Reply): void {
    const target = this.#target(parent, name, caller);
    if (typeof target === 'number') {
      reply.error(-target);
      return;
    }
    const { directory, handle, stored } = target;
    const slot = this.#nodes.find(directory, name);
    if (slot < 0) {
      reply.error(-slot);
      return;
    }
    const { table, directories } = this.#volume;
    if (table.has(slot, flag.SCOPE_ROOT)) {
      reply.error(errno.EBUSY);
      return;
    }
    const done = this.#removeDirectory(slot, handle, stored);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    directories.remove(slot);
    this.#touched(directory);
    this.#gone(directory, name);
    reply.ok();
  }

  /** Removes a backing directory that has nothing of the user's in it: the vault's own leftovers go with it. */
  #removeDirectory(slot: Slot, handle: Handle, stored: StoredName): number {
    const { backing, directories } = this.#volume;
    let done = backing.rmdir(handle, stored.name);
    if (done === -errno.ENOTEMPTY) {
      const own = directories.handle(slot);
      const entries = own < 0 ? own : backing.list(own);
      if (typeof entries === 'number') return entries;
      const leftovers = entries.filter((entry) => /^\+[tN]/.test(entry.name));
      if (leftovers.length !== entries.length) return -errno.ENOTEMPTY;
      // Aside first: emptied under its name, a power cut could leave it there half empty.
      const parent = directories.place(slot);
      if (parent === undefined) return -errno.ENOENT;
      const aside = this.#volume.temporaryName();
      done = backing.rename(parent.handle, parent.name, parent.handle, aside, RENAME_NOREPLACE);
      if (done < 0) return done;
      for (const entry of leftovers) {
        if (entry.type === 4) backing.rmdir(own, entry.name);
        else backing.unlink(own, entry.name);
      }
      backing.rmdir(parent.handle, aside);
      done = 0;
    }
    if (done === 0) {
      const parent = directories.get(this.#volume.table.parent[slot] as number);
      if (parent !== undefined) directories.removeSide(directories.handle(parent.slot), stored);
    }
    return done;
  }

  rename(
    parent: NodeId,
    name: string,
    newParent: NodeId,
    newName: string,
    flags: number,
    caller: Caller,
    reply: Reply,
  ): void {
    const done = this.#rename(parent, name, newParent, newName, flags, caller);
    if (done < 0) reply.error(-done);
    else reply.ok();
  }

  #rename(
    parent: NodeId,
    name: string,
    newParent: NodeId,
    newName: string,
    flags: number,
    caller: Caller,
  ): number {
    if ((flags & ~RENAME_NOREPLACE) !== 0) return -errno.EINVAL;
    const { table, backing, directories } = this.#volume;
    const from = this.#nodes.directory(parent, caller);
    const to = this.#nodes.directory(newParent, caller);
    if (typeof from === 'number') return from;
    if (typeof to === 'number') return to;
    if (from.scope !== to.scope) return -errno.EXDEV;
    if (newName.length > NAME_MAX) return -errno.ENAMETOOLONG;
    const slot = this.#nodes.find(from, name);
    if (slot < 0) return slot;
    const replaced = this.#nodes.find(to, newName);
    if (replaced < 0 && replaced !== -errno.ENOENT) return replaced;
    if (replaced === slot) return 0;
    if (replaced > 0 && (flags & RENAME_NOREPLACE) !== 0) return -errno.EEXIST;
    if (replaced > 0 && table.has(replaced, flag.SCOPE_ROOT)) return -errno.EBUSY;
    const source = directories.stored(from, name);
    const target = directories.stored(to, newName);
    const toHandle = directories.handle(to.slot);
    const fromHandle = directories.handle(from.slot);
    if (fromHandle < 0) return fromHandle;
    if (toHandle < 0) return toHandle;
    // Opening one may have closed the other where descriptors ran out.
    if (directories.handle(to.slot) !== toHandle) return -errno.EMFILE;

    const records = this.#bindings(slot, from, name, to, newName, fromHandle, source.name);
    if (typeof records === 'number') return records;
    let done = 0;
    if (records !== undefined) {
      done = backing.setxattr(fromHandle, source.name, XATTR, records.both);
    }
    if (done >= 0) done = directories.writeSide(toHandle, target);
    if (done >= 0 && replaced > 0 && table.isDirectory(replaced) && table.isDirectory(slot)) {
      // A leftover of the vault's own in an empty directory would make the backing refuse.
      const entries = backing.list(directories.handle(replaced));
      if (typeof entries !== 'number' && entries.length > 0) {
        done = this.#removeDirectory(replaced, toHandle, target);
        if (done >= 0) done = directories.writeSide(toHandle, target);
      }
    }
    if (done >= 0) done = backing.rename(fromHandle, source.name, toHandle, target.name, flags);
    if (done < 0) {
      if (records !== undefined) {
        backing.setxattr(fromHandle, source.name, XATTR, records.before);
      }
      return done;
    }
    if (records !== undefined) backing.setxattr(toHandle, target.name, XATTR, records.after);
    directories.removeSide(fromHandle, source);

    if (replaced > 0) {
      directories.remove(replaced);
      this.#gone(to, newName);
    }
    from.children.delete(name);
    to.children.set(newName, slot);
    if (table.parent[slot] === from.slot && table.name[slot] === name) {
      table.parent[slot] = to.slot;
      table.name[slot] = newName;
    }
    if ((table.nlink[slot] as number) > 1 && !table.isDirectory(slot)) {
      this.#volume.hardLinks.add(slot, to, newName);
      this.#volume.hardLinks.remove(slot, from, name);
    }
    table.set(slot, flag.STALE);
    this.#touched(from);
    this.#touched(to);
    if (table.isDirectory(slot)) this.#scopesMoved(slot, from, name);
    return 0;
  }

  /** The xattr that an object needs before, during and after a rename; undefined where it has none; or -errno. */
  #bindings(
    slot: Slot,
    from: Directory,
    name: string,
    to: Directory,
    newName: string,
    handle: Handle,
    stored: string,
  ): { before: Buffer; both: Buffer; after: Buffer } | undefined | number {
    const { table, directories } = this.#volume;
    const keys = from.scope.live;
    if (table.isRegular(slot)) {
      const tag = Buffer.alloc(16);
      const verdict = this.#judge(slot, from, name, handle, stored, tag);
      if (verdict === 'none' || verdict === 'unbound') return undefined;
      if (verdict === 'mismatch') return -errno.EIO;
      const old = { directory: from.id, name };
      const next = { directory: to.id, name: newName };
      return {
        before: encodeBinding(keys.binding, tag, [old]),
        both: encodeBinding(keys.binding, tag, [old, next]),
        after: encodeBinding(keys.binding, tag, [next]),
      };
    }
    if (!table.isDirectory(slot)) return undefined;
    const edge = table.has(slot, flag.SCOPE_ROOT);
    const own = directories.get(slot);
    if (!edge && own === undefined) return -errno.EIO;
    const record = {
      kind: edge ? 'edge' : 'directory',
      epoch: keys.epoch,
      id: edge ? idBytes(this.#volume.scopeOf(slot).id) : (own as Directory).id,
    } as const;
    const old = { directory: from.id, name };
    const next = { directory: to.id, name: newName };
    const at = (...places: Place[]): Buffer => encodeDirectoryRecord(keys.binding, record, places);
    return { before: at(old), both: at(old, next), after: at(next) };
  }

  /** What a file's binding says; `none`: an empty file without one. */
  #judge(
    slot: Slot,
    directory: Directory,
    name: string,
    handle: Handle,
    stored: string,
    tag: Buffer,
  ): 'bound' | 'unbound' | 'mismatch' | 'none' {
    const { table, backing } = this.#volume;
    const length = backing.getxattr(handle, stored, XATTR, xattr);
    if (length < 0) {
      return length === -errno.ENODATA && table.size[slot] === 0 ? 'none' : 'mismatch';
    }
    const { binding } = directory.scope.live;
    return judgeBinding(binding, xattr.subarray(0, length), directory.id, name, tag);
  }

  /** A directory was renamed: the labels of scopes at or below it follow. */
  #scopesMoved(slot: Slot, from: Directory, name: string): void {
    const { directories, scopes } = this.#volume;
    const above = directories.pathInScope(from.slot);
    const now = directories.pathInScope(slot);
    const home = this.#volume.table.has(slot, flag.SCOPE_ROOT) ? this.#pathOf(slot) : now;
    if (above === undefined || home === undefined) return;
    const old = above === '' ? name : `${above}/${name}`;
    for (const scope of scopes) {
      if (scope.parent !== from.scope) continue;
      if (scope.path === old) scope.path = home;
      else if (scope.path.startsWith(`${old}/`)) scope.path = home + scope.path.slice(old.length);
      else continue;
      this.#nodes.onMoved(scope, scope.path);
    }
  }

  /** Path of a scope's root within its parent scope. */
  #pathOf(slot: Slot): string | undefined {
    const { table, directories } = this.#volume;
    if (slot === ROOT_SLOT) return '';
    const above = directories.pathInScope(table.parent[slot] as number);
    const name = table.name[slot] as string;
    return above === undefined || above === '' ? name : `${above}/${name}`;
  }
}
