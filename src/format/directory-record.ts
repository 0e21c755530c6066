import { ByteReader, ByteWriter } from '../base/cursor.js';
import { idBytes, type ScopeId } from '../base/ids.js';
import type { AeadKey } from '../crypto/aead.js';
import { pinned } from '../libc/memory.js';
import { openRecord, sealRecord } from './sealed-record.js';

export const DIRECTORY_RECORD_BYTES = 144;
const VERSION = 1;
const CLEAR = 24;
const SEALED = 80;
const kinds = { directory: 2, edge: 3, root: 4 } as const;

/** The clear part of a record tells what it is; a zero id or MAC stands for "none". Ids and MACs have 16 bytes. */
export interface DirectoryRecord {
  readonly kind: keyof typeof kinds;
  readonly epoch: number;
  /** The scope under whose key it is sealed. */
  readonly scope: ScopeId;
  readonly directoryId: Buffer;
  readonly parentId: Buffer;
  /** Of an edge: the scope that begins here. */
  readonly childScope: Buffer;
  /** Name bindings: one, or two while a rename is under way. */
  readonly places: readonly [Buffer, Buffer];
}

export const NO_ID = Buffer.alloc(16);
const scratch = pinned(DIRECTORY_RECORD_BYTES);

export function sealDirectoryRecord(key: AeadKey, record: DirectoryRecord): Buffer {
  new ByteWriter(scratch.bytes)
    .u8(VERSION)
    .u8(kinds[record.kind])
    .u16(0)
    .u32(record.epoch)
    .bytes(idBytes(record.scope))
    .zeros(24)
    .bytes(record.directoryId)
    .bytes(record.parentId)
    .bytes(record.childScope)
    .bytes(record.places[0])
    .bytes(record.places[1])
    .zeros(16);
  sealRecord(key, scratch, 0, CLEAR, SEALED);
  return Buffer.from(scratch.bytes);
}

/** The record, or undefined where it is not authentic, of another scope or of another kind. */
export function openDirectoryRecord(
  key: AeadKey,
  scope: ScopeId,
  bytes: Buffer,
): DirectoryRecord | undefined {
  if (bytes.length !== DIRECTORY_RECORD_BYTES) return undefined;
  bytes.copy(scratch.bytes);
  const reader = new ByteReader(scratch.bytes);
  if (reader.u8() !== VERSION) return undefined;
  const number = reader.u8();
  const kind = (Object.keys(kinds) as (keyof typeof kinds)[]).find((k) => kinds[k] === number);
  if (kind === undefined || reader.u16() !== 0) return undefined;
  const epoch = reader.u32();
  if (!reader.bytes(16).equals(idBytes(scope))) return undefined;
  if (!openRecord(key, scratch, 0, CLEAR, SEALED)) return undefined;
  reader.skip(24);
  const next = (): Buffer => Buffer.from(reader.bytes(16));
  return {
    kind,
    epoch,
    scope,
    directoryId: next(),
    parentId: next(),
    childScope: next(),
    places: [next(), next()],
  };
}
