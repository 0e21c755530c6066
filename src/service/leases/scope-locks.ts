import type { ScopeId } from '../../base/ids.js';
import type { HolderView, ReceiptView } from '../../control/schemas.js';
import type { LockReceipt } from '../../filesystem/events.js';
import { LOCK_LIMIT_MS } from '../../worker/leases/lease-clock.js';
import { holdersOf } from '../scopes/holders.js';
import type { Receipts } from '../scopes/receipts.js';
import type { ScopeSlots } from '../slots/scope-slots.js';
import type { MountedVault } from '../vault/mounted-vault.js';

/** How a lock goes, in milliseconds. */
interface LockTerms {
  /** So long at most until open handles are closed, and then as long at most to write back. */
  readonly wait?: number | undefined;
  /** Without a wait: so long at most to write back. */
  readonly limit: number;
}

/** Locks as callers ask for them; the core's thread locks. */
export class ScopeLocks {
  readonly #vault: MountedVault;
  readonly #slots: ScopeSlots;
  readonly #receipts: Receipts;

  constructor(vault: MountedVault, slots: ScopeSlots, receipts: Receipts) {
    this.#vault = vault;
    this.#slots = slots;
    this.#receipts = receipts;
  }

  async #lock(
    scopes: readonly ScopeId[],
    reason: string,
    { wait, limit }: LockTerms,
  ): Promise<ReceiptView[]> {
    const { core, paths, mountPoint } = this.#vault;
    paths.lockAsked(scopes);
    this.#forgetShares(scopes);
    let holders: HolderView[] = [];
    let left = scopes;
    if (wait !== undefined) {
      const answer = await core.call({ op: 'drain', scopes, wait });
      if (!answer.drained) holders = holdersOf(mountPoint);
      left = answer.left;
    }
    const call = { op: 'lock', scopes: left, reason, limit: Math.min(wait ?? limit, LOCK_LIMIT_MS) } as const;
    const { receipts } = await core.call(call);
    return this.#receipts.of(receipts, holders);
  }
  #forgetShares(scopes: readonly ScopeId[]): void {
    this.#slots.forgetShares((waiting) => this.#vault.paths.isWithin(waiting, scopes));
  }

  lock(scope: ScopeId, reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#lock([scope], reason, { wait, limit: LOCK_LIMIT_MS });
  }
  /** A scope of which nothing is worth writing back. */
  drop(scope: ScopeId, reason: string): Promise<ReceiptView[]> {
    return this.#lock([scope], reason, { limit: 0 });
  }
  /** Panic, unless it may wait: keys go first, and what was not written is named. */
  lockAll(reason: string, wait: number | undefined): Promise<ReceiptView[]> {
    return this.#lock([...this.#vault.paths.keys()], reason, { wait, limit: 0 });
  }
  /** All that is open, in order: the daemon is about to end. */
  closeAll(reason: string): Promise<ReceiptView[]> {
    return this.#lock([...this.#vault.paths.keys()], reason, { limit: LOCK_LIMIT_MS });
  }

  /** The core has locked scopes by itself. */
  locked(receipts: readonly LockReceipt[]): Promise<ReceiptView[]> {
    this.#forgetShares(receipts.map(({ scope }) => scope));
    return this.#receipts.of(receipts);
  }
}
