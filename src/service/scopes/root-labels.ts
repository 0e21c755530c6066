import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { Log } from '../../base/log.js';
import type { OpenedScope } from '../../keyring/slots/scope-secrets.js';
import { StoreKey } from '../../keyring/store-key.js';
import type { Secret } from '../../libc/memory.js';
import type { CoreCalls } from '../../worker/transport.js';
import type { AuditLog } from '../audit/audit-log.js';
import type { SlotServices } from '../vault/mounted-vault.js';
import { readLabels, type ScopePaths } from './scope-paths.js';

/** What the root scope's secret opens besides its files: the store key, and with it the names of all other scopes. */
export class RootLabels {
  readonly #services: SlotServices;
  readonly #core: CoreCalls;
  readonly #scopes: ScopePaths;
  readonly #audit: AuditLog;
  readonly #log: Log;

  constructor(services: SlotServices, core: CoreCalls, scopes: ScopePaths, audit: AuditLog, log: Log) {
    this.#services = services;
    this.#core = core;
    this.#scopes = scopes;
    this.#audit = audit;
    this.#log = log;
  }

  /** At the first unlock since the mount; later ones find it done. @throws Failure integrity */
  async open(root: ScopeId, { epoch, secrets }: OpenedScope): Promise<void> {
    if (this.#services.storeKey !== undefined) return;
    const { suite, memory, store, vault } = this.#services;
    const sealed = store.meta('store_key');
    if (sealed === undefined) throw new Failure('integrity', 'the metadata store has no store key');
    const { volume } = vault.record;
    // The store key began with the root scope's current epoch.
    const storeKey = StoreKey.unwrap(suite, memory, volume, root, secrets.at(-1) as Secret, sealed, epoch);
    storeKey.recall(suite, memory, root, (of) => store.meta(`store_key_before_${of}`));
    this.#services.storeKey = storeKey;
    const damaged: ScopeId[] = [];
    const labels = readLabels(store, storeKey, (scope) => damaged.push(scope));
    for (const { id, path } of labels) this.#scopes.move(id, path);
    this.#scopes.unread = false;
    await this.#core.call({ op: 'labels', labels });
    for (const scope of damaged) {
      this.#log.error('the label of a scope is damaged: its directory brings it back when it is seen', {
        scope,
      });
      const detail = 'its label is not authentic';
      await this.#audit.write({ event: 'integrity', result: 'integrity', scope, detail }, undefined);
    }
  }
}
