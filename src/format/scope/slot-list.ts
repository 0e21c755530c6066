import { createHash, timingSafeEqual } from 'node:crypto';
import { ByteReader, ByteWriter } from '../../base/cursor.js';
import { idBytes, type ScopeId, type VolumeId } from '../../base/ids.js';
import { shortMac } from '../../crypto/kdf.js';
import { pinned, type Secret } from '../../libc/memory.js';

/** Which slots a scope has, as its current epoch's key vouches for it. */
interface SlotList {
  readonly epoch: number;
  /** One more at each change. */
  readonly version: number;
  readonly slots: readonly { readonly number: number; readonly digest: Buffer }[];
}

/** Slots that one scope may have. */
export const MOST_SLOTS = 64;
const VERSION = 1;
const HEAD = 16;
const ENTRY = 36;
const MAC_BYTES = 16;
const IDS = 32;
const input = pinned(IDS + HEAD + MOST_SLOTS * ENTRY);

/** What of a slot's row must not change unnoticed. */
export function slotDigest(slot: {
  number: number;
  type: string;
  kindVersion: number;
  parameters: string;
  publicKey: Buffer;
  privateHalf: Buffer;
}): Buffer {
  const hash = createHash('sha256');
  const head = Buffer.alloc(8);
  head.writeUInt32LE(slot.number, 0);
  head.writeUInt32LE(slot.kindVersion, 4);
  hash.update(head);
  for (const part of [
    Buffer.from(slot.type),
    Buffer.from(slot.parameters),
    slot.publicKey,
    slot.privateHalf,
  ]) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(part.length);
    hash.update(length).update(part);
  }
  return hash.digest();
}

function mac(key: Secret, volume: VolumeId, scope: ScopeId, body: Buffer): Buffer {
  idBytes(volume).copy(input.bytes, 0);
  idBytes(scope).copy(input.bytes, 16);
  body.copy(input.bytes, IDS);
  const out = Buffer.alloc(MAC_BYTES);
  shortMac(key, input, IDS + body.length, out);
  return out;
}

export function encodeSlotList(key: Secret, volume: VolumeId, scope: ScopeId, list: SlotList): Buffer {
  const body = Buffer.alloc(HEAD + ENTRY * list.slots.length);
  const writer = new ByteWriter(body).u16(VERSION).u16(list.slots.length).u32(list.epoch).u64(list.version);
  for (const { number, digest } of list.slots) writer.u32(number).bytes(digest);
  return Buffer.concat([body, mac(key, volume, scope, body)]);
}

/** What a list says, before anything is known of its author; undefined where it is not one. */
export function peekSlotList(bytes: Buffer): SlotList | undefined {
  const reader = new ByteReader(bytes);
  const version = reader.u16();
  const count = reader.u16();
  const list = { epoch: reader.u32(), version: reader.u64() };
  if (version !== VERSION || count > MOST_SLOTS || reader.left !== count * ENTRY + MAC_BYTES)
    return undefined;
  const slots = Array.from({ length: count }, () => ({
    number: reader.u32(),
    digest: Buffer.from(reader.bytes(32)),
  }));
  return { ...list, slots };
}

/** The list, or undefined where that epoch's key did not make it for this scope. */
export function readSlotList(
  key: Secret,
  volume: VolumeId,
  scope: ScopeId,
  bytes: Buffer,
): SlotList | undefined {
  const list = peekSlotList(bytes);
  if (list === undefined) return undefined;
  const end = bytes.length - MAC_BYTES;
  const expected = mac(key, volume, scope, bytes.subarray(0, end));
  return timingSafeEqual(expected, bytes.subarray(end)) ? list : undefined;
}
