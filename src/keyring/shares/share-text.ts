import { timingSafeEqual } from 'node:crypto';
import { Failure } from '../../base/failure.js';
import { idBytes, type ScopeId, scopeId } from '../../base/ids.js';
import { derive } from '../../crypto/kdf.js';
import { SHAMIR } from '../../crypto/shamir.js';
import {
  copyMemory,
  pinned,
  randomFill,
  type Secret,
  SecretInput,
  type SecretMemory,
} from '../../libc/memory.js';
import { readModhex, writeModhex } from '../modhex.js';
import type { SharedType } from '../slots/slot-kinds.js';

/** The number in a share of each type, and the bytes of its value. */
const forms = {
  split: { code: 1, length: 32 },
  threshold: { code: 2, length: SHAMIR.shareBytes },
} as const satisfies Record<SharedType, { code: number; length: number }>;

/** A share as people and programs keep it. */
export interface Share {
  readonly type: SharedType;
  readonly scope: ScopeId;
  readonly slot: number;
  /** 16 hexadecimal digits, chosen when the slot got its secret: shares of an earlier one are told apart. */
  readonly set: string;
  /** split: one more at each renewal. threshold: 1 to n. */
  readonly number: number;
  readonly value: Secret;
}

/**
 * Its bytes: `version 1 | kind 1 | scope 16 | slot 4 | set 8 | number 4 | value 33 (split: 32 and zero) | check 4`, in
 * modhex behind a mark. The check is the beginning of the share's tag: it tells a slip of the pen, not an attack.
 */
const VERSION = 1;
const CLEAR = 34;
const CHECK_AT = CLEAR + SHAMIR.shareBytes;
const BYTES = CHECK_AT + 4;
const MARK = Buffer.from('scopefs-share-');
/** Bytes of a share's line, the newline included. */
export const SHARE_LINE_BYTES = MARK.length + 2 * BYTES + 1;

const bytes = pinned(BYTES);
const line = pinned(SHARE_LINE_BYTES);
const tag = pinned(64);

function setClear(share: Omit<Share, 'value'>): Buffer {
  const { type, scope, slot, set, number } = share;
  bytes.bytes[0] = VERSION;
  bytes.bytes[1] = forms[type].code;
  idBytes(scope).copy(bytes.bytes, 2);
  bytes.bytes.writeUInt32LE(slot, 18);
  bytes.bytes.write(set, 22, 8, 'hex');
  bytes.bytes.writeUInt32LE(number, 30);
  return bytes.bytes.subarray(0, CLEAR);
}

/** 16 public bytes by which a share is known again, without what it opens. */
export function tagOf(share: Share): Buffer {
  derive(share.value, 'scopefs/1/share-tag', setClear(share), tag.address);
  return Buffer.from(tag.bytes.subarray(0, 16));
}

/** Shares as text, a line each. The caller wipes it. */
export function writeShares(shares: readonly Share[]): SecretInput {
  const text = new SecretInput();
  for (const share of shares) {
    const check = tagOf(share);
    const { length } = forms[share.type];
    copyMemory(bytes.address + CLEAR, share.value.address, length);
    bytes.bytes.fill(0, CLEAR + length, CHECK_AT);
    check.copy(bytes.bytes, CHECK_AT, 0, 4);
    MARK.copy(line.bytes);
    const end = writeModhex(bytes.bytes, BYTES, line.bytes, MARK.length);
    line.bytes[end] = 0x0a;
    text.append(line.bytes);
  }
  randomFill(bytes.address, BYTES);
  return text;
}

function readOne(text: Buffer, memory: SecretMemory): Share | 'not a share' | 'misspelt' {
  const marked =
    text.length > MARK.length && text.toString('latin1', 0, MARK.length).toLowerCase() === MARK.toString();
  if (!marked) return 'not a share';
  if (!readModhex(text.subarray(MARK.length), bytes.bytes, BYTES)) return 'misspelt';
  const type = (Object.keys(forms) as SharedType[]).find((one) => forms[one].code === bytes.bytes[1]);
  if (bytes.bytes[0] !== VERSION || type === undefined) return 'not a share';
  const { length } = forms[type];
  if (bytes.bytes.subarray(CLEAR + length, CHECK_AT).some((byte) => byte !== 0)) return 'misspelt';
  const value = memory.allocate(length);
  copyMemory(value.address, bytes.address + CLEAR, value.length);
  const share: Share = {
    type,
    scope: scopeId(bytes.bytes.toString('hex', 2, 18)),
    slot: bytes.bytes.readUInt32LE(18),
    set: bytes.bytes.toString('hex', 22, 30),
    number: bytes.bytes.readUInt32LE(30),
    value,
  };
  const check = Buffer.from(bytes.bytes.subarray(CHECK_AT, BYTES));
  if (timingSafeEqual(check, tagOf(share).subarray(0, 4))) return share;
  value.wipe();
  return 'misspelt';
}

/**
 * The shares of a text, a line each; empty lines do not matter. The caller wipes their values.
 * @throws Failure usage, naming the line, where one is not a share; then none is left
 */
export function readShares(input: SecretInput, memory: SecretMemory): Share[] {
  const shares: Share[] = [];
  const text = input.view;
  try {
    for (let at = 0, number = 1; at < text.length; number++) {
      const found = text.indexOf(0x0a, at);
      const end = found < 0 ? text.length : found;
      const one = text.subarray(at, end);
      at = end + 1;
      if (one.every((byte) => byte === 0x20 || byte === 0x0d || byte === 0x09)) continue;
      if (shares.length === SHAMIR.most) {
        throw new Failure('usage', `more than ${SHAMIR.most} shares at once`);
      }
      const share = readOne(one, memory);
      if (typeof share !== 'string') shares.push(share);
      else if (share === 'misspelt') {
        throw new Failure('usage', `line ${number} is a share with a slip in it: its check does not fit`, {
          reason: 'share_misspelt',
        });
      } else throw new Failure('usage', `line ${number} is not a share of a scopefs slot`);
    }
    if (shares.length === 0) throw new Failure('usage', 'there is no share');
    return shares;
  } catch (error) {
    for (const { value } of shares) value.wipe();
    throw error;
  } finally {
    randomFill(bytes.address, BYTES);
  }
}
