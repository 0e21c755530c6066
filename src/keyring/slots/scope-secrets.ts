import { timingSafeEqual } from 'node:crypto';
import { ByteReader, ByteWriter } from '../../base/cursor.js';
import { Failure } from '../../base/failure.js';
import { idBytes } from '../../base/ids.js';
import type { AeadSuite } from '../../crypto/aead.js';
import { derive } from '../../crypto/kdf.js';
import { keyIdentifier } from '../../crypto/scope-keys.js';
import { encodeSlotList, peekSlotList, readSlotList, slotDigest } from '../../format/scope/slot-list.js';
import { randomFill, type Secret, type SecretInput, type SecretMemory } from '../../libc/memory.js';
import type { EpochRow, ScopeRow, ScopeSecretRows, SlotRow, SlotType, WrapRow } from '../../store/rows.js';
import { openSecret, openValue, type SealedPlace, sealSecret, sealValue, withKey } from '../sealing.js';
import type { SlotFacts } from './slot-facts.js';
import type { SlotContext, Slots } from './slots.js';

/** Each epoch takes memory while its scope is unlocked: with more of them a slot is neither removed nor rotated. */
export const MOST_EPOCHS = 2_000;

/** `version 2 | hash of the volume record 32 | epoch 4 | version of the slot list 8`. */
const STATE_BYTES = 46;

export interface OpenedScope {
  readonly slot: SlotRow;
  /** Of each epoch, the oldest first. Whoever gets them wipes them. */
  readonly secrets: Secret[];
  readonly oldest: number;
  readonly epoch: number;
  readonly listVersion: number;
  /** Slots whose rows are not what the list vouches for: they open nothing. */
  readonly damaged: readonly number[];
  readonly rewrapped: WrapRow | undefined;
}

/** What replaces rows when slots change: written in one transaction. */
export interface SlotChange {
  readonly state: Buffer;
  readonly slotList: Buffer;
  readonly epoch: EpochRow | undefined;
  readonly wraps: readonly WrapRow[];
}

/** The secrets of a scope's epochs and who may open them: rows in, rows out; nothing here is stored. */
export class ScopeSecrets {
  readonly #suite: AeadSuite;
  readonly #memory: SecretMemory;
  readonly #slots: Slots;
  readonly #recordHash: Buffer;

  constructor(suite: AeadSuite, memory: SecretMemory, slots: Slots, recordHash: Buffer) {
    this.#suite = suite;
    this.#memory = memory;
    this.#slots = slots;
    this.#recordHash = recordHash;
  }

  fresh(): Secret {
    const secret = this.#memory.allocate(32);
    randomFill(secret.address, 32);
    return secret;
  }

