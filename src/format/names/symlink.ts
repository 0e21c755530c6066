import type { AeadKey } from '../../crypto/aead.js';
import { pinned } from '../../libc/memory.js';
import { openRecord, SEAL_OVERHEAD, sealRecord } from '../sealed-record.js';

/** Longest target in bytes (symlink(2), PATH_MAX less the NUL). */
export const TARGET_MAX = 4095;
/** Characters of a backing symlink, and sealed bytes that fit them in base64url. */
export const LINK_CHARACTERS = 4095;
const LINK_BYTES = Math.floor((LINK_CHARACTERS * 3) / 4);
/** xattr of a symlink with what of its sealed target does not fit: a user one could not be there (xattr(7)). */
export const XATTR_TARGET = 'trusted.scopefs.target';

const scratch = pinned(TARGET_MAX + SEAL_OVERHEAD);

/** A target as stored: the backing symlink's own, and the bytes that follow in {@link XATTR_TARGET}. */
export interface StoredTarget {
  readonly link: string;
  readonly rest: Buffer | undefined;
}

/** Seals a target (latin1 of raw bytes); undefined where it is too long. */
export function storeTarget(key: AeadKey, target: string): StoredTarget | undefined {
  if (target.length > TARGET_MAX) return undefined;
  const { bytes } = scratch;
  bytes.write(target, 24, 'latin1');
  sealRecord(key, scratch, 0, 0, target.length);
  const length = target.length + SEAL_OVERHEAD;
  const link = bytes.toString('base64url', 0, Math.min(length, LINK_BYTES));
  return { link, rest: length > LINK_BYTES ? Buffer.from(bytes.subarray(LINK_BYTES, length)) : undefined };
}

/** The target, or undefined where it is not authentic. */
export function readTarget(key: AeadKey, { link, rest }: StoredTarget): string | undefined {
  const first = Buffer.from(link, 'base64url');
  if (first.toString('base64url') !== link) return undefined;
  if (rest !== undefined && first.length !== LINK_BYTES) return undefined;
  const sealed = rest === undefined ? first : Buffer.concat([first, rest]);
  const length = sealed.length - SEAL_OVERHEAD;
  if (length < 1 || length > TARGET_MAX) return undefined;
  sealed.copy(scratch.bytes);
  if (!openRecord(key, scratch, 0, 0, length)) return undefined;
  return scratch.bytes.toString('latin1', 24, 24 + length);
}

/** Length in bytes of the target behind a stored one of `characters`, and of `rest` bytes in the xattr. */
export function targetLength(characters: number, rest = 0): number {
  return Math.max(0, Math.floor((characters * 3) / 4) + rest - SEAL_OVERHEAD);
}
