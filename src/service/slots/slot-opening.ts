import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { Key, Peer } from '../../control/service.js';
import { type Share, writeShares } from '../../keyring/shares/share-text.js';
import type { OpenedScope, ScopeSecrets } from '../../keyring/slots/scope-secrets.js';
import { readParameters } from '../../keyring/slots/slot-facts.js';
import type { SlotContext } from '../../keyring/slots/slots.js';
import { Throttle } from '../../keyring/slots/throttle.js';
import { windowAt, windowText } from '../../keyring/slots/windows.js';
import { SecretInput } from '../../libc/memory.js';
import { systemClock } from '../../libc/system.js';
import type { ScopeSecretRows, SlotRow } from '../../store/rows.js';
import type { AuditLog } from '../audit/audit-log.js';
import type { SlotServices } from '../vault/mounted-vault.js';
import type { ParentSlots } from './parent-slots.js';
import { inputOf, type ShareSlots } from './share-slots.js';

/** `closes`: when the window of the slot closes by which it was opened (ms since 1970), and with it the lease. */
export type Opened = OpenedScope & { readonly closes: number | undefined };

/** Opening scopes with what callers give: wrong keys are throttled, all is written down. */
export class SlotOpening {
  readonly #services: SlotServices;
  readonly #secrets: ScopeSecrets;
  readonly #parents: ParentSlots;
  readonly #shares: ShareSlots;
  readonly #audit: AuditLog;
  readonly #pathOf: (scope: ScopeId) => string;
  readonly #throttle = new Throttle(systemClock);

  constructor(
    services: SlotServices,
    parts: { secrets: ScopeSecrets; parents: ParentSlots; shares: ShareSlots; audit: AuditLog },
    pathOf: (scope: ScopeId) => string,
  ) {
    this.#services = services;
    this.#secrets = parts.secrets;
    this.#parents = parts.parents;
    this.#shares = parts.shares;
    this.#audit = parts.audit;
    this.#pathOf = pathOf;
  }

