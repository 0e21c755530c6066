import type { ScopeId } from '../base/ids.js';

export const slotTypes = [
  'passphrase',
  'keyfile',
  'recovery',
  'split',
  'threshold',
  'age',
  'parent',
  'cmd',
] as const;
export type SlotType = (typeof slotTypes)[number];

/** A scope as stored. `path` and `state` are sealed, `slotList` is authenticated (keyring/). */
export interface ScopeRow {
  readonly id: ScopeId;
  readonly parent: ScopeId | undefined;
  readonly path: Buffer;
  readonly state: Buffer;
  readonly slotList: Buffer;
  /** Seconds since 1970. */
  readonly created: number;
}

/** An epoch of a scope's secret. `chain`: the secret of the epoch before, sealed under this one's. */
export interface EpochRow {
  readonly epoch: number;
  readonly keyId: Buffer;
  readonly chain: Buffer | undefined;
  readonly created: number;
}

/** A slot: a key pair, whose private half is sealed under the slot's own secret. */
export interface SlotRow {
  readonly number: number;
  readonly type: SlotType;
  /** Which form the row has: 2, X-Wing key pairs. */
  readonly kindVersion: number;
  /** JSON: salt and cost, and what of the slot is public (keyring/slots/slot-facts.ts). */
  readonly parameters: string;
  readonly publicKey: Buffer;
  readonly privateHalf: Buffer;
  /** Sealed under the store key; a slot may have none. */
  readonly label: Buffer | undefined;
  readonly created: number;
}

/** An epoch secret sealed to a slot: to its public key, and once it was opened under a key of its secret. */
export interface WrapRow {
  readonly number: number;
  readonly epoch: number;
  readonly wrap: Buffer;
  readonly rewrap: Buffer | undefined;
}

/** Everything about the secrets of one scope. */
export interface ScopeSecretRows {
  readonly scope: ScopeRow;
  /** Oldest first. */
  readonly epochs: readonly EpochRow[];
  readonly slots: readonly SlotRow[];
  readonly wraps: readonly WrapRow[];
}

/** The server's half of a split slot, for one number of the client's share. */
export interface ShareRow {
  readonly number: number;
  /** The slot's secret, sealed under the client's share; undefined once a later one was used. */
  readonly sealed: Buffer | undefined;
  /** Tells a share that was right once from any other bytes. */
  readonly tag: Buffer;
}
