import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import { SHAMIR } from '../../crypto/shamir.js';
import { PendingShares } from '../../keyring/shares/pending-shares.js';
import { type Share, tagOf, writeShares } from '../../keyring/shares/share-text.js';
import { readParameters, tagsOf } from '../../keyring/slots/slot-facts.js';
import { systemClock } from '../../libc/system.js';
import type { SlotRow } from '../../store/rows.js';
import type { StoredScope } from '../scopes/stored-scopes.js';
import { ChildSharing } from '../secrets/shamir.js';
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

/** Threshold slots: k of n shares open them, brought together or one by one. */
export class ThresholdSlots implements ShareKind {
  readonly #vault: MountedVault;
  readonly #sharing: ChildSharing;
  readonly #pending = new PendingShares(systemClock);
  #expiry: NodeJS.Timeout | undefined;

  constructor(vault: MountedVault) {
    this.#vault = vault;
    this.#sharing = new ChildSharing(vault.seal.memory);
  }

  async make(
    each: Omit<Share, 'value' | 'number'>,
    { shares: count, needed, notAfter, window }: SharesRequest,
  ): Promise<SharedSecret> {
    if (count === undefined || needed === undefined || needed < 2 || needed > count || count > SHAMIR.most) {
      throw new Failure(
        'usage',
        `a threshold slot has 2 to ${SHAMIR.most} shares, of which 2 or more open it`,
        { reason: 'shares_unnamed' },
      );
    }
    const secret = this.#vault.seal.fresh();
    const made: Share[] = [];
    try {
      const values = await this.#sharing.split(secret, count, needed);
      made.push(...values.map((value, i) => ({ ...each, number: i + 1, value })));
      const tags = Buffer.concat(made.map(tagOf)).toString('base64');
      const facts = { notAfter, window, set: each.set, needed, tags };
      return { input: inputOf(secret), facts, serverShare: undefined, shares: writeShares(made) };
    } finally {
      secret.wipe();
      for (const { value } of made) value.wipe();
    }
  }

  /** What enough of the shares give, with those that wait already. @throws pending */
  async secret(
    scope: StoredScope,
    slot: SlotRow,
    shares: Share[],
    { terms }: BroughtShares,
  ): Promise<FromShares | undefined> {
    const { needed = 2, tags = '' } = readParameters(slot);
    const known = tagsOf(tags);
    const right = (share: Share): boolean => {
      const tag = known[share.number - 1];
      return tag !== undefined && sameTag(tag, share);
    };
    if (!shares.every(right)) return undefined;
    const here = terms === undefined ? shares : this.#collect(scope, slot, shares, needed, terms);
    const numbers = [...new Set(here.map(({ number }) => number))];
    if (numbers.length < needed) {
      throw new Failure(
        'pending',
        `the share is right; ${needed} are needed at once to try slot ${slot.number}`,
        { details: { needed, have: numbers }, reason: 'shares_pending' },
      );
    }
    const chosen = numbers
      .slice(0, needed)
      .map((number) => (here.find((one) => one.number === number) as Share).value);
    return { slot, secret: await this.#sharing.combine(chosen), share: undefined };
  }

  /** Takes shares over: all of the slot that are there; @throws pending where these are not enough. */
  #collect(scope: StoredScope, slot: SlotRow, shares: Share[], needed: number, terms: string): Share[] {
    const added = this.#pending.add(scope.id, slot.number, shares, terms);
    if ('others' in added) {
      throw new Failure('conflict', `shares of ${scope.path} wait for ${added.others}, not for ${terms}`, {
        reason: 'share_terms_differ',
      });
    }
    // Kept there, and wiped there.
    shares.length = 0;
    // Also where there are enough: what follows may fail.
    this.#expireLater();
    const { numbers, fresh, left } = added;
    if (numbers.length >= needed) return this.#pending.of(scope.id, slot.number);
    const expires = new Date(systemClock.wall() + left).toISOString();
    throw new Failure(
      'pending',
      `${numbers.length} of ${needed} shares of ${scope.path} are here (${numbers.join(', ')})`,
      {
        details: {
          slot: slot.number,
          needed,
          have: numbers,
          new: fresh,
          expires,
          expires_seconds: left / 1000,
        },
      },
    );
  }
  #expireLater(): void {
    clearTimeout(this.#expiry);
    const next = this.#pending.expire();
    if (next !== undefined) this.#expiry = setTimeout(() => this.#expireLater(), next + 1).unref();
  }
  /** Shares of scopes that wait are forgotten: they have opened them, or these are locked. */
  forget(which: (scope: ScopeId) => boolean): void {
    this.#pending.forget(which);
  }
}
