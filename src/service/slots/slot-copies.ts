import type { ScopeId } from '../../base/ids.js';
import { encodeSlotCopy } from '../../format/scope/slot-copy.js';
import { peekSlotList } from '../../format/scope/slot-list.js';
import type { EpochRow, ScopeSecretRows } from '../../store/rows.js';

/** The copy of a scope's rows that lies in its root directory. */
export function slotCopyOf(scope: ScopeId, rows: ScopeSecretRows): Buffer {
  const epoch = (rows.epochs.at(-1) as EpochRow).epoch;
  const list = peekSlotList(rows.scope.slotList)?.version ?? 0;
  const body = Buffer.from(
    JSON.stringify(rows, (_key, value: unknown) =>
      isBuffer(value) ? Buffer.from(value.data).toString('base64') : value,
    ),
  );
  return encodeSlotCopy(scope, { epoch, list }, body);
}

/** A Buffer as JSON.stringify hands it over. */
function isBuffer(value: unknown): value is { data: number[] } {
  return typeof value === 'object' && value !== null && (value as { type?: unknown }).type === 'Buffer';
}
