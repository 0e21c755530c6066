import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { HolderView, ReceiptView } from '../../control/schemas.js';
import type { LockControl, LockRequest } from '../../control/service.js';
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
    { reason, wait, failIfBusy }: LockRequest,
    limit: number,
  ): Promise<ReceiptView[]> {
    const order = this.#vault.paths.lockAsked(scopes);
    this.#forgetShares(scopes);
    let holders: HolderView[] = [];
    let left = scopes;
    if (wait !== undefined) {
      const answer = await this.#vault.core.call({ op: 'drain', scopes, wait, order });
      if (!answer.drained) holders = this.#holders(scopes);
      left = answer.left;
    }
    const within = Math.min(wait ?? limit, LOCK_LIMIT_MS);
    const call = { op: 'lock', scopes: left, reason, limit: within, idle: failIfBusy, order } as const;
    const { receipts, busy } = await this.#vault.core.call(call);
    if (busy) {
      const used = this.#holders(scopes);
      const what = left.length === 1 ? this.#vault.paths.fullPath(left[0] as ScopeId) : 'a scope';
      throw new Failure('busy', `${what} is in use: nothing was locked`, {
        details: { holders: used },
        reason: 'scope_in_use',
      });
    }
    return this.#receipts.of(receipts, holders);
  }
  /** Of one scope those below it; of many of the whole mount: each is named where it is. */
  #holders([first, ...more]: readonly ScopeId[]): HolderView[] {
    const { mountPoint, paths } = this.#vault;
    const path = first === undefined || more.length > 0 ? '/' : paths.fullPath(first);
    return holdersOf(path === '/' ? mountPoint : mountPoint + path);
  }
  #forgetShares(scopes: readonly ScopeId[]): void {
    this.#slots.forgetShares((waiting) => this.#vault.paths.isWithin(waiting, scopes));
  }

  lock(scope: ScopeId, request: LockRequest): Promise<ReceiptView[]> {
    return this.#lock([scope], request, LOCK_LIMIT_MS);
  }
  /** Panic, unless it may wait: keys go first, and what was not written is named. */
  lockAll(request: LockRequest): Promise<ReceiptView[]> {
    return this.#lock([...this.#vault.paths.keys()], request, 0);
  }
  /** A lock that writes nothing back. */
  discard(scope: ScopeId, reason: string): Promise<ReceiptView[]> {
    return this.#lock([scope], { reason, wait: undefined, failIfBusy: false }, 0);
  }
  /** All that is open, in order: the daemon is about to end. */
  closeAll(reason: string): Promise<ReceiptView[]> {
    const request = { reason, wait: undefined, failIfBusy: false };
    return this.#lock([...this.#vault.paths.keys()], request, LOCK_LIMIT_MS);
  }

  /** The core locked scopes by itself: their leases ended. */
  happened(receipts: readonly LockReceipt[]): Promise<ReceiptView[]> {
    this.#forgetShares(receipts.map(({ scope }) => scope));
    return this.#receipts.of(receipts);
  }
}
