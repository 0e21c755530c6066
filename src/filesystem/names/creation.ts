import { randomBytes } from 'node:crypto';
import { errno } from '../../base/errno.js';
import { XATTR } from '../../format/names/binding.js';
import { encodeDirectoryRecord } from '../../format/names/directory-record.js';
import type { StoredName } from '../../format/names/names.js';
import { type StoredTarget, storeTarget, XATTR_TARGET } from '../../format/names/symlink.js';
import { ALLPERMS, S_IFMT, S_ISGID, SET_ID } from '../../libc/stat.js';
import { type Caller, type NewObject, type NodeId, Refusal, type Reply } from '../contract.js';
import { type Descriptor, RENAME_NOREPLACE } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag, NO_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Nodes } from './nodes.js';

/** Whose a new object is, and its permissions. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Operations that make objects. One backing call makes the name; what it needs is written before. */
export class Creation {
  readonly #volume: Volume;
  readonly #nodes: Nodes;

  constructor(volume: Volume, nodes: Nodes) {
    this.#volume = volume;
    this.#nodes = nodes;
  }

  /** The group of a new object: its parent's in a set-group-id directory, else the caller's (inode_init_owner). */
  groupOf(directory: Directory, caller: Caller): number {
    const { table } = this.#volume;
    const setgid = ((table.mode[directory.slot] as number) & S_ISGID) !== 0;
    return setgid ? (table.gid[directory.slot] as number) : caller.gid;
  }

  /** The mode that the backing is asked for: a default ACL of the directory rules, else the caller's umask (acl(5)). */
  #modeOf(directory: Directory, descriptor: Descriptor, { mode, umask }: NewObject): number {
    return (this.#volume.directories.inherits(directory, descriptor) ? mode : mode & ~umask) & ALLPERMS;
  }

