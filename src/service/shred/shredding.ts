import { errno } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { ReceiptView, ShredView, SlotView } from '../../control/schemas.js';
import type { Peer } from '../../control/service.js';
import { systemClock } from '../../libc/system.js';
import type { Results } from '../../worker/messages.js';
import type { CoreCalls } from '../../worker/transport.js';
import { refused } from '../scopes/refusals.js';
import { type KnownScopeRecord, type ScopePaths, shown } from '../scopes/scope-paths.js';
import type { ScopeSlots } from '../slots/scope-slots.js';
import type { SlotServices } from '../vault/mounted-vault.js';
import { vaultPaths } from '../vault/vault.js';
import { unlinkAside } from './shredder.js';

const MOST_TRIES = 500;
const RETRY_MS = 20;

/** What destroys a scope needs: the way to its lock, its slots and its rows. */
export interface Shredding {
  readonly services: SlotServices;
  readonly core: CoreCalls;
  readonly scopes: ScopePaths;
  readonly slots: ScopeSlots;
  lock(scope: KnownScopeRecord): Promise<ReceiptView[]>;
}

function stillOpens(slots: readonly SlotView[], at: string, scrubbed: boolean): string[] {
  const names = slots.map(({ number, type, label }) => `slot ${number} (${label ?? type ?? 'missing'})`);
  return [
    `copies of vault and metadata store made before ${at} (backups, snapshots), with a secret of ${names.join(', ')}`,
    ...(scrubbed ? [] : ["the metadata store's write-ahead log, while another program reads the store"]),
    'blocks that the disk has not overwritten or discarded yet, with such a secret: see fstrim(8)',
  ];
}

/** After a lock the kernel may need a moment to forget the scope's names. */
async function removed(core: CoreCalls, scope: ScopeId): Promise<Results['removeScope']> {
  for (let tries = 0; ; tries++) {
    const answer = await core.call({ op: 'removeScope', scope });
    if (answer.result.ok || answer.result.errno !== errno.EBUSY || tries >= MOST_TRIES) return answer;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Refuses what would take more with it than was named. */
function check(scope: KnownScopeRecord, path: string, yes: string, scopes: ScopePaths): void {
  if (scope.parent === undefined) {
    throw new Failure('conflict', 'the root scope goes with its vault', {
      hint: 'unmount it and remove the vault directory and the metadata store',
    });
  }
  if (yes.replace(/^\/+|\/+$/g, '') !== path.slice(1)) {
    throw new Failure('usage', `that is not the path of ${path}`, {
      hint: `repeat it: --yes=${path.slice(1)}`,
    });
  }
  const below = [...scopes.values()].filter(({ parent }) => parent === scope.id);
  if (below.length > 0) {
    const paths = below.map(({ id }) => scopes.fullPath(id));
    throw new Failure('conflict', `${path} has scopes below it: ${paths.slice(0, 5).join(', ')}`, {
      hint: 'destroy these first',
      details: { scopes: paths },
    });
  }
}

/**
 * Destroys a scope: locked first, then taken out of the tree, then every row that opens it, then what is stored of it. A
 * crash in between leaves a scope that can be named again, or files that the next mount unlinks; never a key without data.
 */
export async function shred(
  { services, core, scopes, slots, lock }: Shredding,
  scope: KnownScopeRecord,
  yes: string,
  peer: Peer,
): Promise<ShredView> {
  const { id } = scope;
  const path = scopes.fullPath(id);
  const { store, vault } = services;
  return slots.inTurn(id, async () => {
    check(scope, path, yes, scopes);
    const receipts = await lock(scope);
    const were = await slots.list(id);
    const epochs = store.secretsOf(id)?.epochs.length ?? 0;
    const { result, aside } = await removed(core, id);
    if (!result.ok) {
      if (result.errno === errno.ENOTEMPTY) check(scope, path, yes, scopes);
      throw refused(result, path, scopes);
    }
    await store.commit(() => {
      store.removeScope(id);
      slots.audit.record({ event: 'shred', result: 'ok', scope: id, detail: path }, peer);
    });
    scopes.delete(id);
    const { tree } = vaultPaths(vault.path);
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
