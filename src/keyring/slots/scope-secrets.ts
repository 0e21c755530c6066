import { timingSafeEqual } from 'node:crypto';
import { ByteReader, ByteWriter } from '../../base/cursor.js';
import { Failure } from '../../base/failure.js';
import { idBytes } from '../../base/ids.js';
import { derive } from '../../crypto/kdf.js';
import { keyIdentifier } from '../../crypto/scope-keys.js';
import { encodeSlotList, peekSlotList, readSlotList, slotDigest } from '../../format/scope/slot-list.js';
import type { Secret, SecretInput } from '../../libc/memory.js';
import type { EpochRow, ScopeRow, ScopeSecretRows, SlotRow, WrapRow } from '../../store/rows.js';
import type { EpochSecret, ScopeContext, Seal } from '../seal.js';
import type { NewSlot, Slots, StretchedKeys, Tried } from './slots.js';

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

/** An epoch that is to begin, and for whom. */
export interface NextEpoch {
  readonly slots: readonly SlotRow[];
  /** From {@link ScopeSecrets.fresh}. */
  readonly secret: Secret;
  /** Seconds since 1970. */
  readonly created: number;
  /** Of those slots that were made with its secret. */
  readonly wraps?: readonly WrapRow[];
}

/** What replaces rows when slots change: written in one transaction. */
export interface SlotChange {
  readonly state: Buffer;
  readonly slotList: Buffer;
  readonly epoch: EpochRow | undefined;
  readonly wraps: readonly WrapRow[];
}

/** The number of a scope's current epoch. */
export const epochOf = ({ epochs }: Pick<ScopeSecretRows, 'epochs'>): number =>
  (epochs.at(-1) as EpochRow).epoch;

/** The secrets of a scope's epochs and who may open them: rows in, rows out; nothing here is stored. */
export class ScopeSecrets {
  readonly #seal: Seal;
  readonly #slots: Slots;
  readonly #recordHash: Buffer;

  constructor(seal: Seal, slots: Slots, recordHash: Buffer) {
    this.#seal = seal;
    this.#slots = slots;
    this.#recordHash = recordHash;
  }

  /** The secret of an epoch that is to begin. The caller wipes it. */
  fresh(): Secret {
    return this.#seal.fresh();
  }

