import { Failure } from '../../base/failure.js';
import type { Peer } from '../../control/service.js';
import { type Share, writeShares } from '../../keyring/shares/share-text.js';
import { Shares } from '../../keyring/shares/shares.js';
import type { Secret } from '../../libc/memory.js';
import type { ShareRow, SlotRow } from '../../store/rows.js';
import type { StoredScope } from '../scopes/stored-scopes.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import {
  type BroughtShares,
  type FromShares,
  inputOf,
  type SharedSecret,
  type ShareKind,
  type SharesRequest,
  sameTag,
} from './shared-secret.js';

/** Split slots: the server keeps one share, the client another, which is renewed at each unlock. */
export class SplitSlots implements ShareKind {
  readonly #vault: MountedVault;
  readonly #shares: Shares;

  constructor(vault: MountedVault) {
    this.#vault = vault;
    this.#shares = new Shares(vault.seal);
  }

  make(each: Omit<Share, 'value' | 'number'>, { notAfter, window }: SharesRequest): SharedSecret {
    const { seal } = this.#vault;
    const secret = seal.fresh();
    let value: Secret | undefined;
    try {
      value = seal.fresh();
      const share = { ...each, number: 1, value };
      const serverShare = this.#shares.seal(this.#vault.context(each.scope), share, secret);
      const facts = { notAfter, window, set: each.set };
      return { input: inputOf(secret), facts, serverShare, shares: writeShares([share]) };
    } finally {
      secret.wipe();
      value?.wipe();
    }
  }

  /** What the first of the shares gives: it goes to the caller with that. */
  async secret(
    scope: StoredScope,
    slot: SlotRow,
    shares: Share[],
    { peer }: BroughtShares,
  ): Promise<FromShares | undefined> {
    const [share] = shares as [Share];
    const row = this.#vault.store.shares.get(scope.id, slot.number, share.number);
    if (row === undefined) return undefined;
    if (row.sealed === undefined) return this.#replaced(scope, row, share, peer);
    const secret = this.#shares.open(scope.context, share, row.sealed);
    if (secret === undefined) return undefined;
    shares.shift();
    return { slot, secret, share };
  }

  /** A share whose half the server has deleted: undefined where it never was right. @throws bad_key where it was */
  async #replaced(scope: StoredScope, row: ShareRow, share: Share, peer: Peer): Promise<undefined> {
    if (!sameTag(row.tag, share)) return undefined;
    const { slot, number } = share;
    const detail = `share ${number} of slot ${slot}, which a later one replaced`;
    const entry = { event: 'share_replay', result: 'bad_key', scope: scope.id, slot, detail } as const;
    await this.#vault.audit.write(entry, peer);
    throw new Failure(
      'bad_key',
      `that share of ${scope.path} was replaced: somebody has used a later one since`,
      { details: { slot, share: number, replaced: true }, reason: 'share_replaced' },
    );
  }

  /** The share after one, and its row where there is none yet that it opens. The caller wipes its value. */
  next(scope: StoredScope, share: Share, secret: Secret): { share: Share; row: ShareRow | undefined } {
    const { context } = scope;
    const next = this.#shares.next(context, share, secret);
    const sealed = this.#vault.store.shares.get(scope.id, share.slot, next.number)?.sealed;
    const opened = sealed === undefined ? undefined : this.#shares.open(context, next, sealed);
    opened?.wipe();
    return { share: next, row: opened === undefined ? this.#shares.seal(context, next, secret) : undefined };
  }
}
