import type { ScopeId } from '../../base/ids.js';
import type { AuditView } from '../../control/schemas.js';
import type { AuditControl } from '../../control/service.js';
import type { AuditLog } from './audit-log.js';

/** The audit as callers see it. */
export class AuditTrail implements AuditControl {
  readonly #log: AuditLog;
  readonly #pathOf: (scope: ScopeId) => string | null;

  /** `pathOf`: null where the scope is gone. */
  constructor(log: AuditLog, pathOf: (scope: ScopeId) => string | null) {
    this.#log = log;
    this.#pathOf = pathOf;
  }

  tail(count: number): AuditView[] {
    return this.#log.tail(count).map((row) => ({
      sequence: row.sequence,
      at: new Date(row.at).toISOString(),
      event: row.event,
      result: row.result,
      scope: row.scope ?? null,
      path: row.scope === undefined ? null : this.#pathOf(row.scope),
      slot: row.slot ?? null,
      lease: row.lease ?? null,
      uid: row.uid ?? null,
      pid: row.pid ?? null,
      command: row.command ?? null,
      purpose: row.purpose ?? null,
      detail: row.detail ?? null,
    }));
  }
}
