import { Failure } from '../base/failure.js';
import type { ScopeId } from '../base/ids.js';
import type { Peer } from '../control/service.js';
import type { OpenedScope, ScopeSecrets } from '../keyring/scope-secrets.js';
import { readParameters } from '../keyring/slot-facts.js';
import { Throttle } from '../keyring/throttle.js';
import type { SecretInput } from '../libc/memory.js';
import { systemClock } from '../libc/system.js';
import type { ScopeSecretRows } from '../store/rows.js';
import type { AuditLog } from './audit-log.js';
import type { ParentSlots } from './parent-slots.js';
import type { SlotServices } from './slot-services.js';

/** Opening scopes with what callers give: wrong keys are throttled, all is written down. */
export class SlotOpening {
  readonly #services: SlotServices;
  readonly #secrets: ScopeSecrets;
  readonly #parents: ParentSlots;
  readonly #audit: AuditLog;
  readonly #pathOf: (scope: ScopeId) => string;
  readonly #throttle = new Throttle(systemClock);

  constructor(
    services: SlotServices,
    parts: { secrets: ScopeSecrets; parents: ParentSlots; audit: AuditLog },
    pathOf: (scope: ScopeId) => string,
  ) {
    this.#services = services;
    this.#secrets = parts.secrets;
    this.#parents = parts.parents;
    this.#audit = parts.audit;
    this.#pathOf = pathOf;
  }

  /**
   * Opens a scope's secrets with what a caller gave. Wrong keys and damaged rows are audited; the caller audits what
   * becomes of the right one. The secrets are the caller's to wipe. `parent`: with its parent slot.
   */
  async open(
    scope: ScopeId,
    rows: ScopeSecretRows,
    input: SecretInput | 'parent',
    peer: Peer,
    event: 'unlock' | 'slot_test',
  ): Promise<OpenedScope> {
    const path = this.#pathOf(scope);
    const refusal = this.#throttle.refusal(scope, peer.uid);
    if (refusal !== undefined) {
      // One row a wait: who hammers on must not fill the disk.
      if (refusal.first) await this.#audit.write({ event, result: 'throttled', scope }, peer);
      throw refusal.failure;
    }
    let opened: OpenedScope | undefined;
    try {
      opened =
        input === 'parent'
          ? await this.#openByParent(scope, rows)
          : await this.#secrets.open({ volume: this.#services.vault.record.volume, scope }, rows, input);
      if (opened === undefined) {
        this.#throttle.wrong(scope, peer.uid);
        throw new Failure('bad_key', `that key opens no slot of ${path}`, {
          hint: `see its slots with: scopefs slot list ${path}`,
        });
      }
    } catch (error) {
      const code = error instanceof Failure ? error.code : 'internal';
      const detail = error instanceof Failure && code === 'integrity' ? { detail: error.message } : {};
      await this.#audit.write({ event, result: code, scope, ...detail }, peer);
      throw error instanceof Failure && code === 'integrity'
        ? new Failure('integrity', `${path}: ${error.message}`, {
            hint: error.hint,
            ...(error.details === undefined ? {} : { details: error.details }),
          })
        : error;
    }
    this.#throttle.right(scope, peer.uid);
    const { rewrapped, damaged } = opened;
    try {
      await this.noteDamaged(scope, damaged, peer);
      if (rewrapped !== undefined) {
        const { store } = this.#services;
        await store.commit(() => store.putWrap(scope, rewrapped));
      }
    } catch (error) {
      for (const secret of opened.secrets) secret.wipe();
      throw error;
    }
    return opened;
  }

  async #openByParent(scope: ScopeId, rows: ScopeSecretRows): Promise<OpenedScope | undefined> {
    for (const slot of rows.slots) {
      if (slot.type !== 'parent') continue;
      const { parentEpoch } = readParameters(slot);
      const { input } = await this.#parents.secret(scope, rows.scope.parent, slot.number, parentEpoch);
      try {
        const opened = await this.#secrets.open(
          { volume: this.#services.vault.record.volume, scope },
          rows,
          input,
          'parent',
        );
        if (opened !== undefined) return opened;
      } finally {
        input.wipe();
      }
    }
    return undefined;
  }

  async noteDamaged(scope: ScopeId, damaged: readonly number[], peer: Peer | undefined): Promise<void> {
    if (damaged.length === 0) return;
    await this.#services.store.commit(() => {
      for (const slot of damaged) {
        const detail = 'its row is not what the slot list vouches for: it opens nothing';
        this.#audit.record({ event: 'integrity', result: 'integrity', scope, slot, detail }, peer);
      }
    });
  }
}
