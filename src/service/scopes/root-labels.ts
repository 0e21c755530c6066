import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { OpenedScope } from '../../keyring/slots/scope-secrets.js';
import { StoreKey } from '../../keyring/store-key.js';
import type { Secret } from '../../libc/memory.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import { readLabels } from './scope-paths.js';

/**
 * What the root scope's secret opens besides its files, at its first unlock since the mount (later ones find it done): the
 * store key, and with it the names of all other scopes. @throws Failure integrity
 */
export async function openLabels(
  vault: MountedVault,
  root: ScopeId,
  { epoch, secrets }: OpenedScope,
): Promise<void> {
  const { storeKey: current, store, seal, paths, core, log, audit } = vault;
  if (current.get() !== undefined) return;
  const sealed = store.meta('store_key');
  if (sealed === undefined) throw new Failure('integrity', 'the metadata store has no store key');
  // The store key began with the root scope's current epoch.
  const begun = { epoch, secret: secrets.at(-1) as Secret };
  const storeKey = StoreKey.unwrap(seal, vault.context(root), begun, sealed);
  storeKey.recall(root, (of) => store.meta(`store_key_before_${of}`));
  current.replace(storeKey);
  const damaged: ScopeId[] = [];
  const labels = readLabels(store, storeKey, (scope) => damaged.push(scope));
  for (const { id, path } of labels) paths.move(id, path);
  paths.unread = false;
  await core.call({ op: 'labels', labels });
  for (const scope of damaged) {
    log.error('the label of a scope is damaged: its directory brings it back when it is seen', { scope });
    const detail = 'its label is not authentic';
    await audit.write({ event: 'integrity', result: 'integrity', scope, detail }, undefined);
  }
}
