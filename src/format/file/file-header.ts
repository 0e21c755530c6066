import { ByteReader, ByteWriter } from '../../base/cursor.js';
import type { ScopeId } from '../../base/ids.js';
import { idBytes } from '../../base/ids.js';
import type { AeadKey } from '../../crypto/aead.js';
import { type Pinned, pinned } from '../../libc/memory.js';
import { openRecord, sealRecord } from '../sealed-record.js';
import { HEADER_BYTES, MAX_SIZE } from './geometry.js';

const MAGIC = Buffer.from('SCOPEFSF');
const VERSION = 1;
const CLEAR = 64;
/** Where a header has its file's tag, in clear. */
export const TAG_AT = 32;
export const TAG_BYTES = 16;
const SEALED = HEADER_BYTES - CLEAR - 40;

/** The facts of one file. `fileId` and `tag` have 16 bytes. */
export interface FileHeader {
  /** Under whose key the header is sealed: no frame was sealed in a later one when it was written. */
  epoch: number;
  /** In which the file got its identity: `tag` comes from this epoch's secret. */
  readonly firstEpoch: number;
  readonly fileId: Buffer;
  readonly tag: Buffer;
  size: number;
  syncedSize: number;
  version: number;
  /** Chunks ever written: the highest chunk number plus one. All from here on are holes. */
  chunks: number;
  /** A lower bound of {@link chunks} that fsync made durable, with the hole map: frames below it are there. */
  syncedChunks: number;
  /** Some chunks below {@link chunks} are holes: the file has a hole map of version {@link mapVersion}. */
  sparse: boolean;
  /** Of the newest hole map that the file ever had. */
  mapVersion: number;
  /** No older map may stand in for it: an fsync made this one durable. */
  syncedMapVersion: number;
  /** In which session of the daemon it was last written: 16 bytes. After an unclean stop only its files are forgiven. */
  session: Buffer;
}

const SPARSE = 1;

/** What all headers of a scope share. */
export interface HeaderContext {
  readonly scope: ScopeId;
  readonly suite: number;
  readonly chunkSize: number;
}

/** The header key of an epoch, where the scope has that epoch. */
type HeaderKeys = (epoch: number) => AeadKey | undefined;

const scratch = pinned(HEADER_BYTES);

/** Writes the 512 bytes of a sealed header at `into.bytes[at]`. */
export function sealHeader(
  key: AeadKey,
  context: HeaderContext,
  header: FileHeader,
  into: Pinned,
  at: number,
): void {
  new ByteWriter(scratch.bytes)
    .bytes(MAGIC)
    .u16(VERSION)
    .u8(context.suite)
    .u8(Math.log2(context.chunkSize))
    .u32(header.epoch)
    .bytes(idBytes(context.scope))
    .bytes(header.tag)
    .zeros(16 + 24)
    .bytes(header.fileId)
    .u64(header.size)
    .u64(header.syncedSize)
    .u64(header.version)
    .u64(header.chunks)
    .u32(header.sparse ? SPARSE : 0)
    .u32(header.firstEpoch)
    .u64(header.syncedChunks)
    .u64(header.mapVersion)
    .bytes(header.session)
    .u64(header.syncedMapVersion)
    .zeros(HEADER_BYTES - 184);
  sealRecord(key, scratch, 0, CLEAR, SEALED);
  scratch.bytes.copy(into.bytes, at, 0, HEADER_BYTES);
}

/** Reads one header copy, or undefined where it is not authentic, not of this scope, or out of range. */
export function openHeader(
  keys: HeaderKeys,
  context: HeaderContext,
  from: Buffer,
  at: number,
): FileHeader | undefined {
  if (at + HEADER_BYTES > from.length) return undefined;
  from.copy(scratch.bytes, 0, at, at + HEADER_BYTES);
  const clear = new ByteReader(scratch.bytes, 0, CLEAR);
  if (!clear.bytes(8).equals(MAGIC) || clear.u16() !== VERSION) return undefined;
  if (clear.u8() !== context.suite || 2 ** clear.u8() !== context.chunkSize) return undefined;
  const epoch = clear.u32();
  if (!clear.bytes(16).equals(idBytes(context.scope))) return undefined;
  const tag = Buffer.from(clear.bytes(16));
  const key = keys(epoch);
  if (key === undefined || !openRecord(key, scratch, 0, CLEAR, SEALED)) return undefined;
  const sealed = new ByteReader(scratch.bytes, CLEAR + 24, CLEAR + 24 + SEALED);
  const fileId = Buffer.from(sealed.bytes(16));
  const [size, syncedSize, version, chunks] = [sealed.u64(), sealed.u64(), sealed.u64(), sealed.u64()];
  const flags = sealed.u32();
  const firstEpoch = sealed.u32();
  const [syncedChunks, mapVersion] = [sealed.u64(), sealed.u64()];
  const session = Buffer.from(sealed.bytes(16));
  const syncedMapVersion = sealed.u64();
  const sparse = flags === SPARSE;
  const sizes = {
    size,
    syncedSize,
    version,
    chunks,
    syncedChunks,
    sparse,
    mapVersion,
    syncedMapVersion,
    session,
  };
  const header: FileHeader = { epoch, firstEpoch, tag, fileId, ...sizes };
  const sane =
    (flags === 0 || sparse) &&
    firstEpoch >= 1 &&
    firstEpoch <= epoch &&
    header.size > 0 &&
    header.size <= MAX_SIZE &&
    header.syncedSize <= MAX_SIZE &&
    Number.isSafeInteger(header.version) &&
    header.chunks <= Math.ceil(header.size / context.chunkSize) &&
    header.syncedChunks <= header.chunks &&
    Number.isSafeInteger(header.mapVersion) &&
    header.syncedMapVersion <= header.mapVersion;
  return sane ? header : undefined;
}

type HeaderPair =
  | { state: 'good'; header: FileHeader }
  /** One copy is bad, or they differ: the newer good one, for recovery after an unclean stop only. */
  | { state: 'torn'; header: FileHeader }
  | { state: 'bad' };

/** Judges both copies of a header region. */
export function openHeaderPair(
  keys: HeaderKeys,
  context: HeaderContext,
  from: Buffer,
  at: number,
): HeaderPair {
  const first = openHeader(keys, context, from, at);
  const second = openHeader(keys, context, from, at + HEADER_BYTES);
  if (first !== undefined && second !== undefined) {
    const same = from
      .subarray(at, at + HEADER_BYTES)
      .equals(from.subarray(at + HEADER_BYTES, at + 2 * HEADER_BYTES));
    if (same) return { state: 'good', header: first };
    return { state: 'torn', header: first.version >= second.version ? first : second };
  }
  const header = first ?? second;
  return header === undefined ? { state: 'bad' } : { state: 'torn', header };
}
