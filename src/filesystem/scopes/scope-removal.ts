import { errno } from '../../base/errno.js';
import type { ScopeId } from '../../base/ids.js';
import { asideName } from '../../format/names/names.js';
import { RENAME_NOREPLACE } from '../disk/backing.js';
import { flag, NO_SLOT } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Locks } from './locks.js';
import type { ControlResult, ScopeAccess } from './scope-access.js';

/** Takes scopes out of the tree, without their keys: what is stored of one is moved aside, to be unlinked by others. */
export class ScopeRemoval {
  readonly #volume: Volume;
  readonly #access: ScopeAccess;
  readonly #locks: Locks;

  constructor(volume: Volume, access: ScopeAccess, locks: Locks) {
    this.#volume = volume;
    this.#access = access;
    this.#locks = locks;
  }

  /**
   * Removes a locked scope without scopes below it; its parent must be unlocked, as only that knows its stored name.
   * `done`: the name of its backing directory in the tree's root now, durably; undefined where it had none.
   */
  remove(id: ScopeId, done: (result: ControlResult, aside?: string) => void): void {
    const { scopes, table, directories, backing, cache } = this.#volume;
    const scope = this.#volume.scope(id);
    const parent = scope?.parent;
    if (scope === undefined) {
      // Taken out before, and its rows could not be removed then.
      done({ ok: true });
      return;
    }
    if (parent === undefined) {
      done({ ok: false, errno: errno.EINVAL });
      return;
    }
    if (this.#locks.stateOf(scope) !== 'locked' || this.#locks.hasOldNames(scope)) {
      done({ ok: false, errno: errno.EBUSY });
      return;
    }
    if (!parent.isOpen || parent.readOnly) {
      done({ ok: false, errno: parent.isOpen ? errno.EROFS : errno.ENOKEY, lockedScope: parent.id });
      return;
    }
    if (scopes.some((other) => other.parent === scope && !other.gone)) {
      done({ ok: false, errno: errno.ENOTEMPTY });
      return;
    }
    const names = scope.path.split('/');
    const name = names.at(-1) as string;
    const walked = this.#access.walk(parent, names);
    const gone = (): void => {
      scope.gone = true;
    };
    if (typeof walked !== 'number') {
      // Killed between its row and its directory, or its label is of before a move that nobody saw.
      if (walked.errno === errno.ENOENT) {
        gone();
        done({ ok: true });
      } else done(walked);
      return;
    }
    // Something else has its name now: then its own directory is not there.
    if (walked !== scope.root) {
      gone();
      done({ ok: true });
      return;
    }
    const above = directories.get(table.parent[walked] as number);
    const descriptor = above === undefined ? -errno.ESTALE : directories.descriptor(above.slot);
    if (above === undefined || descriptor < 0) {
      done({ ok: false, errno: descriptor < 0 ? -descriptor : errno.ESTALE });
      return;
    }
    const stored = directories.stored(above, name);
    const aside = asideName();
    let moved = backing.rename(descriptor, stored.name, backing.root, aside, RENAME_NOREPLACE);
    if (moved < 0) {
      done({ ok: false, errno: -moved });
      return;
    }
    directories.removeSide(descriptor, stored);
    moved = backing.perform({ op: 'fsync', descriptor });
    if (moved >= 0) moved = backing.perform({ op: 'fsync', descriptor: backing.root });
    const node = table.node(above.slot);
    above.children.delete(name);
    table.set(above.slot, flag.STALE);
    directories.remove(walked);
    scope.root = NO_SLOT;
    if (table.lookups[walked] === 0) table.release(walked);
    else table.set(walked, flag.DEAD | flag.UNLINKED);
    gone();
    cache.dropNames([{ parent: node, name }], () =>
      cache.dropPages([node], () => done(moved < 0 ? { ok: false, errno: -moved } : { ok: true }, aside)),
    );
  }
}
