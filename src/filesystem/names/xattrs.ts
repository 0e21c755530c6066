import { errno } from '../../base/errno.js';
import {
  forgetXattr,
  readXattr,
  storedXattrName,
  storeXattr,
  XATTR_PREFIXES,
} from '../../format/names/xattr.js';
import { XATTR_LIST_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX } from '../../libc/files.js';
import { ALLPERMS, S_ISGID } from '../../libc/stat.js';
import { type Caller, type NodeId, Refusal, type Reply } from '../contract.js';
import { ACL_DEFAULT } from '../inodes/directories.js';
import { flag, ROOT_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Nodes } from './nodes.js';

/** Flags of setxattr(2). */
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

const ACL_ACCESS = 'system.posix_acl_access';
const NO_OBJECT = Buffer.alloc(16);

const value = Buffer.alloc(XATTR_SIZE_MAX);

export interface XattrChange {
  readonly name: string;
  readonly value: Buffer;
  /** XATTR_CREATE or XATTR_REPLACE. */
  readonly flags: number;
  /** Clear set-group-id: an access ACL was set by somebody outside the group. */
  readonly killSgid: boolean;
}

/** An object's attributes in the backing. */
interface Place {
  readonly prefix: string;
  /** Seals its attributes to it: a directory's id. */
  readonly object: Buffer;
  get(attribute: string): number;
  set(attribute: string, bytes: Buffer): number;
  remove(attribute: string): number;
  list(): string[] | number;
}

/**
 * Extended attributes (xattr(7)). Names and values of user.*, trusted.* and security.* are sealed; ACLs are stored
 * natively, in clear, so that the backing inherits default ACLs and keeps modes and masks in step.
 */
export class Xattrs {
  readonly #volume: Volume;
  readonly #nodes: Nodes;

  constructor(volume: Volume, nodes: Nodes) {
    this.#volume = volume;
    this.#nodes = nodes;
  }

  get(node: NodeId, name: string, caller: Caller, reply: Reply): void {
    const slot = this.#nodes.admission.admit(node, caller, 'use');
    if (slot instanceof Refusal) {
      reply.refuse(slot);
      return;
    }
    const found = this.#get(slot, name);
    const spent = typeof found === 'number' ? 0 : this.#volume.scopeOf(slot).spend(found.length);
    if (typeof found === 'number') reply.error(-found);
    else if (spent < 0) reply.error(-spent);
    else reply.bytes(found);
    forgetXattr();
  }

  #get(slot: Slot, name: string): Buffer | number {
    const kind = kindOf(name);
    if (kind === 'other') return -errno.EOPNOTSUPP;
    if (kind === 'nameless') return -errno.EINVAL;
    // The kernel asks for security.capability at each file's first write.
    if (this.#volume.table.has(slot, flag.PLAIN)) return -errno.ENODATA;
    const place = this.#place(slot);
    if (typeof place === 'number') return place;
    if (this.#isPlain(slot, place)) return -errno.ENODATA;
    if (kind === 'acl') {
      const length = place.get(name);
      return length < 0 ? length : value.subarray(0, length);
    }
    const found = this.#find(slot, place, name);
    return typeof found === 'number' ? found : found.value;
  }

  /** Asks once what an object has: most have nothing, and programs ask for several attributes of each file. */
  #isPlain(slot: Slot, place: Place): boolean {
    const { table } = this.#volume;
    if (table.has(slot, flag.ADORNED)) return false;
    const names = place.list();
    // An error of the disk says nothing of what is there.
    if (typeof names === 'number' && names !== -errno.EOPNOTSUPP) return false;
    const plain =
      typeof names === 'number' ||
      !names.some((name) => kindOf(name) === 'acl' || name.startsWith(place.prefix));
    table.set(slot, plain ? flag.PLAIN : flag.ADORNED);
    return plain;
  }

