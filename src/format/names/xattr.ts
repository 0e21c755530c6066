import type { AeadKey } from '../../crypto/aead.js';
import { XATTR_NAME_MAX, XATTR_SIZE_MAX } from '../../libc/files.js';
import type { Secret } from '../../libc/memory.js';
import { pinned } from '../../libc/memory.js';
import { openRecord, SEAL_OVERHEAD, sealRecord } from '../sealed-record.js';
import { placeMac } from './binding.js';

/** Names of the sealed attributes in the backing: the rest is base64url of 16 bytes. */
export const XATTR_PREFIXES = { user: 'user.scopefs.x.', trusted: 'trusted.scopefs.x.' } as const;

const VERSION = 1;
const CLEAR = 17;
const scratch = pinned(CLEAR + SEAL_OVERHEAD + 1 + XATTR_NAME_MAX + XATTR_SIZE_MAX);

/**
 * An attribute as stored. `object` (16 bytes): the directory's id; zero for anything else. One shared buffer: use the
 * value at once.
 */
export function storeXattr(key: AeadKey, object: Buffer, name: string, value: Buffer): Buffer {
  const { bytes } = scratch;
  bytes[0] = VERSION;
  object.copy(bytes, 1, 0, 16);
  let at = CLEAR + 24;
  bytes[at++] = name.length;
  at += bytes.write(name, at, 'latin1');
  at += value.copy(bytes, at);
  sealRecord(key, scratch, 0, CLEAR, at - CLEAR - 24);
  return bytes.subarray(0, at + 16);
}

/** Overwrites what {@link readXattr} showed. */
export function forgetXattr(): void {
  scratch.bytes.fill(0, 0, used);
  used = 0;
}
let used = 0;

/**
 * Name and value behind a stored attribute of an object, or undefined where it is not authentic there. The value is a view:
 * use it at once, then {@link forgetXattr}, so that no copy of it stays in memory.
 */
export function readXattr(
  key: AeadKey,
  object: Buffer,
  stored: Buffer,
): { name: string; value: Buffer } | undefined {
  const length = stored.length - CLEAR - SEAL_OVERHEAD;
  if (length < 2 || stored.length > scratch.bytes.length) return undefined;
  stored.copy(scratch.bytes);
  used = Math.max(used, stored.length);
  const { bytes } = scratch;
  if (bytes[0] !== VERSION || !bytes.subarray(1, CLEAR).equals(object)) return undefined;
  if (!openRecord(key, scratch, 0, CLEAR, length)) return undefined;
  const nameLength = bytes[CLEAR + 24] as number;
  if (nameLength === 0 || nameLength >= length) return undefined;
  const at = CLEAR + 24 + 1;
  return {
    name: bytes.toString('latin1', at, at + nameLength),
    value: bytes.subarray(at + nameLength, CLEAR + 24 + length),
  };
}

/** What stands for an attribute's name in the backing, behind a prefix. */
export function storedXattrName(key: Secret, object: Buffer, name: string): string {
  const place = { directory: object, name };
  return placeMac(key, 'xattr', 0, place, Buffer.alloc(16)).toString('base64url');
}