  /** The rows of a new scope with one slot. */
  async create(
    context: SlotContext,
    row: Pick<ScopeRow, 'parent' | 'path' | 'created'>,
    type: SlotType,
    input: SecretInput,
    secret: Secret,
    facts: SlotFacts = {},
  ): Promise<ScopeSecretRows> {
    const made = await this.#slots.make(context, 0, type, input, 1, secret, row.created, facts);
    const { state, slotList } = this.#vouch(context, [made.slot], 1, 1, secret);
    return {
      scope: { id: context.scope, ...row, state, slotList },
      epochs: [this.#epochRow(context, 1, secret, undefined, row.created)],
      slots: [made.slot],
      wraps: [made.wrap],
    };
  }

  /**
   * Opens a scope with what somebody gave; undefined where it opens no slot (`only`: that one).
   * @throws Failure integrity where rows were edited, swapped or put back from before
   */
  async open(
    context: SlotContext,
    rows: ScopeSecretRows,
    input: SecretInput,
    only?: number,
  ): Promise<OpenedScope | undefined> {
    const newest = rows.epochs.at(-1);
    if (newest === undefined) throw new Failure('integrity', 'the scope has no epoch in the metadata store');
    const { epoch } = newest;
    const opened = await this.#slots.open(context, rows.slots, rows.wraps, epoch, input, only);
    if (opened === undefined) return undefined;
    const secrets = [opened.secret];
    try {
      this.#identify(context, newest, opened.secret);
      const listVersion = this.#verifyState(context, rows.scope.state, epoch, opened.secret);
      const damaged = this.#verifyList(context, rows, epoch, listVersion, opened.secret);
      if (damaged.includes(opened.slot.number)) {
        throw new Failure('integrity', `${name(opened.slot)} is not what the scope's slot list vouches for`, {
          details: { slot: opened.slot.number },
          hint: 'open the scope with another slot, then remove this one',
        });
      }
      for (let i = rows.epochs.length - 1; i > 0; i--) {
        const [row, before] = [rows.epochs[i] as EpochRow, rows.epochs[i - 1] as EpochRow];
        secrets.unshift(this.#unchain(context, row, before, secrets[0] as Secret));
      }
      const oldest = (rows.epochs[0] as EpochRow).epoch;
      const { slot, rewrapped } = opened;
      return { slot, secrets, oldest, epoch, listVersion, damaged, rewrapped };
    } catch (error) {
      for (const secret of secrets) secret.wipe();
      throw error;
    }
  }

  /** A new list of slots in the current epoch. */
  withSlots(
    context: SlotContext,
    slots: readonly SlotRow[],
    rows: ScopeSecretRows,
    secret: Secret,
  ): SlotChange {
    const { epoch } = rows.epochs.at(-1) as EpochRow;
    const version = this.#verifyState(context, rows.scope.state, epoch, secret) + 1;
    return { ...this.#vouch(context, slots, epoch, version, secret), epoch: undefined, wraps: [] };
  }

  /**
   * A new epoch for these slots alone. `next`: its secret, from {@link fresh}; `made`: wraps of slots among them
   * that have it already.
   */
  async advance(
    context: SlotContext,
    slots: readonly SlotRow[],
    rows: ScopeSecretRows,
    secret: Secret,
    next: Secret,
    created: number,
    made: readonly WrapRow[] = [],
  ): Promise<SlotChange & { epoch: EpochRow }> {
    const now = (rows.epochs.at(-1) as EpochRow).epoch;
    const version = this.#verifyState(context, rows.scope.state, now, secret) + 1;
    const epoch = now + 1;
    const waiting = slots.filter(({ number }) => !made.some((wrap) => wrap.number === number));
    const wraps = [...made, ...(await this.#slots.sealTo(context, waiting, epoch, next))];
    const chained = this.#epochRow(context, epoch, next, secret, created);
    return { ...this.#vouch(context, slots, epoch, version, next), epoch: chained, wraps };
  }

  /** Which slots' rows are not what the list vouches for; the list itself must be the state's. */
  damaged(context: SlotContext, rows: ScopeSecretRows, secret: Secret): readonly number[] {
    const { epoch } = rows.epochs.at(-1) as EpochRow;
    const version = this.#verifyState(context, rows.scope.state, epoch, secret);
    return this.#verifyList(context, rows, epoch, version, secret);
  }

  #epochRow(
    context: SlotContext,
    epoch: number,
    secret: Secret,
    before: Secret | undefined,
    created: number,
  ): EpochRow {
    const place: SealedPlace = { ...context, kind: 'chain', epoch };
    const chain =
      before === undefined
        ? undefined
        : withKey(this.#suite, this.#memory, secret, 'scopefs/1/chain', idBytes(context.scope), (key) =>
            sealSecret(key, place, before),
          );
    return { epoch, keyId: keyIdentifier(secret, context.scope, this.#memory), chain, created };
  }

  #unchain(context: SlotContext, row: EpochRow, before: EpochRow, secret: Secret): Secret {
    const place: SealedPlace = { ...context, kind: 'chain', epoch: row.epoch };
    const { chain } = row;
    const opened =
      chain === undefined || before.epoch !== row.epoch - 1
        ? undefined
        : withKey(this.#suite, this.#memory, secret, 'scopefs/1/chain', idBytes(context.scope), (key) =>
            openSecret(key, place, chain, this.#memory),
          );
    if (opened === undefined) {
      throw new Failure(
        'integrity',
        `the way back from epoch ${row.epoch} to the one before is not authentic`,
      );
    }
    try {
      this.#identify(context, before, opened);
    } catch (error) {
      opened.wipe();
      throw error;
    }
    return opened;
  }

  #identify(context: SlotContext, row: EpochRow, secret: Secret): void {
    const id = keyIdentifier(secret, context.scope, this.#memory);
    if (id.length === row.keyId.length && timingSafeEqual(id, row.keyId)) return;
    throw new Failure('integrity', `the secret of epoch ${row.epoch} does not have its identifier`);
  }

  /** State row and slot list for a set of slots, as one version. */
  #vouch(
    context: SlotContext,
    slots: readonly SlotRow[],
    epoch: number,
    version: number,
    secret: Secret,
  ): { state: Buffer; slotList: Buffer } {
    const entries = slots.map((slot) => ({ number: slot.number, digest: slotDigest(slot) }));
    const { volume, scope } = context;
    const slotList = this.#withListKey(context, secret, (key) =>
      encodeSlotList(key, volume, scope, { epoch, version, slots: entries }),
    );
    const content = Buffer.alloc(STATE_BYTES);
    new ByteWriter(content).u16(1).bytes(this.#recordHash).u32(epoch).u64(version);
    const place: SealedPlace = { ...context, kind: 'state' };
    const state = withKey(this.#suite, this.#memory, secret, 'scopefs/1/state', idBytes(scope), (key) =>
      sealValue(key, place, content),
    );
    return { state, slotList };
  }

  #withListKey<T>(context: SlotContext, secret: Secret, use: (key: Secret) => T): T {
    const key = this.#memory.allocate(32);
    const place = Buffer.concat([idBytes(context.volume), idBytes(context.scope)]);
    derive(secret, 'scopefs/1/slot-list', place, key.address);
    try {
      return use(key);
    } finally {
      key.wipe();
    }
  }

  /** The version of the slot list that the state names. */
  #verifyState(context: SlotContext, sealed: Buffer, epoch: number, secret: Secret): number {
    const place: SealedPlace = { ...context, kind: 'state' };
    const found = withKey(
      this.#suite,
      this.#memory,
      secret,
      'scopefs/1/state',
      idBytes(context.scope),
      (key) => openValue(key, place, sealed),
    );
    const reader = new ByteReader(found ?? Buffer.alloc(0));
    const version = reader.u16();
    const hash = reader.bytes(32);
    const stated = { epoch: reader.u32(), list: reader.u64() };
    if (reader.short || reader.left !== 0 || version !== 1 || stated.epoch !== epoch) {
      throw new Failure('integrity', "the scope's state in the metadata store is not authentic");
    }
    if (!timingSafeEqual(hash, this.#recordHash)) {
      throw new Failure('integrity', 'the volume record was edited after this scope was created', {
        hint: 'restore VAULT/volume from a backup',
      });
    }
    return stated.list;
  }

  #verifyList(
    context: SlotContext,
    rows: ScopeSecretRows,
    epoch: number,
    version: number,
    secret: Secret,
  ): number[] {
    const { slotList } = rows.scope;
    const list = this.#withListKey(context, secret, (key) =>
      readSlotList(key, context.volume, context.scope, slotList),
    );
    if (list === undefined || list.version !== version || list.epoch !== epoch) {
      const peeked = peekSlotList(slotList);
      const older = peeked !== undefined && peeked.version < version;
      throw new Failure(
        'integrity',
        `the scope's slot list in the metadata store is ${older ? 'an older one' : 'not authentic'}`,
        { hint: 'restore the metadata store from a backup that is as new as the vault' },
      );
    }
    const damaged: number[] = [];
    for (const { number, digest } of list.slots) {
      const slot = rows.slots.find((row) => row.number === number);
      if (slot === undefined) damaged.push(number);
      else if (!timingSafeEqual(digest, slotDigest(slot))) damaged.push(number);
    }
    for (const slot of rows.slots) {
      if (!list.slots.some((entry) => entry.number === slot.number)) damaged.push(slot.number);
    }
    return damaged;
  }
}

const name = (slot: SlotRow): string => `slot ${slot.number}`;