  /** The attribute under the newest epoch that has it: its stored name and value, -ENODATA, or -EIO if it is not authentic. */
  #find(slot: Slot, place: Place, name: string): { stored: string; value: Buffer } | number {
    for (const keys of this.#volume.scopeOf(slot).live.since(0)) {
      const stored = place.prefix + storedXattrName(keys.binding, place.object, name);
      const length = place.get(stored);
      if (length === -errno.ENODATA) continue;
      if (length < 0) return length;
      const read = readXattr(keys.xattr, place.object, value.subarray(0, length));
      return read?.name === name ? { stored, value: read.value } : -errno.EIO;
    }
    return -errno.ENODATA;
  }

  set(node: NodeId, change: XattrChange, caller: Caller, reply: Reply): void {
    const slot = this.#nodes.admission.admit(node, caller, 'change');
    const done = slot instanceof Refusal ? slot : this.#set(slot, change);
    forgetXattr();
    answer(done, reply);
  }

  #set(slot: Slot, { name, value: content, flags, killSgid }: XattrChange): number {
    const kind = kindOf(name);
    if (kind === 'other') return -errno.EOPNOTSUPP;
    if (kind === 'nameless') return -errno.EINVAL;
    if (name.length > XATTR_NAME_MAX) return -errno.ERANGE;
    const place = this.#place(slot);
    if (typeof place === 'number') return place;
    const { table } = this.#volume;
    const plain = table.has(slot, flag.PLAIN);
    if (kind === 'acl') {
      const done = place.set(name, content);
      if (done >= 0) this.#aclChanged(slot, name, killSgid);
      return done;
    }
    const old = plain ? -errno.ENODATA : this.#find(slot, place, name);
    if (typeof old === 'number' && old !== -errno.ENODATA && old !== -errno.EIO) return old;
    const exists = old !== -errno.ENODATA;
    if (exists && (flags & XATTR_CREATE) !== 0) return -errno.EEXIST;
    if (!exists && (flags & XATTR_REPLACE) !== 0) return -errno.ENODATA;
    const keys = this.#volume.scopeOf(slot).live.current;
    const stored = place.prefix + storedXattrName(keys.binding, place.object, name);
    const sealed = storeXattr(keys.xattr, place.object, name, content);
    if (sealed.length > XATTR_SIZE_MAX) return -errno.ENOSPC;
    const done = place.set(stored, sealed);
    if (done < 0) return done === -errno.E2BIG || done === -errno.ERANGE ? -errno.ENOSPC : done;
    table.clear(slot, flag.PLAIN);
    table.set(slot, flag.ADORNED);
    // Under an older epoch's name it would be found again, once this one is removed.
    if (typeof old !== 'number' && old.stored !== stored) place.remove(old.stored);
    table.set(slot, flag.STALE);
    return 0;
  }

  /** The backing changed the mode with an access ACL; a default ACL changes what new objects get. */
  #aclChanged(slot: Slot, name: string, killSgid: boolean): void {
    const { table, directories } = this.#volume;
    table.clear(slot, flag.PLAIN);
    table.set(slot, flag.STALE | flag.ADORNED);
    const directory = directories.get(slot);
    if (directory !== undefined && name === ACL_DEFAULT) directory.inherits = undefined;
    if (!killSgid) return;
    const attributes = this.#nodes.attributes(slot);
    if (typeof attributes === 'number' || (attributes.mode & S_ISGID) === 0) return;
    this.#nodes.setMode(slot, attributes.mode & ALLPERMS & ~S_ISGID);
    table.set(slot, flag.STALE);
  }

  remove(node: NodeId, name: string, caller: Caller, reply: Reply): void {
    const slot = this.#nodes.admission.admit(node, caller, 'change');
    const done = slot instanceof Refusal ? slot : this.#remove(slot, name);
    forgetXattr();
    answer(done, reply);
  }

  #remove(slot: Slot, name: string): number {
    const kind = kindOf(name);
    if (kind === 'other') return -errno.EOPNOTSUPP;
    if (kind === 'nameless') return -errno.EINVAL;
    if (this.#volume.table.has(slot, flag.PLAIN)) return -errno.ENODATA;
    const place = this.#place(slot);
    if (typeof place === 'number') return place;
    if (kind === 'acl') {
      const done = place.remove(name);
      if (done >= 0) this.#aclChanged(slot, name, false);
      return done;
    }
    const found = this.#find(slot, place, name);
    if (found === -errno.EIO) {
      // What was tampered with can be got rid of.
      return this.#removeAll(slot, place, name);
    }
    if (typeof found === 'number') return found;
    const done = place.remove(found.stored);
    if (done >= 0) this.#volume.table.set(slot, flag.STALE);
    return done;
  }

  #removeAll(slot: Slot, place: Place, name: string): number {
    let done: number = -errno.ENODATA;
    for (const { binding } of this.#volume.scopeOf(slot).live.since(0)) {
      const gone = place.remove(place.prefix + storedXattrName(binding, place.object, name));
      if (gone >= 0) done = 0;
    }
    return done;
  }

  /** All names, each ended by NUL. trusted.* is for root alone, as on ext4. */
  list(node: NodeId, caller: Caller, reply: Reply): void {
    const slot = this.#nodes.admission.admit(node, caller, 'use');
    if (slot instanceof Refusal) {
      reply.refuse(slot);
      return;
    }
    const names = this.#list(slot);
    forgetXattr();
    if (typeof names === 'number') {
      reply.error(-names);
      return;
    }
    const seen = names.filter((name) => caller.uid === 0 || !name.startsWith('trusted.'));
    const bytes = Buffer.from(seen.map((name) => `${name}\0`).join(''), 'latin1');
    if (bytes.length > XATTR_LIST_MAX) reply.error(errno.E2BIG);
    else reply.bytes(bytes);
  }

  #list(slot: Slot): string[] | number {
    const { table } = this.#volume;
    if (table.has(slot, flag.PLAIN)) return [];
    const place = this.#place(slot);
    if (typeof place === 'number') return place;
    if (this.#isPlain(slot, place)) return [];
    const stored = place.list();
    if (typeof stored === 'number') return stored;
    const names: string[] = [];
    for (const attribute of stored) {
      if (kindOf(attribute) === 'acl') names.push(attribute);
      if (!attribute.startsWith(place.prefix)) continue;
      const length = place.get(attribute);
      if (length === -errno.ENODATA) continue;
      if (length < 0) return length;
      // Planted or damaged: it has no name here.
      for (const { xattr } of this.#volume.scopeOf(slot).live.since(0)) {
        const read = readXattr(xattr, place.object, value.subarray(0, length));
        if (read === undefined) continue;
        names.push(read.name);
        break;
      }
    }
    return names;
  }

  #place(slot: Slot): Place | number {
    const { table, backing, directories } = this.#volume;
    const file = this.#nodes.files.get(slot);
    const directory = directories.get(slot);
    const object = directory !== undefined && !table.has(slot, flag.SCOPE_ROOT) ? directory.id : NO_OBJECT;
    const plainFile = table.isRegular(slot) || table.isDirectory(slot);
    // Only root's attributes can be on symlinks and special files (xattr(7)).
    const prefix = plainFile ? XATTR_PREFIXES.user : XATTR_PREFIXES.trusted;
    const descriptor = file?.descriptor ?? (slot === ROOT_SLOT ? backing.root : undefined);
    if (descriptor !== undefined) {
      return {
        prefix,
        object,
        get: (attribute) => backing.fgetxattr(descriptor, attribute, value),
        set: (attribute, bytes) => backing.fsetxattr(descriptor, attribute, bytes),
        remove: (attribute) => backing.fremovexattr(descriptor, attribute),
        list: () => backing.flistxattr(descriptor),
      };
    }
    const at = directories.place(slot);
    if (at === undefined) return -errno.ENOENT;
    return {
      prefix,
      object,
      get: (attribute) => backing.getxattr(at.descriptor, at.name, attribute, value),
      set: (attribute, bytes) => backing.setxattr(at.descriptor, at.name, attribute, bytes),
      remove: (attribute) => backing.removexattr(at.descriptor, at.name, attribute),
      list: () => backing.listxattr(at.descriptor, at.name),
    };
  }
}

/** 0, -errno, or why not at all. */
function answer(done: number | Refusal, reply: Reply): void {
  if (done instanceof Refusal) reply.refuse(done);
  else if (done < 0) reply.error(-done);
  else reply.ok();
}

function kindOf(name: string): 'acl' | 'sealed' | 'nameless' | 'other' {
  if (name === ACL_ACCESS || name === ACL_DEFAULT) return 'acl';
  const match = /^(?:user|trusted|security)\.(.*)$/s.exec(name);
  if (match === null) return 'other';
  return match[1] === '' ? 'nameless' : 'sealed';
}
