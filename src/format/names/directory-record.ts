import type { Secret } from '../../libc/memory.js';
import { bindingKind, hasMac, MAC_BYTES, NOWHERE, type Place, placeMac } from './binding.js';

const VERSION = 1;
const CLEAR = 22;
type DirectoryKind = 'directory' | 'edge' | 'root';
const kinds: readonly DirectoryKind[] = ['directory', 'edge', 'root'];

/**
 * What a directory is. In clear and authenticated by the MACs of its places: an id is no secret, and 38 bytes fit the
 * inode, where a sealed record took a block of its own (one more disk read for each cold directory).
 */
export interface DirectoryRecord {
  readonly kind: DirectoryKind;
  /** Of the key that made the MACs; no name in the directory is older. */
  readonly epoch: number;
  /** 16 bytes: the directory's id; of an edge, the id of the scope that begins there. */
  readonly id: Buffer;
}

/** The record of a directory at one place, or at two while a rename is under way. A root has none: leave it out. */
export function encodeDirectoryRecord(
  key: Secret,
  record: DirectoryRecord,
  places: readonly Place[] = [NOWHERE],
): Buffer {
  const bytes = Buffer.alloc(CLEAR + MAC_BYTES * places.length);
  bytes[0] = VERSION;
  bytes[1] = bindingKind[record.kind];
  bytes.writeUInt32LE(record.epoch, 2);
  record.id.copy(bytes, 6);
  places.forEach((place, i) => {
    placeMac(key, record.kind, record.epoch, place, record.id).copy(bytes, CLEAR + MAC_BYTES * i);
  });
  return bytes;
}

/** The record found at a place, or undefined where it is not authentic there. `keys`: the binding key of an epoch. */
export function readDirectoryRecord(
  keys: (epoch: number) => Secret | undefined,
  bytes: Buffer,
  place: Place = NOWHERE,
): DirectoryRecord | undefined {
  const one = CLEAR + MAC_BYTES;
  if (bytes[0] !== VERSION || (bytes.length !== one && bytes.length !== one + MAC_BYTES)) return undefined;
  const kind = kinds.find((candidate) => bindingKind[candidate] === bytes[1]);
  if (kind === undefined) return undefined;
  const record = { kind, epoch: bytes.readUInt32LE(2), id: Buffer.from(bytes.subarray(6, CLEAR)) };
  const key = keys(record.epoch);
  if (key === undefined) return undefined;
  return hasMac(bytes, CLEAR, placeMac(key, kind, record.epoch, place, record.id)) ? record : undefined;
}
