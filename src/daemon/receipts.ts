import type { Log } from '../base/log.js';
import type { ReceiptView } from '../control/schemas.js';
import type { Peer } from '../control/service.js';
import type { LockReceipt } from '../filesystem/lock.js';
import { systemClock } from '../libc/system.js';
import type { AuditedEvent, AuditLog } from './audit-log.js';
import { type ScopePaths, shown } from './scope-paths.js';

/** Receipts of locks for people, each written down. */
export class Receipts {
  readonly #scopes: ScopePaths;
  readonly #log: Log;
  readonly #auditLog: AuditLog;

  constructor(scopes: ScopePaths, log: Log, auditLog: AuditLog) {
    this.#scopes = scopes;
    this.#log = log;
    this.#auditLog = auditLog;
  }

  async of(receipts: readonly LockReceipt[]): Promise<ReceiptView[]> {
    const views = receipts.map((receipt) => ({
      scope: receipt.scope,
      path: this.#scopes.fullPath(receipt.scope),
      generation: receipt.generation,
      reason: receipt.reason,
      leases_ended: receipt.leasesEnded,
      handles_cut: receipt.handlesCut,
      inodes_invalidated: receipt.inodesInvalidated,
      bytes_flushed: receipt.bytesFlushed,
      errors: receipt.errors.map(({ file, error }) => ({ file: shown(file), error })),
      locked_at: new Date(systemClock.wall()).toISOString(),
      seconds: receipt.seconds,
    }));
    await Promise.all(receipts.map((receipt) => this.#auditLock(receipt)));
    return views;
  }

  #auditLock({ scope, reason, errors }: LockReceipt): Promise<void> {
    const result = errors.length === 0 ? 'ok' : 'io';
    return this.audit({ event: 'lock', result, scope, detail: reason }, undefined);
  }

  /** Something happened already: a row that can't be written does not undo it. */
  async audit(entry: AuditedEvent, peer: Peer | undefined): Promise<void> {
    try {
      await this.#auditLog.write(entry, peer);
    } catch (error) {
      const { event, scope } = entry;
      this.#log.error('what happened could not be audited', { event, scope, error });
    }
  }
}
