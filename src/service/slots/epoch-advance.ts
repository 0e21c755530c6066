import type { ScopeId } from '../../base/ids.js';
import type { SlotChangeView, SlotView } from '../../control/schemas.js';
import type { Peer } from '../../control/service.js';
import type { ScopeSecrets, SlotChange } from '../../keyring/slots/scope-secrets.js';
import type { SlotFacts } from '../../keyring/slots/slot-facts.js';
import type { Slots } from '../../keyring/slots/slots.js';
import type { StoreKey } from '../../keyring/store-key.js';
import type { Secret, SecretInput } from '../../libc/memory.js';
import { systemClock } from '../../libc/system.js';
import type { EpochRow, ScopeSecretRows, ShareRow, SlotRow } from '../../store/rows.js';
import type { CoreCalls } from '../../worker/transport.js';
import type { AuditedEvent, AuditLog } from '../audit/audit-log.js';
import { type SlotServices, storeKeyOf } from '../vault/mounted-vault.js';
import type { SlotNames } from './slot-names.js';

/** Seconds since 1970. */
export const seconds = (): number => Math.floor(systemClock.wall() / 1000);

/** A slot that is made anew: its new secret, and what is public of it. */
export interface NewSlot {
  readonly slot: SlotRow;
  readonly input: SecretInput;
  readonly facts: SlotFacts;
  /** split: the server's half. */
  readonly row: ShareRow | undefined;
}

/** New epochs: stored, and used at once. */
export class EpochAdvance {
  readonly #services: SlotServices;
  readonly #core: CoreCalls;
  readonly #slots: Slots;
  readonly #secrets: ScopeSecrets;
  readonly #names: SlotNames;
  readonly #audit: AuditLog;

  constructor(
    services: SlotServices,
    core: CoreCalls,
    parts: { slots: Slots; secrets: ScopeSecrets; names: SlotNames; audit: AuditLog },
  ) {
    this.#services = services;
    this.#core = core;
    this.#slots = parts.slots;
    this.#secrets = parts.secrets;
    this.#names = parts.names;
    this.#audit = parts.audit;
  }

  /** A new epoch for `left` (and a slot made anew): stored, then used from the next seal on. */
  async advance(
    scope: ScopeId,
    rows: ScopeSecretRows,
    secret: Secret,
    left: readonly SlotRow[],
    gone: ReadonlySet<number>,
    entry: Pick<AuditedEvent, 'event' | 'slot' | 'detail'>,
    peer: Peer,
    view: SlotView,
    anew?: NewSlot,
  ): Promise<SlotChangeView> {
    const { store } = this.#services;
    const context = { volume: this.#services.vault.record.volume, scope };
    const next = this.#secrets.fresh();
    // As text: the store key that sealed it may be replaced meanwhile.
    const name = anew === undefined ? undefined : this.#names.label(scope, anew.slot);
    try {
      const now = seconds();
      const epoch = (rows.epochs.at(-1) as EpochRow).epoch + 1;
      const made =
        anew === undefined
          ? undefined
          : await this.#slots.make(
              context,
              anew.slot.number,
              anew.slot.type,
              anew.input,
              epoch,
              next,
              now,
              anew.facts,
            );
      const slots = made === undefined ? left : [...left, made.slot];
      const wraps = made === undefined ? [] : [made.wrap];
      const change = await this.#secrets.advance(context, slots, rows, secret, next, now, wraps);
      const isRoot = rows.scope.parent === undefined;
      let stored = false;
      let renewed: StoreKey | undefined;
      try {
        await store.commit(
          () => {
            this.#audit.record({ ...entry, result: 'ok', scope }, peer);
            for (const number of gone) store.removeSlot(scope, number);
            if (made !== undefined) {
              const { number } = made.slot;
              const label =
                name === undefined ? undefined : storeKeyOf(this.#services).sealLabel(scope, number, name);
              store.addSlot(scope, { ...made.slot, label });
              if (anew?.row !== undefined) store.shares.put(scope, number, anew.row);
            }
            this.#apply(scope, change);
            renewed = isRoot ? this.#names.renewKey(scope, epoch, next) : undefined;
            return renewed;
          },
          (storeKey) => {
            stored = true;
            // At once: whatever is sealed from now on must open under the key that the store names.
            if (storeKey === undefined) return;
            this.#services.storeKey?.close();
            this.#services.storeKey = storeKey;
          },
        );
      } finally {
        // Also where the disk could not be synced: readers of the store see the new epoch.
        // Not unlocked any more: the next unlock begins in it.
        if (stored) await this.#core.call({ op: 'advance', scope, epoch, secret: next.address });
        else renewed?.close();
      }
      return {
        slot: view,
        epoch,
        still_readable: {
          written_before: new Date(now * 1000).toISOString(),
          epochs: rows.epochs.map((row) => row.epoch),
        },
      };
    } finally {
      next.wipe();
    }
  }

  #apply(scope: ScopeId, change: SlotChange): void {
    const { store } = this.#services;
    if (change.epoch !== undefined) store.addEpoch(scope, change.epoch);
    for (const wrap of change.wraps) store.putWrap(scope, wrap);
    store.setState(scope, change.state, change.slotList);
  }
}
