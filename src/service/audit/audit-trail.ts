import type { AuditView } from '../../control/schemas.js';
import type { AuditControl } from '../../control/service.js';
import type { ScopePaths } from '../scopes/scope-paths.js';
import type { AuditLog } from './audit-log.js';

/** The audit as callers see it. */
export class AuditTrail implements AuditControl {
  readonly #log: AuditLog;
  readonly #paths: ScopePaths;

  constructor(log: AuditLog, paths: ScopePaths) {
    this.#log = log;
    this.#paths = paths;
  }

  tail(count: number): AuditView[] {
    return this.#log.tail(count).map((row) => ({
      sequence: row.sequence,
      at: new Date(row.at).toISOString(),
      event: row.event,
      result: row.result,
      scope: row.scope ?? null,
      path: row.scope === undefined || !this.#paths.has(row.scope) ? null : this.#paths.fullPath(row.scope),
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
