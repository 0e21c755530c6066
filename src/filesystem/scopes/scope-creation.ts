import { randomBytes } from 'node:crypto';
import { errno } from '../../base/errno.js';
import { idBytes, type ScopeId } from '../../base/ids.js';
import { ScopeKeys } from '../../crypto/scope-keys.js';
import { XATTR, XATTR_ROOT } from '../../format/names/binding.js';
import { encodeDirectoryRecord } from '../../format/names/directory-record.js';
import { NAME_MAX } from '../../format/names/names.js';
import type { Secret } from '../../libc/memory.js';
import type { Terms } from '../contract.js';
import type { Directory } from '../inodes/directories.js';
import { flag } from '../inodes/inode-table.js';
import type { Scope } from '../inodes/scope.js';
import type { Volume } from '../inodes/volume.js';
import type { Creation, Owner } from '../names/creation.js';
import type { Nodes } from '../names/nodes.js';
import { type ControlResult, OK, type ScopeAccess } from './scope-access.js';

export interface NewScope {
  readonly id: ScopeId;
  /** latin1, from the mount's root: a new directory, or an empty one that is there. */
  readonly names: readonly string[];
  readonly epoch: number;
  /** Of that epoch; taken over, wiped on failure too. */
  readonly secret: Secret;
  readonly owner: Owner;
  /** For whom it is left unlocked. */
  readonly terms: Terms;
}
export interface ScopePlace {
  readonly parent: ScopeId;
  /** Below the parent scope's root, latin1. */
  readonly path: string;
}

/** Makes scopes: a directory with a root record of its own, bound into the tree of its parent scope. */
export class ScopeCreation {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #objects: Creation;
  readonly #access: ScopeAccess;

  constructor(volume: Volume, nodes: Nodes, objects: Creation, access: ScopeAccess) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#objects = objects;
    this.#access = access;
  }

  /** Makes a new scope; its parent must be unlocked. Leaves it unlocked. `done` also says where it is now. */
  create(
    { id, names, epoch, secret, owner, terms }: NewScope,
    done: (result: ControlResult, place?: ScopePlace) => void,
  ): void {
    const refuse = (result: ControlResult): void => {
      secret.wipe();
      done(result);
    };
    const name = names.at(-1) ?? '';
    const above = this.#access.walk(this.#volume.scopes[0] as Scope, names.slice(0, -1), true);
    if (typeof above !== 'number') {
      refuse(above);
      return;
    }
    const home = this.#volume.scopeOf(above);
    const directory = this.#volume.directories.get(above);
    if (!home.isOpen) {
      refuse({ ok: false, errno: errno.ENOKEY, lockedScope: home.id });
    } else if (home.restricted) {
      refuse({ ok: false, errno: errno.EPERM, lockedScope: home.id });
    } else if (home.readOnly) {
      refuse({ ok: false, errno: errno.EROFS, lockedScope: home.id });
    } else if (directory === undefined) {
      refuse({ ok: false, errno: errno.ENOTDIR, at: names.at(-2) ?? '/' });
    } else if (/^\.{0,2}$|\0/.test(name) || name.length > NAME_MAX) {
      refuse({ ok: false, errno: errno.EINVAL, at: name });
    } else {
      const parentPath = this.#volume.directories.pathInScope(above) ?? '';
      const path = parentPath === '' ? name : `${parentPath}/${name}`;
      const keys = new ScopeKeys(this.#volume.suite, this.#volume.memory, id, epoch, [secret]);
      const made = this.#makeRoot(directory, name, keys, owner);
      if (made < 0) {
        keys.close();
        done({ ok: false, errno: -made, at: name });
        return;
      }
      const scope = this.#volume.addScope({ id, parent: home.id, path });
      scope.begin(terms);
      scope.keys = keys;
      scope.state = 'open';
      scope.generation = 1;
      const { table, cache } = this.#volume;
      table.set(directory.slot, flag.STALE);
      const found = this.#nodes.find(directory, name);
      const parentNode = table.node(directory.slot);
      // The kernel may remember that the name does not exist, or what it was before.
      cache.dropNames([{ parent: parentNode, name }], () =>
        cache.dropPages([parentNode], () =>
          done(found < 0 ? { ok: false, errno: -found, at: name } : OK, { parent: home.id, path }),
        ),
      );
    }
  }

  #makeRoot(parent: Directory, name: string, keys: ScopeKeys, owner: Owner): number {
    const { directories, backing, table } = this.#volume;
    const parentKeys = parent.scope.live;
    const edge = encodeDirectoryRecord(
      parentKeys.current.binding,
      { kind: 'edge', epoch: parentKeys.epoch, id: idBytes(keys.scope) },
      [{ directory: parent.id, name }],
    );
    const root = rootRecord(keys);
    const descriptor = directories.descriptor(parent.slot);
    if (descriptor < 0) return descriptor;
    const existing = this.#nodes.find(parent, name);
    const stored = directories.stored(parent, name);
    if (existing === -errno.ENOENT) {
      return this.#objects.makeDirectory(descriptor, stored, owner, [
        [XATTR_ROOT, root],
        [XATTR, edge],
      ]);
    }
    if (existing < 0) return existing;
    if (!table.isDirectory(existing)) return -errno.ENOTDIR;
    if (table.has(existing, flag.SCOPE_ROOT)) return -errno.EEXIST;
    const entries = backing.list(directories.descriptor(existing));
    if (typeof entries === 'number') return entries;
    if (entries.length > 0) return -errno.ENOTEMPTY;
    let done = backing.setxattr(descriptor, stored.name, XATTR_ROOT, root);
    if (done >= 0) done = backing.setxattr(descriptor, stored.name, XATTR, edge);
    if (done < 0) return done;
    // What the kernel has of the old directory is not the scope.
    directories.remove(existing);
    table.set(existing, flag.DEAD);
    parent.children.delete(name);
    return 0;
  }
}

/** A fresh root record of a scope, for `user.scopefs.root`. */
export function rootRecord(keys: ScopeKeys): Buffer {
  return encodeDirectoryRecord(keys.current.binding, {
    kind: 'root',
    epoch: keys.epoch,
    id: randomBytes(16),
  });
}
