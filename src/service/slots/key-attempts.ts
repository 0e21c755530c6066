import { Failure } from '../../base/failure.js';
import type { Key, Peer } from '../../control/service.js';
import { type Share, writeShares } from '../../keyring/shares/share-text.js';
import type { OpenedScope } from '../../keyring/slots/scope-secrets.js';
import { readParameters } from '../../keyring/slots/slot-facts.js';
import { kindOf } from '../../keyring/slots/slot-kinds.js';
import { isUntried, type StretchedKeys } from '../../keyring/slots/slots.js';
import { Throttle } from '../../keyring/slots/throttle.js';
import { windowAt, windowText } from '../../keyring/slots/windows.js';
import { SecretInput } from '../../libc/memory.js';
import { systemClock } from '../../libc/system.js';
import type { SlotRow } from '../../store/rows.js';
import type { StoredScope } from '../scopes/stored-scopes.js';
import type { MountedVault } from '../vault/mounted-vault.js';
import type { ParentSlots } from './parent-slots.js';
import type { ShareSlots } from './share-slots.js';
import { inputOf } from './shared-secret.js';

/** A caller's attempt to open a scope, and what for. */
export interface Attempt {
  readonly scope: StoredScope;
  readonly peer: Peer;
  readonly event: 'unlock' | 'slot_test' | 'share_renew';
  /** Keys of slots whose secrets people can guess, as far as they were stretched from what the caller gave. */
  readonly stretched: StretchedKeys;
}
/** Nothing that takes work. */
export const NOT_STRETCHED: StretchedKeys = new Map();

/** `closes`: when the window of the slot closes by which it was opened (ms since 1970), and with it the lease. */
export type Opened = OpenedScope & { readonly closes: number | undefined };

/** Attempts to open scopes with what callers give: all is written down, and of many wrong keys how many. */
export class KeyAttempts {
  readonly #vault: MountedVault;
  readonly #parents: ParentSlots;
  readonly #shares: ShareSlots;
  readonly #throttle = new Throttle(systemClock);

  constructor(vault: MountedVault, parents: ParentSlots, shares: ShareSlots) {
    this.#vault = vault;
    this.#parents = parents;
    this.#shares = shares;
  }

