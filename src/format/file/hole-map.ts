import { ByteReader, ByteWriter } from '../../base/cursor.js';
import type { AeadKey } from '../../crypto/aead.js';
import { pinned } from '../../libc/memory.js';
import { openRecord, SEAL_OVERHEAD, sealRecord } from '../sealed-record.js';
import { type Extent, ExtentSet } from './extents.js';

/** xattr of a sparse file's hole map, where it is small. */
export const XATTR_MAP = 'user.scopefs.map';
/** Bytes of a record in the xattr at most: the file's other xattrs must fit the same block of ext4. */
export const MAP_INLINE = 2048;
/** Ranges at most, of holes and filled together. */
export const MAP_RANGES = 400_000;

/** Name in the tree's root of a larger map: by the file's tag, so that renames and links do not touch it. */
export const MAP_PREFIX = '+M';
export function mapFileName(tag: Buffer): string {
  return MAP_PREFIX + tag.toString('base64url');
}

const MAGIC = Buffer.from('SCOPEFSM');
const VERSION = 1;
const CLEAR = 40;
/** Two counts before the ranges. */
const COUNTS = 8;
/** A range takes at most 12 bytes. */
const MAP_BYTES = CLEAR + SEAL_OVERHEAD + COUNTS + 12 * MAP_RANGES;
const MAX_CHUNKS = 2 ** 41;

/** Which chunks below the highest one written are not stored (FORMAT.md, "Holes"). Chunk numbers. */
export interface HoleMap {
  readonly holes: ExtentSet;
  /** Were holes and got data that is not known to be durable: after an unclean stop they may be holes again. */
  readonly filled: ExtentSet;
}

export function emptyMap(): HoleMap {
  return { holes: new ExtentSet(), filled: new ExtentSet() };
}
export function copyMap({ holes, filled }: HoleMap): HoleMap {
  return { holes: holes.copy(), filled: filled.copy() };
}

let scratch = pinned(MAP_INLINE);
/** Most maps are small: the memory grows with the largest. */
function room(bytes: number): void {
  if (scratch.bytes.length < bytes) scratch = pinned(bytes);
}

/** LEB128, as in DWARF: 7 bits a byte, the lowest first. */
function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}
function* deltas(ranges: readonly Extent[]): Generator<number> {
  let at = 0;
  for (const { from, to } of ranges) {
    yield from - at;
    yield to - from;
    at = to;
  }
}

function bodyBytes({ holes, filled }: HoleMap): number {
  let bytes = COUNTS;
  for (const ranges of [holes.ranges, filled.ranges]) {
    for (const delta of deltas(ranges)) bytes += varintBytes(delta);
  }
  return bytes;
}

interface MapContext {
  readonly epoch: number;
  /** The file's tag: another file's map does not open. 16 bytes. */
  readonly tag: Buffer;
  /** As in the file's header: an older map does not open. */
  readonly version: number;
}

/** The sealed record of a map of at most {@link MAP_RANGES}. One shared buffer: use it at once. */
export function sealMap(key: AeadKey, context: MapContext, map: HoleMap): Buffer {
  room(CLEAR + SEAL_OVERHEAD + bodyBytes(map));
  const { bytes } = scratch;
  const writer = new ByteWriter(bytes)
    .bytes(MAGIC)
    .u16(VERSION)
    .u16(0)
    .u32(context.epoch)
    .bytes(context.tag)
    .u64(context.version)
    .zeros(24)
    .u32(map.holes.ranges.length)
    .u32(map.filled.ranges.length);
  for (const ranges of [map.holes.ranges, map.filled.ranges]) {
    for (const delta of deltas(ranges)) {
      let rest = delta;
      for (; rest >= 128; rest = Math.floor(rest / 128)) writer.u8(128 + (rest % 128));
      writer.u8(rest);
    }
  }
  const length = writer.at - CLEAR - 24;
  sealRecord(key, scratch, 0, CLEAR, length);
  return bytes.subarray(0, CLEAR + length + SEAL_OVERHEAD);
}

/** The tag that a record says it is of. */
export function mapTag(record: Buffer): Buffer {
  return record.subarray(16, 32);
}
/** Bytes of the largest record: a file of more is none. */
export const MAP_LARGEST = MAP_BYTES;

/** The map in a record and the version it says it has, or undefined where it is not this file's or not authentic. */
export function openMap(
  keys: (epoch: number) => AeadKey | undefined,
  tag: Buffer,
  record: Buffer,
): { map: HoleMap; version: number } | undefined {
  const length = record.length - CLEAR - SEAL_OVERHEAD;
  if (length < COUNTS || record.length > MAP_BYTES) return undefined;
  room(record.length);
  record.copy(scratch.bytes);
  const clear = new ByteReader(scratch.bytes, 0, CLEAR);
  if (!clear.bytes(8).equals(MAGIC) || clear.u16() !== VERSION || clear.u16() !== 0) return undefined;
  const key = keys(clear.u32());
  if (!clear.bytes(16).equals(tag)) return undefined;
  const version = clear.u64();
  if (key === undefined || !openRecord(key, scratch, 0, CLEAR, length)) return undefined;
  const reader = new ByteReader(scratch.bytes, CLEAR + 24, CLEAR + 24 + length);
  const counts = [reader.u32(), reader.u32()] as const;
  const holes = readRanges(reader, counts[0]);
  const filled = readRanges(reader, counts[1]);
  if (holes === undefined || filled === undefined || reader.short || reader.left > 0) return undefined;
  return { map: { holes, filled }, version };
}

function readRanges(reader: ByteReader, count: number): ExtentSet | undefined {
  const ranges: Extent[] = [];
  if (count > MAP_RANGES) return undefined;
  let at = 0;
  for (let i = 0; i < count; i++) {
    const from = at + readVarint(reader);
    const to = from + readVarint(reader);
    // Ranges are not empty and do not touch; a NaN fails every comparison.
    if (!(to > from && (i === 0 || from > at) && to <= MAX_CHUNKS)) return undefined;
    ranges.push({ from, to });
    at = to;
  }
  return new ExtentSet(ranges);
}

function readVarint(reader: ByteReader): number {
  let value = 0;
  for (let scale = 1; scale <= 2 ** 42; scale *= 128) {
    const byte = reader.u8();
    value += (byte & 127) * scale;
    if (byte < 128) return reader.short ? Number.NaN : value;
  }
  return Number.NaN;
}
