import { randomBytes } from 'node:crypto';
import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { ScopeContext } from '../../keyring/seal.js';
import { readShares, type Share } from '../../keyring/shares/share-text.js';
import { readParameters } from '../../keyring/slots/slot-facts.js';
import type { SharedType } from '../../keyring/slots/slot-kinds.js';
import type { Secret } from '../../libc/memory.js';
import type { ShareRow } from '../../store/rows.js';
import type { StoredScope } from '../scopes/stored-scopes.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import type { BroughtShares, FromShares, SharedSecret, ShareKind, SharesRequest } from './shared-secret.js';
import { SplitSlots } from './split-slots.js';
import { ThresholdSlots } from './threshold-slots.js';

/** Slots whose secrets are never given, but follow from shares. */
export class ShareSlots {
  readonly #vault: MountedVault;
  readonly #kinds;

  constructor(vault: MountedVault) {
    this.#vault = vault;
    this.#kinds = {
      split: new SplitSlots(vault),
      threshold: new ThresholdSlots(vault),
    } satisfies Record<SharedType, ShareKind>;
  }

  /** A new secret of such a slot. */
  async make(
    { scope }: ScopeContext,
    { number: slot, type }: { readonly number: number; readonly type: SharedType },
    wanted: SharesRequest,
  ): Promise<SharedSecret> {
    const set = randomBytes(8).toString('hex');
    return this.#kinds[type].make({ type, scope, slot, set }, wanted);
  }

  /**
   * What a text of shares gives: undefined where one is wrong.
   * @throws Failure pending where more shares are needed; bad_key where a share was replaced long ago
   */
  async secret(scope: StoredScope, brought: BroughtShares): Promise<FromShares | undefined> {
    const shares = readShares(brought.text, this.#vault.seal.memory);
    try {
      const [first] = shares as [Share];
      const slot = scope.slots.find(({ number, type }) => number === first.slot && type === first.type);
      const set = slot === undefined ? undefined : readParameters(slot).set;
      const same = (share: Share): boolean =>
        share.scope === scope.id && share.slot === first.slot && share.set === set;
      if (slot === undefined || !shares.every(same)) {
        throw new Failure('bad_key', `that share is of no slot that ${scope.path} has now`, {
          reason: 'share_unknown',
        });
      }
      return await this.#kinds[first.type].secret(scope, slot, shares, brought);
    } finally {
      for (const { value } of shares) value.wipe();
    }
  }

  /** Shares of scopes that wait are forgotten. */
  forget(which: (scope: ScopeId) => boolean): void {
    this.#kinds.threshold.forget(which);
  }
  /** The client's share after one of a split slot: see {@link SplitSlots}. */
  next(scope: StoredScope, share: Share, secret: Secret): { share: Share; row: ShareRow | undefined } {
    return this.#kinds.split.next(scope, share, secret);
  }
}