  /**
   * Opens a scope's secrets with what a caller gave. Wrong keys and damaged rows are audited; the caller audits what
   * becomes of the right one. The secrets are the caller's to wipe.
   */
  async open(
    scope: ScopeId,
    rows: ScopeSecretRows,
    key: Key,
    peer: Peer,
    event: 'unlock' | 'slot_test',
  ): Promise<Opened> {
    // Where a client's share was used: older ones open nothing from now on.
    let used: Share | undefined;
    const opened = await this.#attempt(scope, peer, event, async () => {
      if (key === 'parent') return this.#openByParent(scope, rows);
      if (key instanceof SecretInput) return this.#secrets.open(this.#context(scope), rows, key);
      const given = await this.#shares.secret(
        scope,
        rows,
        key.shares,
        event === 'unlock' ? key.terms : undefined,
        peer,
      );
      if (given === undefined) return undefined;
      used = given.share;
      const input = inputOf(given.secret);
      given.secret.wipe();
      try {
        return await this.#secrets.open(this.#context(scope), rows, input, given.slot.number);
      } finally {
        input.wipe();
        used?.value.wipe();
      }
    });
    const { rewrapped, damaged } = opened;
    const { store } = this.#services;
    try {
      const closes = event === 'unlock' ? await this.#inWindow(scope, opened.slot, peer) : undefined;
      await this.noteDamaged(scope, damaged, peer);
      const retires = used !== undefined && event === 'unlock' && used.number > 1;
      if (rewrapped !== undefined || retires) {
        await store.commit(() => {
          if (rewrapped !== undefined) store.putWrap(scope, rewrapped);
          if (used !== undefined && retires) store.shares.retireBefore(scope, used.slot, used.number);
        });
      }
      return { ...opened, closes };
    } catch (error) {
      for (const secret of opened.secrets) secret.wipe();
      throw error;
    }
  }

  /** When the window of a slot closes that is open now; undefined: it has none. @throws forbidden outside of it */
  async #inWindow(scope: ScopeId, slot: SlotRow, peer: Peer): Promise<number | undefined> {
    const { window } = readParameters(slot);
    if (window === undefined) return undefined;
    const { open, next } = await windowAt(window, systemClock.wall());
    const used = open === undefined ? 0 : this.#services.store.audit.unlocks(scope, slot.number, open.opens);
    if (open !== undefined && (window.uses === undefined || used < window.uses)) return open.closes;
    const opens = new Date(next).toISOString();
    const why =
      open === undefined
        ? `may be used ${windowText(window)}`
        : `was used ${used} times since its window opened`;
    await this.#audit.write(
      {
        event: 'unlock',
        result: 'forbidden',
        scope,
        slot: slot.number,
        detail: `slot ${slot.number} ${why}`,
      },
      peer,
    );
    throw new Failure('forbidden', `slot ${slot.number} of ${this.#pathOf(scope)} ${why}`, {
      details: { slot: slot.number, window: windowText(window), opens },
      hint: `its window opens again at ${opens}`,
    });
  }

  /**
   * The client's next share of a split slot, as text, durable before it is given: the same to whoever asks twice. That
   * its present one is known retires those before. The caller wipes it.
   */
  async renewShare(
    scope: ScopeId,
    rows: ScopeSecretRows,
    text: SecretInput,
    peer: Peer,
  ): Promise<{ slot: SlotRow; shares: SecretInput }> {
    const { slot, secret, share } = await this.#attempt(scope, peer, 'share_renew', async () =>
      this.#shares.secret(scope, rows, text, undefined, peer),
    );
    if (share === undefined) {
      secret.wipe();
      throw new Failure('usage', 'shares of a threshold slot are not renewed', {
        hint: 'make them anew: scopefs slot rotate SCOPE SLOT --new share:file:PATH',
      });
    }
    const next = this.#shares.next(scope, share, secret);
    try {
      const { store } = this.#services;
      const { number } = slot;
      await store.commit(() => {
        store.shares.retireBefore(scope, number, share.number);
        if (next.row !== undefined) store.shares.put(scope, number, next.row);
        // Asked for again: a lost reply, or somebody else who has the present one.
        const detail = `share ${next.share.number}${next.row === undefined ? ' again' : ''}`;
        this.#audit.record({ event: 'share_renew', result: 'ok', scope, slot: number, detail }, peer);
      });
      return { slot, shares: writeShares([next.share]) };
    } finally {
      secret.wipe();
      share.value.wipe();
      next.share.value.wipe();
    }
  }

  /** One try with a key: throttled, and written down where it fails. */
  async #attempt<T>(
    scope: ScopeId,
    peer: Peer,
    event: 'unlock' | 'slot_test' | 'share_renew',
    work: () => Promise<T | undefined>,
  ): Promise<T> {
    const path = this.#pathOf(scope);
    const refusal = this.#throttle.refusal(scope, peer.uid);
    if (refusal !== undefined) {
      // One row a wait: who hammers on must not fill the disk.
      if (refusal.first) await this.#audit.write({ event, result: 'throttled', scope }, peer);
      throw refusal.failure;
    }
    try {
      const done = await work();
      if (done === undefined) {
        throw new Failure('bad_key', `that key opens no slot of ${path}`, {
          hint: `see its slots with: scopefs slot list ${path}`,
        });
      }
      this.#throttle.right(scope, peer.uid);
      return done;
    } catch (error) {
      if (!(error instanceof Failure)) {
        await this.#audit.write({ event, result: 'internal', scope }, peer);
        throw error;
      }
      const { code, message, details } = error;
      if (code === 'bad_key') this.#throttle.wrong(scope, peer.uid);
      const told = code === 'integrity' || code === 'pending' ? { detail: message } : {};
      // Nothing was tried, or nothing is new: rows without end would fill the disk.
      const tried = code !== 'usage' && details?.new !== false;
      if (tried) await this.#audit.write({ event, result: code, scope, ...told }, peer);
      if (code !== 'integrity') throw error;
      throw error.of(path);
    }
  }
  #context(scope: ScopeId): SlotContext {
    return { volume: this.#services.vault.record.volume, scope };
  }

  async #openByParent(scope: ScopeId, rows: ScopeSecretRows): Promise<OpenedScope | undefined> {
    for (const slot of rows.slots) {
      if (slot.type !== 'parent') continue;
      const { parentEpoch } = readParameters(slot);
      const { input } = await this.#parents.secret(scope, rows.scope.parent, slot.number, parentEpoch);
      try {
        const opened = await this.#secrets.open(this.#context(scope), rows, input, slot.number);
        if (opened !== undefined) return opened;
      } finally {
        input.wipe();
      }
    }
    return undefined;
  }

  async noteDamaged(scope: ScopeId, damaged: readonly number[], peer: Peer | undefined): Promise<void> {
    if (damaged.length === 0) return;
    await this.#services.store.commit(() => {
      for (const slot of damaged) {
        const detail = 'its row is not what the slot list vouches for: it opens nothing';
        this.#audit.record({ event: 'integrity', result: 'integrity', scope, slot, detail }, peer);
      }
    });
  }
}
