import { Failure } from '../../base/failure.js';
import { idBytes, type ScopeId } from '../../base/ids.js';
import { derive } from '../../crypto/kdf.js';
import { readParameters } from '../../keyring/slots/slot-facts.js';
import { SecretInput } from '../../libc/memory.js';
import type { SlotRow } from '../../store/rows.js';
import type { CoreCalls } from '../../worker/transport.js';
import type { SlotServices } from '../vault/mounted-vault.js';

/** Secrets of parent slots: they come from the unlocked parent scope, and nobody has to give them. */
export class ParentSlots {
  readonly #services: SlotServices;
  readonly #core: CoreCalls;
  readonly #pathOf: (scope: ScopeId) => string;

  constructor(services: SlotServices, core: CoreCalls, pathOf: (scope: ScopeId) => string) {
    this.#services = services;
    this.#core = core;
    this.#pathOf = pathOf;
  }

  /** The secret of a scope's parent slot, from that epoch of its parent (from the current one). The caller wipes it. */
  async secret(
    scope: ScopeId,
    parent: ScopeId | undefined,
    slot: number,
    epoch?: number,
  ): Promise<{ input: SecretInput; epoch: number }> {
    if (parent === undefined) {
      throw new Failure('usage', 'the root scope has no parent', { hint: 'choose another kind of slot' });
    }
    const { memory, vault } = this.#services;
    const lent = memory.allocate(32);
    try {
      const call = { op: 'lend', scope: parent, to: lent.address } as const;
      const answer = await this.#core.call(epoch === undefined ? call : { ...call, epoch });
      if (answer.epoch < 0) {
        const path = this.#pathOf(parent);
        throw new Failure('locked', `${path} is locked`, {
          hint: `unlock it first: scopefs unlock ${path} --with SRC`,
          details: { scope: path },
        });
      }
      const context = Buffer.alloc(36);
      idBytes(vault.record.volume).copy(context);
      idBytes(scope).copy(context, 16);
      context.writeUInt32LE(slot, 32);
      const input = new SecretInput();
      input.fill((address) => {
        derive(lent, 'scopefs/1/parent-slot', context, address);
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
  stale(slots: readonly SlotRow[], parent: ScopeId | undefined): SlotRow[] {
    const rows = parent === undefined ? undefined : this.#services.store.secretsOf(parent);
    const now = rows?.epochs.at(-1)?.epoch;
    return slots.filter((slot) => slot.type === 'parent' && readParameters(slot).parentEpoch !== now);
  }
}
