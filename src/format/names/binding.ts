import { shortMac } from '../../crypto/kdf.js';
import type { Secret } from '../../libc/memory.js';
import { pinned } from '../../libc/memory.js';
import { NAME_MAX } from './names.js';

/** xattr of a file's binding and of a directory's record; second one on a scope's root directory. */
export const XATTR = 'user.scopefs';
export const XATTR_ROOT = 'user.scopefs.root';

/** Kinds of bindings and records: the second byte of each, and part of every MAC. FORMAT.md. */
export const bindingKind = { bound: 1, directory: 2, edge: 3, root: 4, unbound: 5, xattr: 6 } as const;
export type BindingKind = keyof typeof bindingKind;

/** A directory by its id (16 bytes), and a name in it (latin1). */
export interface Place {
  readonly directory: Buffer;
  readonly name: string;
}

/** Where nothing is bound: a root's or an unbound file's place. */
export const NOWHERE: Place = { directory: Buffer.alloc(16), name: '' };

export const MAC_BYTES = 16;
const VERSION = 1;
const TAG_AT = 2;
const FILE_CLEAR = TAG_AT + 16;
const input = pinned(1 + 4 + 16 + 16 + NAME_MAX);
const mac = Buffer.alloc(MAC_BYTES);

/** MAC of an object's place; `identity` (16 bytes) ties it to the object. One shared buffer: use it at once. */
export function placeMac(
  key: Secret,
  kind: BindingKind,
  epoch: number,
  place: Place,
  identity: Buffer,
): Buffer {
  const { bytes } = input;
  bytes[0] = bindingKind[kind];
  bytes.writeUInt32LE(epoch, 1);
  place.directory.copy(bytes, 5, 0, 16);
  identity.copy(bytes, 21, 0, 16);
  const length = bytes.write(place.name, 37, 'latin1');
  shortMac(key, input, 37 + length, mac);
  return mac;
}

function encode(key: Secret, kind: 'bound' | 'unbound', tag: Buffer, places: readonly Place[]): Buffer {
  const bytes = Buffer.alloc(FILE_CLEAR + MAC_BYTES * places.length);
  bytes[0] = VERSION;
  bytes[1] = bindingKind[kind];
  tag.copy(bytes, TAG_AT);
  places.forEach((place, i) => {
    placeMac(key, kind, 0, place, tag).copy(bytes, FILE_CLEAR + MAC_BYTES * i);
  });
  return bytes;
}

/** The xattr of a file at one place, or at two while a rename is under way. `tag`: its file-id tag. */
export function encodeBinding(key: Secret, tag: Buffer, places: readonly Place[]): Buffer {
  return encode(key, 'bound', tag, places);
}

/** The xattr of a file that has, or had, several names. */
export function encodeUnbound(key: Secret, tag: Buffer): Buffer {
  return encode(key, 'unbound', tag, [NOWHERE]);
}

/** The file-id tag that a file's xattr of `length` bytes names, not judged: a view. Undefined: too short for one. */
export function tagOf(bytes: Buffer, length: number): Buffer | undefined {
  return length < FILE_CLEAR ? undefined : bytes.subarray(TAG_AT, FILE_CLEAR);
}

type BindingVerdict = 'bound' | 'unbound' | 'mismatch';

/**
 * Judges a file's xattr against the place where it was found, under each epoch's key. `tag`: receives the file-id
 * tag that it names.
 */
export function judgeBinding(
  keys: Iterable<{ readonly binding: Secret }>,
  bytes: Buffer,
  place: Place,
  tag: Buffer,
): BindingVerdict {
  for (const { binding } of keys) {
    const verdict = judge(binding, bytes, place, tag);
    if (verdict !== 'mismatch') return verdict;
  }
  return 'mismatch';
}

function judge(key: Secret, bytes: Buffer, place: Place, tag: Buffer): BindingVerdict {
  const one = FILE_CLEAR + MAC_BYTES;
  if (bytes[0] !== VERSION || (bytes.length !== one && bytes.length !== one + MAC_BYTES)) return 'mismatch';
  bytes.copy(tag, 0, TAG_AT, FILE_CLEAR);
  if (bytes[1] === bindingKind.unbound) {
    const expected = placeMac(key, 'unbound', 0, NOWHERE, tag);
    return bytes.length === one && expected.equals(bytes.subarray(FILE_CLEAR)) ? 'unbound' : 'mismatch';
  }
  if (bytes[1] !== bindingKind.bound) return 'mismatch';
  const expected = placeMac(key, 'bound', 0, place, tag);
  return hasMac(bytes, FILE_CLEAR, expected) ? 'bound' : 'mismatch';
}

/** Whether one of the MACs from `at` to the end is the expected one. */
export function hasMac(bytes: Buffer, at: number, expected: Buffer): boolean {
  for (let from = at; from < bytes.length; from += MAC_BYTES) {
    if (expected.equals(bytes.subarray(from, from + MAC_BYTES))) return true;
  }
  return false;
}
