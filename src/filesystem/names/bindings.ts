import { errno } from '../../base/errno.js';
import { idBytes } from '../../base/ids.js';
import { encodeBinding, encodeUnbound, judgeBinding, type Place, XATTR } from '../../format/names/binding.js';
import { encodeDirectoryRecord } from '../../format/names/directory-record.js';
import type { Handle } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';

const xattr = Buffer.alloc(1024);

/** What ties objects to their names: the xattrs that link and rename must rewrite. */
export class Bindings {
  readonly #volume: Volume;
  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Before a file gets a second name, its binding stops naming the first. An empty file has none. */
  unbind(slot: Slot, handle: Handle, name: string): number {
    const { backing } = this.#volume;
    const { table, directories } = this.#volume;
    const home = directories.get(table.parent[slot] as number) as Directory;
    const tag = Buffer.alloc(16);
    const verdict = this.#judge(slot, home, table.name[slot] as string, handle, name, tag);
    if (verdict === 'none' || verdict === 'unbound') return 0;
    if (verdict === 'mismatch') return -errno.EIO;
    const unbound = encodeUnbound(this.#volume.scopeOf(slot).live.current.binding, tag);
    return backing.setxattr(handle, name, XATTR, unbound);
  }

  /** The xattr that an object needs before, during and after a rename; undefined where it has none; or -errno. */
  forRename(
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
    const { binding } = keys.current;
    if (table.isRegular(slot)) {
      const tag = Buffer.alloc(16);
      const verdict = this.#judge(slot, from, name, handle, stored, tag);
      if (verdict === 'none' || verdict === 'unbound') return undefined;
      if (verdict === 'mismatch') return -errno.EIO;
      const old = { directory: from.id, name };
      const next = { directory: to.id, name: newName };
      return {
        before: encodeBinding(binding, tag, [old]),
        both: encodeBinding(binding, tag, [old, next]),
        after: encodeBinding(binding, tag, [next]),
      };
    }
    if (!table.isDirectory(slot)) return undefined;
    const edge = table.has(slot, flag.SCOPE_ROOT);
    const own = directories.get(slot);
    if (!edge && own === undefined) return -errno.EIO;
    const record = {
      kind: edge ? 'edge' : 'directory',
      // A directory's own epoch stays: its names may be as old.
      epoch: edge ? keys.epoch : (own as Directory).epoch,
      id: edge ? idBytes(this.#volume.scopeOf(slot).id) : (own as Directory).id,
    } as const;
    const old = { directory: from.id, name };
    const next = { directory: to.id, name: newName };
    const key = keys.at(record.epoch)?.binding;
    if (key === undefined) return -errno.EIO;
    const at = (...places: Place[]): Buffer => encodeDirectoryRecord(key, record, places);
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
    const place = { directory: directory.id, name };
    return judgeBinding(directory.scope.live.since(0), xattr.subarray(0, length), place, tag);
  }
}
