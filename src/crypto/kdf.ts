import type { Address } from '../libc/ffi.js';
import { type Pinned, pinned, type Secret } from '../libc/memory.js';
import { hmac, ignored, sha256 } from './evp.js';

/**
 * Every label under which a key is derived: its length in bytes and the secret it comes from. Part of the stored
 * format (FORMAT.md): never reuse one. KDF: NIST SP 800-108r1 in counter mode with HMAC-SHA-256,
 * K(i) = HMAC(secret, i as u32 big-endian | label | 0 | context | bits as u32 big-endian).
 */
export const kdfLabels = {
  /** epoch secret; context scope id | file id: file key 32, then the header's clear file-id tag 16. */
  'scopefs/1/file': 48,
  /** epoch secret; context scope id: seals file headers. */
  'scopefs/1/header': 32,
  /** epoch secret; context scope id: AES-256-SIV key of names. */
  'scopefs/1/name': 64,
  /** epoch secret; context scope id: HMAC key of name bindings and directory records. */
  'scopefs/1/binding': 32,
  /** epoch secret; context scope id: seals symlink targets. */
  'scopefs/1/symlink': 32,
  /** epoch secret; context scope id: seals extended attributes. */
  'scopefs/1/xattr': 32,
  /** epoch secret; context scope id: public identifier of the epoch secret, 16 bytes. */
  'scopefs/1/key-id': 16,
  /** epoch secret; context scope id: seals the scope's state row. */
  'scopefs/1/state': 32,
  /** root scope's epoch secret; context volume id: seals the store key. */
  'scopefs/1/store-key': 32,
  /** store key; context volume id: seals labels. */
  'scopefs/1/label': 32,
  /** epoch secret; context scope id: seals the secret of the epoch before. */
  'scopefs/1/chain': 32,
  /** epoch secret; context volume id | scope id: HMAC key of the slot list. */
  'scopefs/1/slot-list': 32,
  /** parent scope's epoch secret; context volume id | the child's scope id | slot number: the secret of its parent slot. */
  'scopefs/1/parent-slot': 32,
  /** store key; context volume id: seals the audit's texts. */
  'scopefs/1/note': 32,
  /** store key; context volume id: seals the store key before it. */
  'scopefs/1/store-chain': 32,
  /** stretched slot secret; context volume id | scope id | slot number: seals the slot's private half. */
  'scopefs/1/slot': 32,
  /** stretched slot secret; context as above: the symmetric re-wrap of an epoch secret. */
  'scopefs/1/rewrap': 32,
  /** shared secret of the slot's key pair; context as above and the epoch: seals that epoch's secret to the slot. */
  'scopefs/1/wrap': 32,
  /** a client's share; context volume id | scope id | slot number | share number: seals the split slot's secret. */
  'scopefs/1/share': 32,
  /** a split slot's secret; context as above: the client's share of that number (but for the first, which is random). */
  'scopefs/1/client-share': 32,
  /** a share's value; context its text before the value: public, tells it from other bytes. */
  'scopefs/1/share-tag': 16,
} as const;

export type KdfLabel = keyof typeof kdfLabels;

const input = pinned(256);
const block = pinned(32);

/** Derives `kdfLabels[label]` bytes to `out`. `out` may hold at most 64 bytes. */
export function derive(secret: Secret, label: KdfLabel, context: Buffer, out: Address): void {
  const length = kdfLabels[label];
  const bytes = input.bytes;
  let at = 4 + bytes.write(label, 4, 'latin1');
  bytes[at++] = 0;
  at += context.copy(bytes, at);
  at = bytes.writeUInt32BE(length * 8, at);
  for (let done = 0, counter = 1; done < length; counter++) {
    bytes.writeUInt32BE(counter, 0);
    // A 48-byte key writes 64: callers give a whole slot of secret memory.
    hmac(sha256, secret.address, secret.length, input.address, at, out + done, ignored.address);
    done += 32;
  }
}

/** The first 16 bytes of HMAC-SHA-256 over public data, into a Buffer. */
export function shortMac(key: Secret, data: Pinned, length: number, into: Buffer, at = 0): void {
  hmac(sha256, key.address, key.length, data.address, length, block.address, ignored.address);
  block.bytes.copy(into, at, 0, 16);
}
