import { shortMac } from '../crypto/kdf.js';
import type { Secret } from '../libc/memory.js';
import { pinned } from '../libc/memory.js';

/** xattr of a file's binding and of a directory's record; second one on a scope's root directory. */
export const XATTR = 'user.scopefs';
export const XATTR_ROOT = 'user.scopefs.root';

const VERSION = 1;
const BOUND = 1;
const UNBOUND = 5;
const zeros = Buffer.alloc(16);
const input = pinned(1 + 16 + 16 + 255);
const mac = Buffer.alloc(16);

function computeMac(key: Secret, kind: number, directory: Buffer, tag: Buffer, name: string): Buffer {
  const bytes = input.bytes;
  bytes[0] = kind;
  directory.copy(bytes, 1, 0, 16);
  tag.copy(bytes, 17, 0, 16);
  const length = bytes.write(name, 33, 'latin1');
  shortMac(key, input, 33 + length, mac);
  return mac;
}

/** MAC of an object's place, 16 bytes, copied into `into`. `tag` ties it to the object's own identity. */
export function placeMac(
  key: Secret,
  directory: Buffer,
  tag: Buffer,
  name: string,
  into: Buffer,
  at: number,
): void {
  computeMac(key, BOUND, directory, tag, name).copy(into, at);
}

export function placeMatches(
  key: Secret,
  directory: Buffer,
  tag: Buffer,
  name: string,
  found: Buffer,
): boolean {
  return computeMac(key, BOUND, directory, tag, name).equals(found);
}

/** The xattr of a file at one place, or at two while a rename is under way. */
export function encodeBinding(
  key: Secret,
  tag: Buffer,
  places: readonly { directory: Buffer; name: string }[],
): Buffer {
  const bytes = Buffer.alloc(18 + 16 * places.length);
  bytes[0] = VERSION;
  bytes[1] = BOUND;
  tag.copy(bytes, 2);
  places.forEach((place, i) => {
    placeMac(key, place.directory, tag, place.name, bytes, 18 + 16 * i);
  });
  return bytes;
}

/** The xattr of a file that has, or had, several names. */
export function encodeUnbound(key: Secret, tag: Buffer): Buffer {
  const bytes = Buffer.alloc(34);
  bytes[0] = VERSION;
  bytes[1] = UNBOUND;
  tag.copy(bytes, 2);
  computeMac(key, UNBOUND, zeros, tag, '').copy(bytes, 18);
  return bytes;
}

export type BindingVerdict = 'bound' | 'unbound' | 'mismatch';

/** Judges a file's xattr against the name under which it was found. `tag`: receives the file-id tag it names. */
export function judgeBinding(
  key: Secret,
  bytes: Buffer,
  directory: Buffer,
  name: string,
  tag: Buffer,
): BindingVerdict {
  if (bytes[0] !== VERSION || (bytes.length !== 34 && bytes.length !== 50)) return 'mismatch';
  bytes.copy(tag, 0, 2, 18);
  if (bytes[1] === UNBOUND) {
    const expected = computeMac(key, UNBOUND, zeros, tag, '');
    return bytes.length === 34 && expected.equals(bytes.subarray(18)) ? 'unbound' : 'mismatch';
  }
  if (bytes[1] !== BOUND) return 'mismatch';
  for (let at = 18; at < bytes.length; at += 16) {
    if (placeMatches(key, directory, tag, name, bytes.subarray(at, at + 16))) return 'bound';
  }
  return 'mismatch';
}
