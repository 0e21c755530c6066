import { idBytes } from '../../base/ids.js';
import type { AeadSuite } from '../../crypto/aead.js';
import { derive } from '../../crypto/kdf.js';
import type { Secret, SecretMemory } from '../../libc/memory.js';
import type { ShareRow } from '../../store/rows.js';
import { openSecret, type SealedPlace, sealSecret, withKey } from '../sealing.js';
import type { SlotContext } from '../slots/slots.js';
import { type Share, tagOf } from './share-text.js';

/** Shamir's sharing, where its copies end with a process (daemon/shamir.ts). */
export interface Sharing {
  split(secret: Secret, count: number, needed: number): Promise<Secret[]>;
  /** Wrong shares give a wrong secret. */
  combine(shares: readonly Secret[]): Promise<Secret>;
}

function contextOf(context: SlotContext, slot: number, number: number): Buffer {
  const bytes = Buffer.alloc(40);
  idBytes(context.volume).copy(bytes);
  idBytes(context.scope).copy(bytes, 16);
  bytes.writeUInt32LE(slot, 32);
  bytes.writeUInt32LE(number, 36);
  return bytes;
}
const placeOf = (context: SlotContext, slot: number, number: number): SealedPlace => ({
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
  readonly #suite: AeadSuite;
  readonly #memory: SecretMemory;

  constructor(suite: AeadSuite, memory: SecretMemory) {
    this.#suite = suite;
    this.#memory = memory;
  }

  /** What the server keeps for one of the client's shares. */
  seal(context: SlotContext, share: Share, secret: Secret): ShareRow {
    const { slot, number, value } = share;
    const sealed = withKey(
      this.#suite,
      this.#memory,
      value,
      'scopefs/1/share',
      contextOf(context, slot, number),
      (key) => sealSecret(key, placeOf(context, slot, number), secret),
    );
    return { number, sealed, tag: tagOf(share) };
  }
  /** The slot's secret; undefined where the share is another's, or the row was edited. The caller wipes it. */
  open(context: SlotContext, share: Share, sealed: Buffer): Secret | undefined {
    const { slot, number, value } = share;
    return withKey(
      this.#suite,
      this.#memory,
      value,
      'scopefs/1/share',
      contextOf(context, slot, number),
      (key) => openSecret(key, placeOf(context, slot, number), sealed, this.#memory),
    );
  }
  /** The share after one. The caller wipes its value. */
  next(context: SlotContext, share: Share, secret: Secret): Share {
    const number = share.number + 1;
    const value = this.#memory.allocate(32);
    derive(secret, 'scopefs/1/client-share', contextOf(context, share.slot, number), value.address);
    return { ...share, number, value };
  }
}
