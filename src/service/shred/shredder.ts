import { errno } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { ShredView, SlotView } from '../../control/schemas.js';
import type { Peer } from '../../control/service.js';
import { systemClock } from '../../libc/system.js';
import type { Results } from '../../worker/messages.js';
import type { LockService } from '../leases/lock-service.js';
import { SHRED } from '../scopes/receipts.js';
import { refused } from '../scopes/refusals.js';
import { type KnownScopeRecord, shown } from '../scopes/scope-paths.js';
import type { ScopeSlots } from '../slots/scope-slots.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import { vaultPaths } from '../vault/vault.js';
import { unlinkAside } from './aside-files.js';

const MOST_TRIES = 500;
const RETRY_MS = 20;

function stillOpens(slots: readonly SlotView[], at: string, scrubbed: boolean): string[] {
  const names = slots.map(({ number, type, label }) => `slot ${number} (${label ?? type ?? 'missing'})`);
  return [
    `copies of vault and metadata store made before ${at} (backups, snapshots), with a secret of ${names.join(', ')}`,
    ...(scrubbed ? [] : ["the metadata store's write-ahead log, while another program reads the store"]),
    'blocks that the disk has not overwritten or discarded yet, with such a secret: see fstrim(8)',
  ];
}

/** Destroys scopes without unlocking them. */
export class Shredder {
  readonly #vault: MountedVault;
  readonly #slots: ScopeSlots;
  readonly #locks: LockService;

  constructor(vault: MountedVault, slots: ScopeSlots, locks: LockService) {
    this.#vault = vault;
    this.#slots = slots;
    this.#locks = locks;
  }

  /**
   * Locked first, then taken out of the tree, then every row that opens it, then what is stored of it. A crash in between
   * leaves a scope that can be named again, or files that the next mount unlinks; never a key without data.
   */
  shred(scope: KnownScopeRecord, yes: string, peer: Peer): Promise<ShredView> {
    const { id } = scope;
    const { store, paths, info, audit } = this.#vault;
    const path = paths.fullPath(id);
    return this.#slots.inTurn(id, async () => {
      this.#refuse(scope, path, yes);
      const receipts = await this.#locks.discard(id, SHRED);
      const were = await this.#slots.list(id);
      const epochs = store.secretsOf(id)?.epochs.length ?? 0;
      const { result, aside } = await this.#moveAside(id);
      if (!result.ok) {
        if (result.errno === errno.ENOTEMPTY) this.#refuse(scope, path, yes);
        throw refused(result, path, paths);
      }
      await store.commit(() => {
        store.removeScope(id);
        audit.record({ event: 'shred', result: 'ok', scope: id, detail: path }, peer);
      });
      paths.delete(id);
      const { tree } = vaultPaths(info.path);
      const gone = aside === undefined ? { files: 0, bytes: 0 } : await unlinkAside(tree, shown(aside));
      const scrubbed = store.scrub();
      const at = new Date(systemClock.wall()).toISOString();
      return {
        scope: id,
        path,
        slots: were,
        epochs,
        files_unlinked: gone.files,
        bytes_unlinked: gone.bytes,
        still_opens: stillOpens(were, at, scrubbed),
        receipts,
        shredded_at: at,
      };
    });
  }

  /** After a lock the kernel may need a moment to forget the scope's names. */
  async #moveAside(scope: ScopeId): Promise<Results['removeScope']> {
    for (let tries = 0; ; tries++) {
      const answer = await this.#vault.core.call({ op: 'removeScope', scope });
      if (answer.result.ok || answer.result.errno !== errno.EBUSY || tries >= MOST_TRIES) return answer;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** Refuses what would take more with it than was named. */
  #refuse(scope: KnownScopeRecord, path: string, yes: string): void {
    const { paths } = this.#vault;
    if (scope.parent === undefined) {
      throw new Failure('conflict', 'the root scope goes with its vault', { reason: 'shred_of_root' });
    }
    if (yes.replace(/^\/+|\/+$/g, '') !== path.slice(1)) {
      throw new Failure('usage', `that is not the path of ${path}`, {
        reason: { name: 'shred_misnamed', path },
      });
    }
    const below = [...paths.values()].filter(({ parent }) => parent === scope.id);
    if (below.length > 0) {
      const named = below.map(({ id }) => paths.fullPath(id));
      throw new Failure('conflict', `${path} has scopes below it: ${named.slice(0, 5).join(', ')}`, {
        reason: 'shred_above_scopes',
        details: { scopes: named },
      });
    }
  }
}
