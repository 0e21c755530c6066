import { Failure } from '../../base/failure.js';
import { factsOf } from '../../keyring/slots/slot-facts.js';
import { kindOf } from '../../keyring/slots/slot-kinds.js';
import type { SlotRow } from '../../store/rows.js';
import type { MissingSlot } from './slot-names.js';

/** A slot that opens its scope at any time, for ever. */
function isLasting(slot: SlotRow): boolean {
  const facts = factsOf(slot);
  return facts !== undefined && facts.notAfter === undefined && facts.window === undefined;
}
/** A recovery slot that always opens; drafts gave them ends and windows too. */
export function isLastResort(slot: SlotRow): boolean {
  return kindOf(slot)?.lastResort === 'is' && isLasting(slot);
}

/** Keeps people from locking everybody out by mistake: `slot` is to go, or to open less, and these are left. */
export function refuseLast(
  slot: SlotRow | MissingSlot,
  left: readonly SlotRow[],
  isDamaged: boolean,
  path: string,
): void {
  if (left.length === 0) {
    throw new Failure('conflict', `slot ${slot.number} is the last one of ${path}`, { reason: 'slot_last' });
  }
  if (isDamaged || slot.type === undefined) return;
  if (isLastResort(slot) && !left.some(isLastResort)) {
    throw new Failure('conflict', `slot ${slot.number} is the last recovery slot of ${path}`, {
      reason: 'slot_last_recovery',
    });
  }
  if (isLasting(slot) && !left.some(isLasting)) {
    throw new Failure(
      'conflict',
      `slot ${slot.number} is the last one of ${path} that has no end and no window`,
      { reason: 'slot_last_unbounded' },
    );
  }
}
