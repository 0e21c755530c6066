import { randomBytes, timingSafeEqual } from 'node:crypto';
import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { Peer, SecretRequest } from '../../control/service.js';
import { SHAMIR } from '../../crypto/shamir.js';
import { PendingShares } from '../../keyring/shares/pending-shares.js';
import {
  readShares,
  type Share,
  type SharedType,
  tagOf,
  writeShares,
} from '../../keyring/shares/share-text.js';
import { Shares } from '../../keyring/shares/shares.js';
import { readParameters, type SlotFacts, tagsOf } from '../../keyring/slots/slot-facts.js';
import type { SlotContext } from '../../keyring/slots/slots.js';
import { copyMemory, randomFill, type Secret, SecretInput } from '../../libc/memory.js';
import { systemClock } from '../../libc/system.js';
import type { ScopeSecretRows, ShareRow, SlotRow } from '../../store/rows.js';
import type { AuditLog } from '../audit/audit-log.js';
import { ChildSharing } from '../secrets/shamir.js';
import type { SlotServices } from '../vault/mounted-vault.js';

/** A new secret that only shares give. */
export interface SharedSecret {
  /** The caller wipes it. */
  readonly input: SecretInput;
  readonly facts: SlotFacts;
  /** split: the server's half. */
  readonly row: ShareRow | undefined;
  /** What goes to people, as text; whoever sends it wipes it. */
  readonly shares: SecretInput;
}
/** What shares gave. The caller wipes secret and share. */
export interface FromShares {
  readonly slot: SlotRow;
  readonly secret: Secret;
  /** split: the client's. */
  readonly share: Share | undefined;
}

export function inputOf(secret: Secret): SecretInput {
  const input = new SecretInput();
  input.fill((address) => {
    copyMemory(address, secret.address, secret.length);
    return secret.length;
  });
  return input;
}

/** An edited tag may have any length. */
function sameTag(tag: Buffer, share: Share): boolean {
  const own = tagOf(share);
  return tag.length === own.length && timingSafeEqual(tag, own);
}

/** Split and threshold slots: their secrets are never given, but follow from shares. */
export class ShareSlots {
  readonly #services: SlotServices;
  readonly #audit: AuditLog;
  readonly #pathOf: (scope: ScopeId) => string;
  readonly #shares: Shares;
  readonly #sharing: ChildSharing;
  readonly #pending = new PendingShares(systemClock);
  #expiry: NodeJS.Timeout | undefined;

  constructor(services: SlotServices, audit: AuditLog, pathOf: (scope: ScopeId) => string) {
    const { suite, memory } = services;
    this.#services = services;
    this.#audit = audit;
    this.#pathOf = pathOf;
    this.#shares = new Shares(suite, memory);
    this.#sharing = new ChildSharing(memory);
  }

