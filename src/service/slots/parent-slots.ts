import { Failure } from '../../base/failure.js';
import { idBytes } from '../../base/ids.js';
import { derive } from '../../crypto/kdf.js';
import { epochOf } from '../../keyring/slots/scope-secrets.js';
import { readParameters } from '../../keyring/slots/slot-facts.js';
import { kindOf } from '../../keyring/slots/slot-kinds.js';
import { SecretInput } from '../../libc/memory.js';
import type { SlotRow } from '../../store/rows.js';
import type { SlotOwner, StoredScope } from '../scopes/stored-scopes.js';
import type { MountedVault } from '../vault/mounted-vault.js';

/** Secrets of parent slots: they come from the unlocked parent scope, and nobody has to give them. */
export class ParentSlots {
  readonly #vault: MountedVault;

  constructor(vault: MountedVault) {
    this.#vault = vault;
  }

  /** The secret of a scope's parent slot, from that epoch of its parent (from the current one). The caller wipes it. */
  async secret(
    { context, parent }: SlotOwner,
    slot: number,
    epoch?: number,
  ): Promise<{ input: SecretInput; epoch: number }> {
    if (parent === undefined) {
      throw new Failure('usage', 'the root scope has no parent', { reason: 'slot_root_without_parent' });
    }
    const { seal, core, paths } = this.#vault;
    const lent = seal.memory.allocate(32);
    try {
      const call = { op: 'lend', scope: parent, to: lent.address } as const;
      const answer = await core.call(epoch === undefined ? call : { ...call, epoch });
      if (answer.epoch < 0) {
        const path = paths.fullPath(parent);
        throw new Failure('locked', `${path} is locked`, {
          reason: { name: 'scope_locked', scope: path },
          details: { scope: path },
        });
      }
      const place = Buffer.alloc(36);
      idBytes(context.volume).copy(place);
      idBytes(context.scope).copy(place, 16);
      place.writeUInt32LE(slot, 32);
      const input = new SecretInput();
      input.fill((address) => {
        derive(lent, 'scopefs/1/parent-slot', place, address);
        return 32;
      });
      return { input, epoch: answer.epoch };
    } finally {
      lent.wipe();
    }
  }

  /**
   * Parent slots whose secret comes from an epoch that their parent has left: whoever was removed from the parent opens
   * them still, until they are made anew.
   */
  stale(slots: readonly SlotRow[], { parent }: StoredScope): SlotRow[] {
    const rows = parent === undefined ? undefined : this.#vault.store.secretsOf(parent);
    const now = rows === undefined || rows.epochs.length === 0 ? undefined : epochOf(rows);
    return slots.filter(
      (slot) => kindOf(slot)?.origin === 'parent' && readParameters(slot).parentEpoch !== now,
    );
  }
}
