import { timingSafeEqual } from 'node:crypto';
import type { Peer, SecretRequest } from '../../control/service.js';
import { type Share, tagOf } from '../../keyring/shares/share-text.js';
import type { SlotFacts, SlotLimits } from '../../keyring/slots/slot-facts.js';
import { copyMemory, type Secret, SecretInput } from '../../libc/memory.js';
import type { ShareRow, SlotRow } from '../../store/rows.js';
import type { StoredScope } from '../scopes/stored-scopes.js';

/** What is asked for of a slot that has shares. */
export type SharesRequest = Pick<SecretRequest, 'shares' | 'needed'> & SlotLimits;

/** A new secret that only shares give. */
export interface SharedSecret {
  /** The caller wipes it. */
  readonly input: SecretInput;
  readonly facts: SlotFacts;
  /** split: the server's half. */
  readonly serverShare: ShareRow | undefined;
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

/** Shares as callers bring them: a text, a line each, for whom and what, and who brought them. */
export interface BroughtShares {
  readonly text: SecretInput;
  /** Shares of a threshold slot wait for others that are brought for the same; undefined: they do not wait. */
  readonly terms: string | undefined;
  readonly peer: Peer;
}

/** A kind of slots whose secrets follow from shares. */
export interface ShareKind {
  /** A new secret; `each`: what its shares have in common. */
  make(each: Omit<Share, 'value' | 'number'>, wanted: SharesRequest): SharedSecret | Promise<SharedSecret>;
  /**
   * What shares of a slot give: undefined where one is wrong. A share that is kept, here or with what it gave, is taken
   * out of `shares`; the caller wipes the others.
   */
  secret(
    scope: StoredScope,
    slot: SlotRow,
    shares: Share[],
    brought: BroughtShares,
  ): Promise<FromShares | undefined>;
}

/** A secret as callers give theirs. The caller wipes both. */
export function inputOf(secret: Secret): SecretInput {
  const input = new SecretInput();
  input.fill((address) => {
    copyMemory(address, secret.address, secret.length);
    return secret.length;
  });
  return input;
}

/** An edited tag may have any length. */
export function sameTag(tag: Buffer, share: Share): boolean {
  const own = tagOf(share);
  return tag.length === own.length && timingSafeEqual(tag, own);
}
