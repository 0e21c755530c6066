import { createHash, randomBytes } from 'node:crypto';
import type { SivKey } from '../../crypto/siv.js';
import { pinned } from '../../libc/memory.js';

/** Longest name in bytes, as on ext4 (limits.h, NAME_MAX). */
export const NAME_MAX = 255;
const PAD = 16;
const IV = 16;
/** Longest sealed name that fits 255 characters of base64url: 176 bytes, a name of 160. */
const INLINE = 176;
export const LONG_PREFIX = '+L';
export const SIDE_PREFIX = '+N';
const ASIDE_PREFIX = '+G';
/** A fresh name in the tree's root for what is to be unlinked: a scope that was destroyed, and directories out of it. */
export function asideName(): string {
  return ASIDE_PREFIX + randomBytes(16).toString('base64url');
}
export function isAside(name: string): boolean {
  return name.startsWith(ASIDE_PREFIX);
}
/** Bytes of the largest side file. */
export const SIDE_BYTES = IV + 256;

const io = pinned(16 + 256 + 16 + SIDE_BYTES);
const PLAIN = io.address + 16;
const SEALED_AT = 16 + 256 + 16;
const SEALED = io.address + SEALED_AT;

export interface StoredName {
  /** The name of the backing object, latin1. */
  readonly name: string;
  /** For a long name: the side file's name and its content. */
  readonly side: { readonly name: string; readonly content: Buffer } | undefined;
}

const digest = (sealed: Buffer): string => createHash('sha256').update(sealed).digest('base64url');

function setDirectory(directoryId: Buffer): void {
  directoryId.copy(io.bytes, 0, 0, 16);
}

/** Seals a name (latin1 of 1 to 255 raw bytes) for a directory. The same name gives the same bytes. */
export function storeName(key: SivKey, directoryId: Buffer, name: string): StoredName {
  const padded = Math.ceil(name.length / PAD) * PAD;
  setDirectory(directoryId);
  io.bytes.fill(0, 16, 16 + padded);
  io.bytes.write(name, 16, 'latin1');
  key.seal(io.address, 16, PLAIN, padded, SEALED);
  const sealed = io.bytes.subarray(SEALED_AT, SEALED_AT + IV + padded);
  if (sealed.length <= INLINE) return { name: sealed.toString('base64url'), side: undefined };
  const hash = digest(sealed);
  return {
    name: LONG_PREFIX + hash,
    side: { name: SIDE_PREFIX + hash, content: Buffer.from(sealed) },
  };
}

function openSealed(key: SivKey, directoryId: Buffer, sealed: Buffer): string | undefined {
  const padded = sealed.length - IV;
  if (padded < PAD || padded > 256 || padded % PAD !== 0) return undefined;
  setDirectory(directoryId);
  sealed.copy(io.bytes, SEALED_AT);
  if (!key.open(io.address, 16, SEALED, padded, PLAIN)) return undefined;
  let length = padded;
  while (length > 0 && io.bytes[16 + length - 1] === 0) length--;
  if (length <= padded - PAD || length > NAME_MAX) return undefined;
  return io.bytes.toString('latin1', 16, 16 + length);
}

/** The name behind a backing object's name, or undefined where it is not one of this directory's. */
export function readName(key: SivKey, directoryId: Buffer, stored: string): string | undefined {
  const sealed = Buffer.from(stored, 'base64url');
  // Buffer.from skips what is not base64: only the canonical spelling counts.
  if (sealed.length > INLINE || sealed.toString('base64url') !== stored) return undefined;
  return openSealed(key, directoryId, sealed);
}

/** The same for a long name, from the content of its side file. */
export function readLongName(
  key: SivKey,
  directoryId: Buffer,
  stored: string,
  content: Buffer,
): string | undefined {
  if (content.length <= INLINE || stored !== LONG_PREFIX + digest(content)) return undefined;
  return openSealed(key, directoryId, content);
}

/** The side file's name of a long backing name. */
export function sideName(stored: string): string {
  return SIDE_PREFIX + stored.slice(LONG_PREFIX.length);
}
