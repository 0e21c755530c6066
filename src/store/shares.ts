import { idBytes, type ScopeId } from '../base/ids.js';
import type { Connection } from './connection.js';
import type { ShareRow } from './rows.js';

interface RawShare {
  number: number;
  sealed: Buffer | null;
  tag: Buffer;
}

/** How many retired shares of a slot are known for what they were. */
const RETIRED = 1_000;

/** Server shares of split slots. They go with their slot. */
export class ShareTable {
  readonly #put;
  readonly #get;
  readonly #retire;
  readonly #forget;

  constructor(db: Connection) {
    this.#put = db.prepare(
      `INSERT INTO shares (scope, slot, number, sealed, tag) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (scope, slot, number) DO UPDATE SET sealed = excluded.sealed, tag = excluded.tag`,
    );
    this.#get = db.prepare<[Buffer, number, number], RawShare>(
      'SELECT number, sealed, tag FROM shares WHERE scope = ? AND slot = ? AND number = ?',
    );
    this.#retire = db.prepare(
      'UPDATE shares SET sealed = NULL WHERE scope = ? AND slot = ? AND number < ? AND sealed IS NOT NULL',
    );
    this.#forget = db.prepare('DELETE FROM shares WHERE scope = ? AND slot = ? AND number < ?');
  }

  /** In place of one of its number, which nothing opens. */
  put(scope: ScopeId, slot: number, row: ShareRow): void {
    this.#put.run(idBytes(scope), slot, row.number, row.sealed ?? null, row.tag);
  }
  get(scope: ScopeId, slot: number, number: number): ShareRow | undefined {
    const row = this.#get.get(idBytes(scope), slot, number);
    return row === undefined ? undefined : { ...row, sealed: row.sealed ?? undefined };
  }
  /** Shares before `number` open nothing from now on. How many these were. */
  retireBefore(scope: ScopeId, slot: number, number: number): number {
    const { changes } = this.#retire.run(idBytes(scope), slot, number);
    if (changes > 0) this.#forget.run(idBytes(scope), slot, number - RETIRED);
    return changes;
  }
}
