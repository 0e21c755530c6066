import type { Pinned } from '../../libc/memory.js';

/**
 * The layout of a request's body as linux/fuse.h has it: its fields in their order, each with a kind from here. Offsets
 * follow from the order alone. A request's fields are getters over the receive buffer: a field is decoded where a handler
 * reads it, and nothing is allocated.
 */

/** The message that fields are read from: the same object for every request. */
export interface Message {
  /** Holds the message now, and the next one later. */
  buffer: Pinned;
  /** Bytes of the message. */
  length: number;
  /** The NUL-terminated names behind the fixed part. */
  readonly names: readonly string[];
  /** What follows the names. */
  readonly payload: Payload;
}

/** Bytes behind a request's structs and names: `length` of them, in `buffer` from `at` on. Reused by the next request. */
export interface Payload {
  buffer: Pinned;
  at: number;
  length: number;
}

/** A field: its bytes, and how it is read where it lies (`at`: its offset in the message). */
export interface Value<T> {
  readonly bytes: number;
  readonly read: (message: Message, at: number) => () => T;
}
/** A u32 whose bits have names: each is a boolean of the request. */
export interface Flags<Bit extends string> {
  readonly bytes: 4;
  readonly bits: Readonly<Record<Bit, number>>;
}
export interface Unread {
  readonly bytes: number;
  readonly unread: true;
}
/** A name behind the fixed part. */
export interface Name {
  readonly bytes: 0;
  readonly name: true;
}

/** Names come behind all that has bytes, and what reads the payload last. */
export type Layout = Readonly<Record<string, Value<unknown> | Flags<string> | Unread | Name>>;

/** What a layout's fields are read as. */
export type Fields<L extends Layout> = {
  readonly [F in keyof L as L[F] extends Unread | Flags<string> ? never : F]: L[F] extends Value<infer T>
    ? T
    : string;
} & {
  readonly [B in { [F in keyof L]: L[F] extends Flags<infer Bit> ? Bit : never }[keyof L]]: boolean;
};

export const u32: Value<number> = {
  bytes: 4,
  read: (message, at) => () => message.buffer.bytes.readUInt32LE(at),
};

/** NaN where it does not fit a safe integer: no node id, offset or size is such a number. */
export const u64: Value<number> = {
  bytes: 8,
  read: (message, at) => () => readU64(message.buffer.bytes, at),
};

/** Signed seconds; beyond 2^53 they are brought back to it (no filesystem keeps such a time). */
export const seconds: Value<number> = {
  bytes: 8,
  read: (message, at) => () => {
    const { bytes } = message.buffer;
    const value = bytes.readInt32LE(at + 4) * 0x1_0000_0000 + bytes.readUInt32LE(at);
    return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value));
  },
};

/** A u32 that older kernels do not send: then 0. */
export const u32IfSent: Value<number> = {
  bytes: 0,
  read: (message, at) => () => (at + 4 <= message.length ? message.buffer.bytes.readUInt32LE(at) : 0),
};

export function flags<Bit extends string>(bits: Readonly<Record<Bit, number>>): Flags<Bit> {
  return { bytes: 4, bits };
}

/** Padding, and what is opaque or nothing to us. */
export function unread(bytes: number): Unread {
  return { bytes, unread: true };
}

/** Raw bytes up to a NUL, as latin1. */
export const name: Name = { bytes: 0, name: true };

export const payload: Value<Payload> = { bytes: 0, read: (message) => () => message.payload };

/** struct fuse_batch_forget_in and as many struct fuse_forget_one as it counts and were sent. */
export const forgets: Value<(each: (nodeid: number, nlookup: number) => void) => void> = {
  bytes: 8,
  read: (message, at) => () => (each) => {
    const { bytes } = message.buffer;
    const one = 16;
    const sent = Math.floor((message.length - at - 8) / one);
    const end = at + 8 + Math.min(bytes.readUInt32LE(at), sent) * one;
    for (let from = at + 8; from < end; from += one) each(readU64(bytes, from), readU64(bytes, from + 8));
  },
};

export function readU64(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32LE(at + 4);
  return high > 0x1fffff ? Number.NaN : high * 0x1_0000_0000 + bytes.readUInt32LE(at);
}

/** Bytes of a layout's fixed part. */
export function fixedBytes(layout: Layout): number {
  return Object.values(layout).reduce((sum, { bytes }) => sum + bytes, 0);
}
export function nameCount(layout: Layout): number {
  return Object.values(layout).filter((field) => 'name' in field).length;
}

/** Gives `request` a getter for each field of a body that begins at `start` of the message. */
export function defineFields(request: object, layout: Layout, message: Message, start: number): void {
  const define = (key: string, get: () => unknown): void => {
    Object.defineProperty(request, key, { get, enumerable: true });
  };
  let at = start;
  let index = 0;
  for (const [key, field] of Object.entries(layout)) {
    if ('read' in field) define(key, field.read(message, at));
    else if ('bits' in field) {
      for (const [bit, mask] of Object.entries(field.bits)) define(bit, flag(message, at, mask));
    } else if ('name' in field) define(key, nameAt(message, index++));
    at += field.bytes;
  }
}

function flag(message: Message, at: number, mask: number): () => boolean {
  return () => (message.buffer.bytes.readUInt32LE(at) & mask) !== 0;
}
function nameAt(message: Message, index: number): () => string {
  return () => message.names[index] as string;
}
