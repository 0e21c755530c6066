import type { ScopeId } from '../../base/ids.js';
import type { HolderView, ReceiptView } from '../../control/schemas.js';
import type { LockControl } from '../../control/service.js';
import type { LockReceipt } from '../../filesystem/events.js';
import { LOCK_LIMIT_MS } from '../../worker/leases/lease-clock.js';
import { holdersOf } from '../scopes/holders.js';
import type { Receipts } from '../scopes/receipts.js';
import type { ScopeSlots } from '../slots/scope-slots.js';
import type { MountedVault } from '../vault/mounted-vault.js';

/** Locks of a mounted vault's scopes, with all below them: a receipt each. */
export class LockService implements LockControl {
  readonly #vault: MountedVault;
  readonly #slots: ScopeSlots;
  readonly #receipts: Receipts;

  constructor(vault: MountedVault, slots: ScopeSlots, receipts: Receipts) {
    this.#vault = vault;
    this.#slots = slots;
    this.#receipts = receipts;
  }

  /** `wait`: so long for open handles to be closed, and then as long at most to write back; without it `limit` for that. */
  async #lock(
    scopes: readonly ScopeId[],
    reason: string,
    wait: number | undefined,
    limit: number,
  ): Promise<ReceiptView[]> {
    this.#vault.paths.lockAsked(scopes);
    this.#forgetShares(scopes);
    let holders: HolderView[] = [];
    let left = scopes;
    if (wait !== undefined) {
      const answer = await this.#vault.core.call({ op: 'drain', scopes, wait });
      if (!answer.drained) holders = holdersOf(this.#vault.mountPoint);
      left = answer.left;
    }
    const call = { op: 'lock', scopes: left, reason, limit: Math.min(wait ?? limit, LOCK_LIMIT_MS) } as const;
    const { receipts } = await this.#vault.core.call(call);
    return this.#receipts.of(receipts, holders);
  }
  #forgetShares(scopes: readonly ScopeId[]): void {
    this.#slots.forgetShares((waiting) => this.#vault.paths.isWithin(waiting, scopes));
  }

  lock(scope: ScopeId, reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#lock([scope], reason, wait, LOCK_LIMIT_MS);
  }
  /** Panic, unless it may wait: keys go first, and what was not written is named. */
  lockAll(reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#lock([...this.#vault.paths.keys()], reason, wait, 0);
  }
  /** A lock that writes nothing back. */
  discard(scope: ScopeId, reason: string): Promise<ReceiptView[]> {
    return this.#lock([scope], reason, undefined, 0);
  }
  /** All that is open, in order: the daemon is about to end. */
  closeAll(reason: string): Promise<ReceiptView[]> {
    return this.#lock([...this.#vault.paths.keys()], reason, undefined, LOCK_LIMIT_MS);
  }

  /** The core locked scopes by itself: their leases ended. */
  happened(receipts: readonly LockReceipt[]): Promise<ReceiptView[]> {
    this.#forgetShares(receipts.map(({ scope }) => scope));
    return this.#receipts.of(receipts);
  }
}