  /** The rows of a new scope with one slot. */
  async create(
    context: ScopeContext,
    row: Pick<ScopeRow, 'parent' | 'path' | 'created'>,
    slot: Omit<NewSlot, 'number' | 'created'>,
    secret: Secret,
  ): Promise<ScopeSecretRows> {
    const { created } = row;
    const first = { epoch: 1, secret };
    const made = await this.#slots.make(context, { ...slot, number: 0, created }, first);
    const { state, slotList } = this.#vouch(context, [made.slot], 1, first);
    return {
      scope: { id: context.scope, ...row, state, slotList },
      epochs: [this.#epochRow(context, first, undefined, created)],
      slots: [made.slot],
      wraps: [made.wrap],
    };
  }

  /** {@link Slots.stretch} */
  stretch(rows: Pick<ScopeSecretRows, 'slots'>, input: SecretInput): Promise<StretchedKeys> {
    return this.#slots.stretch(rows.slots, input);
  }

  /**
   * Opens a scope with the secret that a caller gave; undefined where it opens no slot of those that are tried.
   * @throws Failure integrity where rows were edited, swapped or put back from before
   */
  async open(
    context: ScopeContext,
    rows: ScopeSecretRows,
    input: SecretInput,
    tried: Tried = {},
  ): Promise<OpenedScope | undefined> {
    const newest = rows.epochs.at(-1);
    if (newest === undefined) throw new Failure('integrity', 'the scope has no epoch in the metadata store');
    const { epoch } = newest;
    const opened = await this.#slots.open(context, rows, epoch, input, tried);
    if (opened === undefined) return undefined;
    const secrets = [opened.secret];
    try {
      this.#identify(context, newest, opened.secret);
      const begun = { epoch, secret: opened.secret };
      const listVersion = this.#verifyState(context, rows.scope.state, begun);
      const damaged = this.#verifyList(context, rows, listVersion, begun);
      if (damaged.includes(opened.slot.number)) {
        throw new Failure('integrity', `${name(opened.slot)} is not what the scope's slot list vouches for`, {
          details: { slot: opened.slot.number },
          reason: 'slot_unlisted',
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

  /** A new list of slots in the current epoch, which has this secret. */
  withSlots(
    context: ScopeContext,
    rows: ScopeSecretRows,
    secret: Secret,
    slots: readonly SlotRow[],
  ): SlotChange {
    const current = { epoch: epochOf(rows), secret };
    const version = this.#verifyState(context, rows.scope.state, current) + 1;
    return { ...this.#vouch(context, slots, version, current), epoch: undefined, wraps: [] };
  }

  /** A new epoch, for its slots alone, after the one that has this secret. */
  async advance(
    context: ScopeContext,
    rows: ScopeSecretRows,
    secret: Secret,
    { slots, secret: next, created, wraps: made = [] }: NextEpoch,
  ): Promise<SlotChange & { epoch: EpochRow }> {
    const current = { epoch: epochOf(rows), secret };
    const version = this.#verifyState(context, rows.scope.state, current) + 1;
    const begun = { epoch: current.epoch + 1, secret: next };
    const waiting = slots.filter(({ number }) => !made.some((wrap) => wrap.number === number));
    const wraps = [...made, ...(await this.#slots.sealTo(context, waiting, begun))];
    const epoch = this.#epochRow(context, begun, secret, created);
    return { ...this.#vouch(context, slots, version, begun), epoch, wraps };
  }

  /** Which slots' rows are not what the list vouches for; the list itself must be the state's. */
  damaged(context: ScopeContext, rows: ScopeSecretRows, secret: Secret): readonly number[] {
    const current = { epoch: epochOf(rows), secret };
    const version = this.#verifyState(context, rows.scope.state, current);
    return this.#verifyList(context, rows, version, current);
  }

  #epochRow(
    context: ScopeContext,
    { epoch, secret }: EpochSecret,
    before: Secret | undefined,
    created: number,
  ): EpochRow {
    const chain =
      before === undefined
        ? undefined
        : this.#seal.sealSecret(secret, { ...context, kind: 'chain', epoch }, before);
    return { epoch, keyId: keyIdentifier(secret, context.scope, this.#seal.memory), chain, created };
  }

  #unchain(context: ScopeContext, row: EpochRow, before: EpochRow, secret: Secret): Secret {
    const { chain, epoch } = row;
    const opened =
      chain === undefined || before.epoch !== epoch - 1
        ? undefined
        : this.#seal.openSecret(secret, { ...context, kind: 'chain', epoch }, chain);
    if (opened === undefined) {
      throw new Failure('integrity', `the way back from epoch ${epoch} to the one before is not authentic`);
    }
    try {
      this.#identify(context, before, opened);
    } catch (error) {
      opened.wipe();
      throw error;
    }
    return opened;
  }

  #identify(context: ScopeContext, row: EpochRow, secret: Secret): void {
    const id = keyIdentifier(secret, context.scope, this.#seal.memory);
    if (id.length === row.keyId.length && timingSafeEqual(id, row.keyId)) return;
    throw new Failure('integrity', `the secret of epoch ${row.epoch} does not have its identifier`);
  }

  /** State row and slot list for a set of slots, as one version. */
  #vouch(
    context: ScopeContext,
    slots: readonly SlotRow[],
    version: number,
    { epoch, secret }: EpochSecret,
  ): { state: Buffer; slotList: Buffer } {
    const entries = slots.map((slot) => ({ number: slot.number, digest: slotDigest(slot) }));
    const { volume, scope } = context;
    const slotList = this.#withListKey(context, secret, (key) =>
      encodeSlotList(key, volume, scope, { epoch, version, slots: entries }),
    );
    const content = Buffer.alloc(STATE_BYTES);
    new ByteWriter(content).u16(1).bytes(this.#recordHash).u32(epoch).u64(version);
    return { state: this.#seal.sealValue(secret, { ...context, kind: 'state' }, content), slotList };
  }

  #withListKey<T>(context: ScopeContext, secret: Secret, use: (key: Secret) => T): T {
    const key = this.#seal.memory.allocate(32);
    const place = Buffer.concat([idBytes(context.volume), idBytes(context.scope)]);
    derive(secret, 'scopefs/1/slot-list', place, key.address);
    try {
      return use(key);
    } finally {
      key.wipe();
    }
  }

  /** The version of the slot list that the state names. */
  #verifyState(context: ScopeContext, sealed: Buffer, { epoch, secret }: EpochSecret): number {
    const found = this.#seal.openValue(secret, { ...context, kind: 'state' }, sealed);
    const reader = new ByteReader(found ?? Buffer.alloc(0));
    const version = reader.u16();
    const hash = reader.bytes(32);
    const stated = { epoch: reader.u32(), list: reader.u64() };
    if (reader.short || reader.left !== 0 || version !== 1 || stated.epoch !== epoch) {
      throw new Failure('integrity', "the scope's state in the metadata store is not authentic");
    }
    if (!timingSafeEqual(hash, this.#recordHash)) {
      throw new Failure('integrity', 'the volume record was edited after this scope was created', {
        reason: 'record_edited',
      });
    }
    return stated.list;
  }

  #verifyList(
    context: ScopeContext,
    rows: ScopeSecretRows,
    version: number,
    { epoch, secret }: EpochSecret,
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
        { reason: 'slot_list_replaced' },
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
