import type { ScopeId } from '../../base/ids.js';
import { countsOf } from '../../control/receipt-counts.js';
import type { HolderView, ReceiptView } from '../../control/schemas.js';
import type { Peer } from '../../control/service.js';
import type { LockReceipt } from '../../filesystem/events.js';
import { systemClock } from '../../libc/system.js';
import type { AuditedEvent } from '../audit/audit-log.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import { shown } from './scope-paths.js';

/** The reason of a lock that a scope's destruction begins with. */
export const SHRED = 'shred';

/** Receipts of locks for people, each written down. */
export class Receipts {
  readonly #vault: MountedVault;
  /** The last generation of each scope whose lock is written down. */
  readonly #audited = new Map<ScopeId, number>();

  constructor(vault: MountedVault) {
    this.#vault = vault;
  }

  readonly #expected = new Map<ScopeId, ((view: ReceiptView) => void)[]>();

  /** The next receipt of a scope. */
  next(scope: ScopeId): Promise<ReceiptView> {
    return new Promise((resolve) => {
      this.#expected.set(scope, [...(this.#expected.get(scope) ?? []), resolve]);
    });
  }

  /** `holders`: who used them until the end. Each is named where it was: in the deepest of the scopes. */
  async of(receipts: readonly LockReceipt[], holders: readonly HolderView[] = []): Promise<ReceiptView[]> {
    const views = receipts.map((receipt) => ({
      scope: receipt.scope,
      path: this.#vault.paths.fullPath(receipt.scope),
      generation: receipt.generation,
      reason: receipt.reason,
      ...countsOf(receipt),
      bytes_flushed: receipt.bytesFlushed,
      errors: receipt.errors.map(({ file, error }) => ({ file: shown(file), error })),
      holders: [] as HolderView[],
      locked_at: new Date(systemClock.wall()).toISOString(),
      seconds: receipt.seconds,
    }));
    for (const holder of holders) this.#place(holder, views);
    await Promise.all(receipts.map((receipt) => this.#auditLock(receipt)));
    for (const [i, { scope }] of receipts.entries()) {
      const expected = this.#expected.get(scope) ?? [];
      this.#expected.delete(scope);
      for (const hear of expected) hear(views[i] as ReceiptView);
    }
    return views;
  }

  /** Children come first: a file belongs to the first scope that it lies in. */
  #place(holder: HolderView, views: readonly ReceiptView[]): void {
    const left = new Set(holder.files);
    for (const { path, holders } of views) {
      const root = this.#vault.mountPoint + (path === '/' ? '' : path);
      const files = [...left].filter((file) => file === root || file.startsWith(`${root}/`));
      for (const file of files) left.delete(file);
      if (files.length > 0) holders.push({ ...holder, files });
    }
  }

  /** Once: several callers may have asked for one lock. */
  async #auditLock({ scope, generation, reason, errors }: LockReceipt): Promise<void> {
    if ((this.#audited.get(scope) ?? 0) >= generation) return;
    this.#audited.set(scope, generation);
    const result = errors.length === 0 ? 'ok' : 'io';
    await this.audit({ event: 'lock', result, scope, detail: reason }, undefined);
  }

  /** Something happened already: a row that can't be written does not undo it. */
  async audit(entry: AuditedEvent, peer: Peer | undefined): Promise<void> {
    try {
      await this.#vault.audit.write(entry, peer);
    } catch (error) {
      const { event, scope } = entry;
      this.#vault.log.error('what happened could not be audited', { event, scope, error });
    }
  }
}