  /**
   * Opens a scope's secrets with what a caller gave. Wrong keys and damaged rows are audited; the caller audits what
   * becomes of the right one. The secrets are the caller's to wipe. `untried`: it may be the secret of a slot for which it
   * was not stretched.
   */
  async open(attempt: Attempt, key: Key): Promise<Opened | 'untried'> {
    const { scope, peer, stretched } = attempt;
    const unlocks = attempt.event === 'unlock';
    const { secrets, store } = this.#vault;
    // Where a client's share was used: older ones open nothing from now on.
    let used: Share | undefined;
    const opened = await this.#try(attempt, async () => {
      if (key === 'parent') return this.#openByParent(scope);
      if (key instanceof SecretInput) {
        const quick = await secrets.open(scope.context, scope.rows, key, { stretched });
        return quick === undefined && isUntried(scope.slots, key, stretched) ? 'untried' : quick;
      }
      const terms = unlocks ? key.terms : undefined;
      const given = await this.#shares.secret(scope, { text: key.shares, terms, peer });
      if (given === undefined) return undefined;
      used = given.share;
      const input = inputOf(given.secret);
      given.secret.wipe();
      try {
        return await secrets.open(scope.context, scope.rows, input, { only: given.slot.number });
      } finally {
        input.wipe();
        used?.value.wipe();
      }
    });
    if (opened === 'untried') return opened;
    const { rewrapped, damaged } = opened;
    try {
      const closes = unlocks ? await this.#closes(attempt, opened.slot) : undefined;
      await this.#noteDamaged(attempt, damaged);
      const retires = used !== undefined && unlocks && used.number > 1;
      if (rewrapped !== undefined || retires) {
        await store.commit(() => {
          if (rewrapped !== undefined) store.putWrap(scope.id, rewrapped);
          if (used !== undefined && retires) store.shares.retireBefore(scope.id, used.slot, used.number);
        });
      }
      return { ...opened, closes };
    } catch (error) {
      for (const secret of opened.secrets) secret.wipe();
      throw error;
    }
  }

  /** When the window of a slot closes that is open now; undefined: it has none. @throws forbidden outside of it */
  async #closes({ scope, peer }: Attempt, slot: SlotRow): Promise<number | undefined> {
    const { store, audit } = this.#vault;
    const { window } = readParameters(slot);
    if (window === undefined) return undefined;
    const { open, next } = await windowAt(window, systemClock.wall());
    const used = open === undefined ? 0 : store.audit.unlocks(scope.id, slot.number, open.opens);
    if (open !== undefined && (window.uses === undefined || used < window.uses)) return open.closes;
    const opens = new Date(next).toISOString();
    const why =
      open === undefined
        ? `may be used ${windowText(window)}`
        : `was used ${used} times since its window opened`;
    const refusal = { event: 'unlock', result: 'forbidden', scope: scope.id, slot: slot.number } as const;
    await audit.write({ ...refusal, detail: `slot ${slot.number} ${why}` }, peer);
    throw new Failure('forbidden', `slot ${slot.number} of ${scope.path} ${why}`, {
      details: { slot: slot.number, window: windowText(window), opens },
      reason: { name: 'slot_window_closed', opens },
    });
  }

  /**
   * The client's next share of a split slot, as text, durable before it is given: the same to whoever asks twice. That
   * its present one is known retires those before. The caller wipes it.
   */
  async renewShare(
    scope: StoredScope,
    text: SecretInput,
    peer: Peer,
  ): Promise<{ slot: SlotRow; shares: SecretInput }> {
    const { store, audit } = this.#vault;
    const attempt = { scope, peer, event: 'share_renew', stretched: NOT_STRETCHED } as const;
    const { slot, secret, share } = await this.#try(attempt, () =>
      this.#shares.secret(scope, { text, terms: undefined, peer }),
    );
    if (share === undefined) {
      secret.wipe();
      throw new Failure('usage', 'shares of a threshold slot are not renewed', {
        reason: 'shares_not_renewed',
      });
    }
    const next = this.#shares.next(scope, share, secret);
    try {
      const { number } = slot;
      await store.commit(() => {
        store.shares.retireBefore(scope.id, number, share.number);
        if (next.row !== undefined) store.shares.put(scope.id, number, next.row);
        // Asked for again: a lost reply, or another holder of the present one.
        const detail = `share ${next.share.number}${next.row === undefined ? ' again' : ''}`;
        audit.record({ event: 'share_renew', result: 'ok', scope: scope.id, slot: number, detail }, peer);
      });
      return { slot, shares: writeShares([next.share]) };
    } finally {
      secret.wipe();
      share.value.wipe();
      next.share.value.wipe();
    }
  }

  /** How long the answer to a wrong key waits, in ms. */
  delay({ connection }: Peer): number {
    return this.#throttle.delay(connection);
  }

  /** One try with a key, written down where it fails. */
  async #try<T>({ scope, peer, event }: Attempt, work: () => Promise<T | undefined>): Promise<T> {
    const { audit } = this.#vault;
    const { path } = scope;
    const entry = { event, scope: scope.id } as const;
    try {
      const done = await work();
      if (done === undefined) {
        throw new Failure('bad_key', `that key opens no slot of ${path}`, {
          reason: { name: 'key_unfit', scope: path },
        });
      }
      return done;
    } catch (error) {
      if (!(error instanceof Failure)) {
        await audit.write({ ...entry, result: 'internal' }, peer);
        throw error;
      }
      const { code, message, details } = error;
      const wrong = code === 'bad_key' ? this.#throttle.wrong(scope.id, peer.uid) : 1;
      const told =
        code === 'integrity' || code === 'pending'
          ? { detail: message }
          : wrong === undefined || wrong === 1
            ? {}
            : { detail: `${wrong} wrong keys since the row before` };
      // Nothing was tried, or nothing is new: rows without end would fill the disk.
      const tried = code !== 'usage' && details?.new !== false;
      if (tried && wrong !== undefined) await audit.write({ ...entry, result: code, ...told }, peer);
      throw code === 'integrity' ? error.of(path) : error;
    }
  }

  async #openByParent(scope: StoredScope): Promise<OpenedScope | undefined> {
    for (const slot of scope.slots) {
      if (kindOf(slot)?.origin !== 'parent') continue;
      const { parentEpoch } = readParameters(slot);
      const { input } = await this.#parents.secret(scope, slot.number, parentEpoch);
      try {
        const opened = await this.#vault.secrets.open(scope.context, scope.rows, input, {
          only: slot.number,
        });
        if (opened !== undefined) return opened;
      } finally {
        input.wipe();
      }
    }
    return undefined;
  }

  async #noteDamaged({ scope, peer }: Attempt, damaged: readonly number[]): Promise<void> {
    if (damaged.length === 0) return;
    const { store, audit } = this.#vault;
    await store.commit(() => {
      for (const slot of damaged) {
        const detail = 'its row is not what the slot list vouches for: it opens nothing';
        audit.record({ event: 'integrity', result: 'integrity', scope: scope.id, slot, detail }, peer);
      }
    });
  }
}