  #context(scope: ScopeId): SlotContext {
    return { volume: this.#services.vault.record.volume, scope };
  }
  #fresh(): Secret {
    const secret = this.#services.memory.allocate(SHAMIR.secretBytes);
    randomFill(secret.address, SHAMIR.secretBytes);
    return secret;
  }

  async make(
    scope: ScopeId,
    slot: { readonly number: number; readonly type: SharedType },
    { shares: count, needed }: Pick<SecretRequest, 'shares' | 'needed'>,
    rules: Pick<SlotFacts, 'notAfter' | 'window'>,
  ): Promise<SharedSecret> {
    const set = randomBytes(8).toString('hex');
    const { type, number } = slot;
    const asShare = (index: number, value: Secret): Share => ({
      type,
      scope,
      slot: number,
      set,
      number: index,
      value,
    });
    const secret = this.#fresh();
    const made: Share[] = [];
    try {
      if (type === 'split') {
        const share = asShare(1, this.#fresh());
        made.push(share);
        const row = this.#shares.seal(this.#context(scope), share, secret);
        return { input: inputOf(secret), facts: { ...rules, set }, row, shares: writeShares(made) };
      }
      if (
        count === undefined ||
        needed === undefined ||
        needed < 2 ||
        needed > count ||
        count > SHAMIR.most
      ) {
        throw new Failure(
          'usage',
          `a threshold slot has 2 to ${SHAMIR.most} shares, of which 2 or more open it`,
          {
            hint: 'name both: scopefs slot add SCOPE --slot threshold --shares 5 --threshold 3 --new share:file:PATH',
          },
        );
      }
      const values = await this.#sharing.split(secret, count, needed);
      made.push(...values.map((value, i) => asShare(i + 1, value)));
      const tags = Buffer.concat(made.map(tagOf)).toString('base64');
      return {
        input: inputOf(secret),
        facts: { ...rules, set, needed, tags },
        row: undefined,
        shares: writeShares(made),
      };
    } finally {
      secret.wipe();
      for (const { value } of made) value.wipe();
    }
  }

  /**
   * What a text of shares gives: undefined where one is wrong. `terms`: those of a threshold slot wait for others that are
   * brought for the same; undefined: they do not wait.
   * @throws Failure pending where more shares are needed; bad_key where a share was replaced long ago
   */
  async secret(
    scope: ScopeId,
    { slots }: ScopeSecretRows,
    text: SecretInput,
    terms: string | undefined,
    peer: Peer,
  ): Promise<FromShares | undefined> {
    let left = readShares(text, this.#services.memory);
    try {
      const [first] = left as [Share];
      const slot = slots.find(({ number, type }) => number === first.slot && type === first.type);
      const facts = slot === undefined ? undefined : readParameters(slot);
      const same = ({ scope: of, slot: number, set }: Share): boolean =>
        of === scope && number === first.slot && set === facts?.set;
      if (slot === undefined || facts === undefined || !left.every(same)) {
        throw new Failure('bad_key', `that share is of no slot that ${this.#pathOf(scope)} has now`, {
          hint: 'it may be of another scope, of a slot that was removed, or older than its last rotation',
        });
      }
      if (first.type === 'split') {
        const secret = await this.#fromSplit(scope, slot, first, peer);
        if (secret === undefined) return undefined;
        left = left.slice(1);
        return { slot, secret, share: first };
      }
      const { needed = 2, tags = '' } = facts;
      const known = tagsOf(tags);
      const right = (share: Share): boolean => {
        const tag = known[share.number - 1];
        return tag !== undefined && sameTag(tag, share);
      };
      if (!left.every(right)) return undefined;
      let shares = left;
      if (terms !== undefined) {
        shares = this.#collect(scope, slot, shares, needed, terms);
        // Kept there, and wiped there.
        left = [];
      }
      const numbers = [...new Set(shares.map(({ number }) => number))];
      if (numbers.length < needed) {
        throw new Failure(
          'pending',
          `the share is right; ${needed} are needed at once to try slot ${slot.number}`,
          { details: { needed, have: numbers }, hint: 'give more of them, a line each' },
        );
      }
      const chosen = numbers
        .slice(0, needed)
        .map((number) => (shares.find((one) => one.number === number) as Share).value);
      return { slot, secret: await this.#sharing.combine(chosen), share: undefined };
    } finally {
      for (const { value } of left) value.wipe();
    }
  }

  async #fromSplit(scope: ScopeId, slot: SlotRow, share: Share, peer: Peer): Promise<Secret | undefined> {
    const { store } = this.#services;
    const row = store.shares.get(scope, slot.number, share.number);
    if (row === undefined) return undefined;
    if (row.sealed !== undefined) return this.#shares.open(this.#context(scope), share, row.sealed);
    if (!sameTag(row.tag, share)) return undefined;
    const detail = `share ${share.number} of slot ${slot.number}, which a later one replaced`;
    await this.#audit.write(
      { event: 'share_replay', result: 'bad_key', scope, slot: slot.number, detail },
      peer,
    );
    throw new Failure(
      'bad_key',
      `that share of ${this.#pathOf(scope)} was replaced: somebody has used a later one since`,
      {
        details: { slot: slot.number, share: share.number, replaced: true },
        hint: 'if nobody of yours has the later one it was stolen: open with the recovery key, then scopefs slot rotate',
      },
    );
  }

  /** Takes shares over: all of the slot that are there; @throws pending where these are not enough. */
  #collect(scope: ScopeId, slot: SlotRow, shares: Share[], needed: number, terms: string): Share[] {
    const added = this.#pending.add(scope, slot.number, shares, terms);
    if ('others' in added) {
      throw new Failure(
        'conflict',
        `shares of ${this.#pathOf(scope)} wait for ${added.others}, not for ${terms}`,
        {
          hint: 'ask for the same, or lock the scope: then they are forgotten',
        },
      );
    }
    shares.length = 0;
    // Also where there are enough: what follows may fail.
    this.#expireLater();
    const { numbers, fresh, left } = added;
    if (numbers.length >= needed) return this.#pending.of(scope, slot.number);
    const expires = new Date(systemClock.wall() + left).toISOString();
    throw new Failure(
      'pending',
      `${numbers.length} of ${needed} shares of ${this.#pathOf(scope)} are here (${numbers.join(', ')})`,
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
  /** Shares of a scope that wait are forgotten: they have opened it, or somebody locks it. */
  forget(which: (scope: ScopeId) => boolean): void {
    this.#pending.forget(which);
  }

  /** The share after one, and its row where there is none yet that it opens. The caller wipes its value. */
  next(scope: ScopeId, share: Share, secret: Secret): { share: Share; row: ShareRow | undefined } {
    const context = this.#context(scope);
    const next = this.#shares.next(context, share, secret);
    const sealed = this.#services.store.shares.get(scope, share.slot, next.number)?.sealed;
    const opened = sealed === undefined ? undefined : this.#shares.open(context, next, sealed);
    opened?.wipe();
    return { share: next, row: opened === undefined ? this.#shares.seal(context, next, secret) : undefined };
  }
}