  /** Gives a fresh file its owner, and back what chown(2) took from its mode. 0 or -errno; its state in `stat`. */
  #own(file: Descriptor, directory: Directory, mode: number, caller: Caller): number {
    const { backing, stat } = this.#volume;
    const gid = this.groupOf(directory, caller);
    let done = caller.uid === 0 && gid === 0 ? 0 : backing.fchown(file, caller.uid, gid);
    if (done >= 0) done = backing.fstat(file, stat);
    const special = mode & SET_ID;
    if (done < 0 || special === 0 || (stat.mode & SET_ID) === special) return done;
    done = backing.fchmod(file, (stat.mode & ~SET_ID & ALLPERMS) | special);
    return done < 0 ? done : backing.fstat(file, stat);
  }

  /** A new object has no extended attributes, unless it inherited ACLs. */
  #plain(slot: Slot, parent: Directory): void {
    if (parent.inherits !== true) this.#volume.table.set(slot, flag.PLAIN);
  }

  /** Creates a regular file: its descriptor in the backing and its slot, or -errno. */
  createFile(
    parent: NodeId,
    name: string,
    wanted: NewObject,
    caller: Caller,
  ): { slot: Slot; descriptor: Descriptor } | Refusal {
    const target = this.#nodes.target(parent, name, caller);
    if (target instanceof Refusal) return target;
    const { backing, directories, stat } = this.#volume;
    const { directory, descriptor, stored } = target;
    const side = directories.writeSide(descriptor, stored);
    if (side < 0) return Refusal.failed(side);
    const file = backing.createFile(descriptor, stored.name, this.#modeOf(directory, descriptor, wanted));
    if (file < 0) return Refusal.failed(file);
    const done = this.#own(file, directory, wanted.mode, caller);
    if (done < 0) {
      backing.unlink(descriptor, stored.name);
      backing.close(file);
      return Refusal.failed(done);
    }
    this.#nodes.touched(directory);
    const slot = this.#nodes.adopt(directory, descriptor, name, stored.name, stat);
    if (slot < 0) {
      backing.unlink(descriptor, stored.name);
      backing.close(file);
      return Refusal.failed(slot);
    }
    this.#plain(slot, directory);
    return { slot, descriptor: file };
  }

  /** Creates a regular file without a name (O_TMPFILE); link(2) may give it one. */
  createUnnamed(
    parent: NodeId,
    wanted: NewObject,
    caller: Caller,
  ): { slot: Slot; descriptor: Descriptor } | Refusal {
    const directory = this.#nodes.directory(parent, caller, 'change');
    if (directory instanceof Refusal) return directory;
    const { backing, directories, table, stat } = this.#volume;
    const descriptor = directories.descriptor(directory.slot);
    if (descriptor < 0) return Refusal.failed(descriptor);
    const file = backing.createUnnamed(descriptor, this.#modeOf(directory, descriptor, wanted));
    if (file < 0) return Refusal.failed(file);
    const done = this.#own(file, directory, wanted.mode, caller);
    const slot = done < 0 ? NO_SLOT : table.allocate(directory.scope.index, NO_SLOT, '');
    if (slot === NO_SLOT) {
      backing.close(file);
      return Refusal.failed(done < 0 ? done : -errno.ENOMEM);
    }
    table.fill(slot, stat, 0);
    table.set(slot, flag.UNLINKED);
    this.#plain(slot, directory);
    return { slot, descriptor: file };
  }

  /** Fifos, sockets and device nodes. `rdev` as the kernel encodes it (new_encode_dev). */
  mknod(parent: NodeId, name: string, wanted: NewObject, rdev: number, caller: Caller, reply: Reply): void {
    const target = this.#nodes.target(parent, name, caller);
    if (target instanceof Refusal) {
      reply.refuse(target);
      return;
    }
    const { backing, directories, stat } = this.#volume;
    const { directory, descriptor, stored } = target;
    const major = (rdev >>> 8) & 0xfff;
    const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
    const mode = (wanted.mode & S_IFMT) | this.#modeOf(directory, descriptor, wanted);
    let done = directories.writeSide(descriptor, stored);
    if (done >= 0) done = backing.makeNode(descriptor, stored.name, mode, major, minor);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    const gid = this.groupOf(directory, caller);
    if (caller.uid !== 0 || gid !== 0) done = backing.chown(descriptor, stored.name, caller.uid, gid);
    if (done >= 0) done = backing.stat(descriptor, stored.name, stat);
    const special = mode & SET_ID;
    if (done >= 0 && (stat.mode & SET_ID) !== special) {
      done = backing.chmod(descriptor, stored.name, (stat.mode & ~SET_ID & ALLPERMS) | special);
      if (done >= 0) done = backing.stat(descriptor, stored.name, stat);
    }
    this.#nodes.touched(directory);
    const slot = done < 0 ? done : this.#nodes.adopt(directory, descriptor, name, stored.name, stat);
    if (slot >= 0) {
      this.#plain(slot, directory);
      this.#nodes.entry(slot, reply);
      return;
    }
    // What can't be shown is not made.
    backing.unlink(descriptor, stored.name);
    directories.removeSide(descriptor, stored);
    reply.error(-slot);
  }

  mkdir(parent: NodeId, name: string, wanted: NewObject, caller: Caller, reply: Reply): void {
    const target = this.#nodes.target(parent, name, caller);
    if (target instanceof Refusal) {
      reply.refuse(target);
      return;
    }
    const { directory, descriptor, stored } = target;
    const keys = directory.scope.live;
    const directoryId = randomBytes(16);
    const made = { kind: 'directory', epoch: keys.epoch, id: directoryId } as const;
    const record = encodeDirectoryRecord(keys.current.binding, made, [{ directory: directory.id, name }]);
    const gid = this.groupOf(directory, caller);
    const inherits = this.#volume.directories.inherits(directory, descriptor);
    const mode = this.#modeOf(directory, descriptor, wanted);
    const owner = { uid: caller.uid, gid, mode };
    const done = this.makeDirectory(descriptor, stored, owner, [[XATTR, record]]);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    this.#nodes.touched(directory);
    const { backing, directories, stat } = this.#volume;
    const known = backing.stat(descriptor, stored.name, stat);
    const slot = known < 0 ? known : this.#nodes.addDirectory(directory, name, directoryId, made.epoch, stat);
    if (slot >= 0) {
      this.#plain(slot, directory);
      const made = directories.get(slot);
      if (made !== undefined) made.inherits = inherits;
      this.#nodes.entry(slot, reply);
      return;
    }
    // What can't be shown is not made.
    backing.rmdir(descriptor, stored.name);
    directories.removeSide(descriptor, stored);
    reply.error(-slot);
  }

  /**
   * Makes a directory under a name of the vault's own, gives it its records, then its name: it is never seen
   * without them, also after a power cut (metadata operations persist in order).
   */
  makeDirectory(
    descriptor: Descriptor,
    stored: StoredName,
    { uid, gid, mode }: Owner,
    records: readonly (readonly [string, Buffer])[],
  ): number {
    const { backing, directories } = this.#volume;
    const side = directories.writeSide(descriptor, stored);
    if (side < 0) return side;
    const temporary = this.#volume.temporaryName();
    let done = backing.mkdir(descriptor, temporary, mode & ALLPERMS & ~SET_ID);
    if (done < 0) return done;
    for (const [attribute, record] of records) {
      if (done >= 0) done = backing.setxattr(descriptor, temporary, attribute, record);
    }
    if (done >= 0 && (uid !== 0 || gid !== 0)) done = backing.chown(descriptor, temporary, uid, gid);
    if (done >= 0) {
      done = backing.rename(descriptor, temporary, descriptor, stored.name, RENAME_NOREPLACE);
    }
    if (done < 0) backing.rmdir(descriptor, temporary);
    return Math.min(done, 0);
  }

  /** A long target takes two calls: made under a name of the vault's own, it is never seen half. */
  #makeLink({ link, rest }: StoredTarget, descriptor: Descriptor, name: string): number {
    const { backing } = this.#volume;
    if (rest === undefined) return backing.symlink(link, descriptor, name);
    const temporary = this.#volume.temporaryName();
    let done = backing.symlink(link, descriptor, temporary);
    if (done < 0) return done;
    done = backing.setxattr(descriptor, temporary, XATTR_TARGET, rest);
    if (done >= 0) done = backing.rename(descriptor, temporary, descriptor, name, RENAME_NOREPLACE);
    if (done < 0) backing.unlink(descriptor, temporary);
    return done;
  }

  symlink(parent: NodeId, name: string, target: string, caller: Caller, reply: Reply): void {
    const place = this.#nodes.target(parent, name, caller);
    if (place instanceof Refusal) {
      reply.refuse(place);
      return;
    }
    const { backing, directories } = this.#volume;
    const { directory, descriptor, stored } = place;
    const sealed = storeTarget(directory.scope.live.current.symlink, target);
    if (sealed === undefined) {
      reply.error(errno.ENAMETOOLONG);
      return;
    }
    let done = directories.writeSide(descriptor, stored);
    if (done >= 0) done = this.#makeLink(sealed, descriptor, stored.name);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    const gid = this.groupOf(directory, caller);
    if (caller.uid !== 0 || gid !== 0) backing.chown(descriptor, stored.name, caller.uid, gid);
    this.#nodes.touched(directory);
    const slot = this.#nodes.find(directory, name);
    if (slot >= 0) {
      this.#nodes.entry(slot, reply);
      return;
    }
    backing.unlink(descriptor, stored.name);
    directories.removeSide(descriptor, stored);
    reply.error(-slot);
  }
}
