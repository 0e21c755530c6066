import { createHash } from 'node:crypto';
import { ByteReader, ByteWriter } from '../../base/cursor.js';
import { idBytes, type ScopeId } from '../../base/ids.js';

/** The file in a scope's root directory that repeats its slots, for the rebuild of a lost store (FORMAT.md). */
export const SLOT_COPY = '+slots';
const MAGIC = Buffer.from('SCOPEFSS');
const VERSION = 1;
export const SLOT_COPY_HEAD = 44;

export interface SlotVersion {
  readonly epoch: number;
  readonly list: number;
}

export function encodeSlotCopy(scope: ScopeId, version: SlotVersion, body: Buffer): Buffer {
  const head = Buffer.alloc(SLOT_COPY_HEAD);
  new ByteWriter(head)
    .bytes(MAGIC)
    .u16(VERSION)
    .u16(0)
    .u32(version.epoch)
    .u64(version.list)
    .bytes(idBytes(scope))
    .u32(body.length);
  const hash = createHash('sha256').update(head).update(body).digest();
  return Buffer.concat([head, body, hash]);
}

/** Which version a copy has, from its head; undefined where it is none of this scope. Not authenticated. */
export function peekSlotCopy(scope: ScopeId, head: Buffer): SlotVersion | undefined {
  const reader = new ByteReader(head);
  const ours = reader.bytes(8).equals(MAGIC) && reader.u16() === VERSION && reader.u16() === 0;
  const version = { epoch: reader.u32(), list: reader.u64() };
  if (reader.short || !ours || !Number.isSafeInteger(version.list)) return undefined;
  return reader.bytes(16).equals(idBytes(scope)) ? version : undefined;
}
