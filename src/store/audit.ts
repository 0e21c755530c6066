import { idBytes, type ScopeId, scopeId } from '../base/ids.js';
import type { Connection } from './connection.js';

/** What happened: one row each, never changed (triggers of the schema refuse it). */
export const auditEvents = [
  'create',
  'unlock',
  'lock',
  'lease_change',
  'lease_end',
  'budget',
  'shred',
  'slot_add',
  'slot_remove',
  'slot_rotate',
  'slot_window',
  'slot_test',
  'share_renew',
  'share_replay',
  'integrity',
] as const;
export type AuditEvent = (typeof auditEvents)[number];

export interface AuditEntry {
  readonly event: AuditEvent;
  /** `ok`, or the code of the failure. */
  readonly result: string;
  readonly scope?: ScopeId | undefined;
  readonly slot?: number | undefined;
  readonly lease?: string | undefined;
  readonly uid?: number | undefined;
  readonly pid?: number | undefined;
  /** Texts, sealed under the store key of generation `noteKey` (keyring/store-key.ts). */
  readonly note?: Buffer | undefined;
  readonly noteKey?: number | undefined;
}
export interface AuditRow extends AuditEntry {
  readonly sequence: number;
  /** Milliseconds since 1970. */
  readonly at: number;
}

interface RawAudit {
  sequence: number;
  at: number;
  event: AuditEvent;
  result: string;
  scope: Buffer | null;
  slot: number | null;
  lease: string | null;
  uid: number | null;
  pid: number | null;
  note: Buffer | null;
  note_key: number | null;
}

/** The append-only record of who opened what. Rows are durable with the commit that they are part of. */
export class AuditTable {
  readonly #append;
  readonly #tail;
  readonly #unlocks;

  constructor(db: Connection) {
    this.#append = db.prepare(
      `INSERT INTO audit (at, event, result, scope, slot, lease, uid, pid, note, note_key)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#tail = db.prepare<[number], RawAudit>('SELECT * FROM audit ORDER BY sequence DESC LIMIT ?');
    // The row is written before the scope opens; where that failed after all, or nothing came of it, another row of the same lease
    // says so.
    this.#unlocks = db.prepare<[Buffer, number, number], { count: number }>(
      `SELECT count(*) AS count FROM audit AS one
       WHERE scope = ? AND slot = ? AND at >= ? AND event = 'unlock' AND result = 'ok' AND NOT EXISTS
         (SELECT 1 FROM audit AS other WHERE other.scope = one.scope AND other.sequence > one.sequence
           AND other.lease = one.lease AND other.event = 'unlock' AND other.result <> 'ok')`,
    );
  }

  /** `at`: milliseconds since 1970. */
  append(at: number, entry: AuditEntry): void {
    const { event, result, scope, slot, lease, uid, pid, note, noteKey } = entry;
    const optional = [slot, lease, uid, pid, note, noteKey].map((value) => value ?? null);
    const id = scope === undefined ? null : idBytes(scope);
    this.#append.run(Math.floor(at), event, result, id, ...optional);
  }

  /** How often a slot opened its scope since a moment. */
  unlocks(scope: ScopeId, slot: number, since: number): number {
    return this.#unlocks.get(idBytes(scope), slot, since)?.count ?? 0;
  }

  /** The last `count` rows, the oldest of them first. */
  tail(count: number): AuditRow[] {
    return this.#tail
      .all(count)
      .reverse()
      .map((row) => ({
        sequence: row.sequence,
        at: row.at,
        event: row.event,
        result: row.result,
        scope: row.scope === null ? undefined : scopeId(row.scope.toString('hex')),
        slot: row.slot ?? undefined,
        lease: row.lease ?? undefined,
        uid: row.uid ?? undefined,
        pid: row.pid ?? undefined,
        note: row.note ?? undefined,
        noteKey: row.note_key ?? undefined,
      }));
  }
}
