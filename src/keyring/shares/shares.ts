import { derive } from '../../crypto/kdf.js';
import type { Secret } from '../../libc/memory.js';
import type { ShareRow } from '../../store/rows.js';
import { ofSlot, type ScopeContext, type Seal, type SealedPlace } from '../seal.js';
import { type Share, tagOf } from './share-text.js';

/** Shamir's sharing, where its copies end with a process (service/secrets/shamir.ts). */
export interface Sharing {
  split(secret: Secret, count: number, needed: number): Promise<Secret[]>;
  /** Wrong shares give a wrong secret. */
  combine(shares: readonly Secret[]): Promise<Secret>;
}

const placeOf = (context: ScopeContext, { slot, number }: Omit<Share, 'value'>): SealedPlace => ({
  ...context,
  kind: 'share',
  slot,
  epoch: number,
});

/**
 * Split slots: the slot's secret S is sealed under the client's share and kept by the server, so neither opens anything
 * alone. The client's next share follows from S and its number: whoever asks twice gets the same. (From the epoch's
 * secret, as DESIGN.md has it, the holder of a removed slot could compute it.)
 */
export class Shares {
  readonly #seal: Seal;

  constructor(seal: Seal) {
    this.#seal = seal;
  }

  /** What the server keeps for one of the client's shares. */
  seal(context: ScopeContext, share: Share, secret: Secret): ShareRow {
    const sealed = this.#seal.sealSecret(share.value, placeOf(context, share), secret);
    return { number: share.number, sealed, tag: tagOf(share) };
  }
  /** The slot's secret; undefined where the share is another's, or the row was edited. The caller wipes it. */
  open(context: ScopeContext, share: Share, sealed: Buffer): Secret | undefined {
    return this.#seal.openSecret(share.value, placeOf(context, share), sealed);
  }
  /** The share after one. The caller wipes its value. */
  next(context: ScopeContext, share: Share, secret: Secret): Share {
    const number = share.number + 1;
    const value = this.#seal.memory.allocate(32);
    const place = placeOf(context, { ...share, number });
    derive(secret, 'scopefs/1/client-share', ofSlot(place), value.address);
    return { ...share, number, value };
  }
}
