import type { AeadKey } from '../crypto/aead.js';
import { pinned } from '../libc/memory.js';
import { openRecord, SEAL_OVERHEAD, sealRecord } from './sealed-record.js';

/** Longest target in bytes: its stored form must fit the 4,095 characters of a backing symlink. */
export const TARGET_MAX = Math.floor((4095 * 3) / 4) - SEAL_OVERHEAD;

const scratch = pinned(TARGET_MAX + SEAL_OVERHEAD);

/** Seals a target (latin1 of raw bytes); undefined where it is too long. */
export function storeTarget(key: AeadKey, target: string): string | undefined {
  if (target.length > TARGET_MAX) return undefined;
  scratch.bytes.write(target, 24, 'latin1');
  sealRecord(key, scratch, 0, 0, target.length);
  return scratch.bytes.toString('base64url', 0, target.length + SEAL_OVERHEAD);
}

/** The target, or undefined where it is not authentic. */
export function readTarget(key: AeadKey, stored: string): string | undefined {
  const sealed = Buffer.from(stored, 'base64url');
  const length = sealed.length - SEAL_OVERHEAD;
  if (length < 1 || length > TARGET_MAX || sealed.toString('base64url') !== stored) return undefined;
  sealed.copy(scratch.bytes);
  if (!openRecord(key, scratch, 0, 0, length)) return undefined;
  return scratch.bytes.toString('latin1', 24, 24 + length);
}

/** Length in bytes of the target behind a stored one of `stored` characters. */
export function targetLength(stored: number): number {
  return Math.max(0, Math.floor((stored * 3) / 4) - SEAL_OVERHEAD);
}
