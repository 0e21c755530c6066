import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { SlotContext } from '../../keyring/slots/slots.js';
import type { Secret } from '../../libc/memory.js';
import type { ScopeSecretRows } from '../../store/rows.js';
import type { CoreCalls } from '../../worker/transport.js';
import type { SlotServices } from '../vault/mounted-vault.js';

/** What the store has of a scope's secrets, and the secret itself while it is unlocked. */
export class ScopeRows {
  readonly #services: SlotServices;
  readonly #core: CoreCalls;
  readonly #pathOf: (scope: ScopeId) => string;

  constructor(services: SlotServices, core: CoreCalls, pathOf: (scope: ScopeId) => string) {
    this.#services = services;
    this.#core = core;
    this.#pathOf = pathOf;
  }

  context(scope: ScopeId): SlotContext {
    return { volume: this.#services.vault.record.volume, scope };
  }
  rows(scope: ScopeId): ScopeSecretRows {
    const rows = this.#services.store.secretsOf(scope);
    if (rows === undefined) throw new Failure('not_found', `scope ${scope} is not in the metadata store`);
    return rows;
  }

  /** Lends the secret of an unlocked scope's current epoch. @throws Failure locked, or busy where another begins */
  async withSecret<T>(
    scope: ScopeId,
    use: (secret: Secret, rows: ScopeSecretRows) => T | Promise<T>,
  ): Promise<T> {
    const secret = this.#services.memory.allocate(32);
    try {
      const { epoch } = await this.#core.call({ op: 'lend', scope, to: secret.address });
      if (epoch < 0) {
        throw new Failure('locked', `${this.#pathOf(scope)} is locked`, {
          reason: 'slot_of_locked_scope',
        });
      }
      const rows = this.rows(scope);
      if (rows.epochs.at(-1)?.epoch !== epoch) {
        throw new Failure('busy', `${this.#pathOf(scope)} begins a new epoch`, { reason: 'epoch_beginning' });
      }
      return await use(secret, rows);
    } finally {
      secret.wipe();
    }
  }
}
