import type { SlotChangeView, SlotView } from '../../control/schemas.js';
import type { Peer } from '../../control/service.js';
import { systemClock } from '../../libc/system.js';
import type { SlotRow } from '../../store/rows.js';
import type { AuditedEvent } from '../audit/audit-log.js';
import type { UnlockedScope } from '../scopes/stored-scopes.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import type { SlotSecret } from './new-slots.js';
import type { SlotNames } from './slot-names.js';

/** Seconds since 1970. */
export const seconds = (): number => Math.floor(systemClock.wall() / 1000);

/** A slot that is made anew, with a secret of its own. */
export interface RenewedSlot extends Pick<SlotSecret, 'input' | 'facts' | 'serverShare'> {
  readonly slot: SlotRow;
}

/** A new epoch of a scope: what it begins after, whose it is, and who began it. */
export interface NewEpoch {
  readonly scope: UnlockedScope;
  /** Slots that stay, but for the one that is made anew. */
  readonly stay: readonly SlotRow[];
  readonly anew?: RenewedSlot;
  /** The numbers of slots that go; one that is made anew comes again. */
  readonly gone: ReadonlySet<number>;
  readonly peer: Peer;
  readonly entry: Pick<AuditedEvent, 'event' | 'slot' | 'detail'>;
  /** The slot that went or was made anew, as people see it. */
  readonly view: SlotView;
}

/** Epochs of unlocked scopes: stored, and used at once. */
export class Epochs {
  readonly #vault: MountedVault;
  readonly #names: SlotNames;

  constructor(vault: MountedVault, names: SlotNames) {
    this.#vault = vault;
    this.#names = names;
  }

  /** Stores a new epoch; everything is sealed in it from then on. */
  async begin({ scope, stay, anew, gone, peer, entry, view }: NewEpoch): Promise<SlotChangeView> {
    const { store, storeKey, slots, secrets, core, audit } = this.#vault;
    const secret = secrets.fresh();
    // As text: the store key that sealed it may be replaced meanwhile.
    const name = anew === undefined ? undefined : this.#names.label(scope.id, anew.slot);
    try {
      const created = seconds();
      const epoch = scope.epoch + 1;
      const made =
        anew === undefined
          ? undefined
          : await slots.make(scope.context, { ...anew, ...numberOf(anew.slot), created }, { epoch, secret });
      const change = await secrets.advance(scope.context, scope.rows, scope.secret, {
        slots: made === undefined ? stay : [...stay, made.slot],
        secret,
        created,
        wraps: made === undefined ? [] : [made.wrap],
      });
      const isRoot = scope.parent === undefined;
      let stored = false;
      let renewed: ReturnType<SlotNames['renewKey']> | undefined;
      try {
        await store.commit(
          () => {
            audit.record({ ...entry, result: 'ok', scope: scope.id }, peer);
            for (const number of gone) store.removeSlot(scope.id, number);
            if (made !== undefined) {
              const { number } = made.slot;
              const label =
                name === undefined ? undefined : storeKey.require().sealLabel(scope.id, number, name);
              store.addSlot(scope.id, { ...made.slot, label });
              if (anew?.serverShare !== undefined) store.shares.put(scope.id, number, anew.serverShare);
            }
            scope.store(change);
            renewed = isRoot ? this.#names.renewKey(scope.id, { epoch, secret }) : undefined;
            return renewed;
          },
          (next) => {
            stored = true;
            // At once: whatever is sealed from now on must open under the key that the store names.
            if (next !== undefined) storeKey.replace(next);
          },
        );
      } finally {
        // Also where the disk could not be synced: readers of the store see the new epoch.
        // Not unlocked any more: the next unlock begins in it.
        if (stored) await core.call({ op: 'advance', scope: scope.id, epoch, secret: secret.address });
        else renewed?.close();
      }
      return {
        slot: view,
        epoch,
        still_readable: {
          written_before: new Date(created * 1000).toISOString(),
          epochs: scope.rows.epochs.map((row) => row.epoch),
        },
      };
    } finally {
      secret.wipe();
    }
  }
}

const numberOf = ({ number, type }: SlotRow): Pick<SlotRow, 'number' | 'type'> => ({ number, type });
