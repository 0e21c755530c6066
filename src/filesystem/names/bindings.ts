import { errno } from '../../base/errno.js';
import { idBytes } from '../../base/ids.js';
import { encodeBinding, encodeUnbound, judgeBinding, type Place, XATTR } from '../../format/names/binding.js';
import { encodeDirectoryRecord } from '../../format/names/directory-record.js';
import type { Descriptor } from '../disk/backing.js';
import type { Directory } from '../inodes/directories.js';
import { flag, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Target } from './nodes.js';

const xattr = Buffer.alloc(1024);

/** What ties objects to their names: the xattrs that link and rename must rewrite. */
export class Bindings {
  readonly #volume: Volume;
  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Before a file gets a second name, its binding stops naming the first. An empty file has none. */
  unbind(slot: Slot, descriptor: Descriptor, stored: string): number {
    const { table, directories, backing } = this.#volume;
    const home = directories.get(table.parent[slot] as number) as Directory;
    const place = { directory: home.id, name: table.name[slot] as string };
    const tag = Buffer.alloc(16);
    const verdict = this.#judge(slot, descriptor, stored, place, tag);
    if (verdict === 'none' || verdict === 'unbound') return 0;
    if (verdict === 'mismatch') return -errno.EIO;
    const unbound = encodeUnbound(this.#volume.scopeOf(slot).live.current.binding, tag);
    return backing.setxattr(descriptor, stored, XATTR, unbound);
  }

  /** The xattr that an object needs before, during and after a rename; undefined where it has none; or -errno. */
  forRename(
    slot: Slot,
    from: Target,
    to: Target,
  ): { before: Buffer; both: Buffer; after: Buffer } | undefined | number {
    const { table, directories } = this.#volume;
    const keys = from.directory.scope.live;
    const { binding } = keys.current;
    const old = { directory: from.directory.id, name: from.name };
    const next = { directory: to.directory.id, name: to.name };
    if (table.isRegular(slot)) {
      const tag = Buffer.alloc(16);
      const verdict = this.#judge(slot, from.descriptor, from.stored.name, old, tag);
      if (verdict === 'none' || verdict === 'unbound') return undefined;
      if (verdict === 'mismatch') return -errno.EIO;
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
    const key = keys.at(record.epoch)?.binding;
    if (key === undefined) return -errno.EIO;
    const at = (...places: Place[]): Buffer => encodeDirectoryRecord(key, record, places);
    return { before: at(old), both: at(old, next), after: at(next) };
  }

  /** What a file's binding says of a place; `none`: an empty file without one. Its tag is copied to `tag`. */
  #judge(
    slot: Slot,
    descriptor: Descriptor,
    stored: string,
    place: Place,
    tag: Buffer,
  ): 'bound' | 'unbound' | 'mismatch' | 'none' {
    const { table, backing } = this.#volume;
    const length = backing.getxattr(descriptor, stored, XATTR, xattr);
    if (length < 0) {
      return length === -errno.ENODATA && table.size[slot] === 0 ? 'none' : 'mismatch';
    }
    const { live } = this.#volume.scopeOf(slot);
    return judgeBinding(live.since(0), xattr.subarray(0, length), place, tag);
  }
}
