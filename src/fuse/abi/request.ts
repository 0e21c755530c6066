import { errno } from '../../base/errno.js';
import type { Pinned } from '../../libc/memory.js';
import { defineFields, type Message, type Payload, readU64 } from './layout.js';
import { IN_HEADER_BYTES, type Opcode, opcodes, type RequestFields } from './opcodes.js';

const nothing: Pinned = { bytes: Buffer.alloc(0), address: 0 };

/** A row of the table, and the one object that shows the fields of all its requests. */
interface Decoder {
  readonly opcode: Opcode;
  readonly fixed: number;
  readonly names: number;
  readonly fields: RequestFields[Opcode];
  readonly refuse: ((request: never) => number) | undefined;
}

/**
 * The request in the receive buffer, decoded in place: valid until the next one is read, so nothing that a handler
 * gets may be kept beyond its call (but for a WRITE's buffer, which the session then exchanges).
 */
export class Request implements Message {
  buffer: Pinned = nothing;
  length = 0;
  /** At most two; of fixed length, as setting an array's length costs more than all else here. */
  readonly names = ['', ''];
  readonly payload: Payload = { buffer: nothing, at: 0, length: 0 };
  /** Of the header, also where the body is refused. Undefined: unknown, or not even a header. */
  opcode: Opcode | undefined;
  /** Of the body, for the opcode's handler: meaningful where {@link decode} gave 0. */
  fields: RequestFields[Opcode] | undefined;
  code = 0;
  /** Opaque, echoed in the reply: low and high 32 bits. */
  uniqueLow = 0;
  uniqueHigh = 0;
  /** NaN where it does not fit a safe integer: no node has such an id. */
  nodeid = 0;
  uid = 0;
  gid = 0;
  pid = 0;
  readonly #decoders: (Decoder | undefined)[] = [];

  constructor() {
    for (const [opcode, { code, layout, ...row }] of Object.entries(opcodes)) {
      const getters = {};
      Object.defineProperty(getters, 'nodeid', { get: () => this.nodeid, enumerable: true });
      defineFields(getters, layout, this, IN_HEADER_BYTES);
      // A prototype, as V8 makes a slow dictionary of an object with so many getters (a READ took half as long again).
      const fields = Object.create(getters) as RequestFields[Opcode];
      this.#decoders[code] = { ...row, opcode: opcode as Opcode, fields };
    }
  }

  /**
   * Takes `length` bytes as one request. 0, or the errno to answer with: EIO where it is not well-formed, ENOSYS where
   * the opcode is unknown, or what its row refuses it with.
   */
  decode(buffer: Pinned, length: number): number {
    const { bytes } = buffer;
    if (this.buffer !== buffer) {
      this.buffer = buffer;
      this.payload.buffer = buffer;
    }
    this.names[0] = '';
    this.names[1] = '';
    this.opcode = undefined;
    this.uniqueLow = 0;
    this.uniqueHigh = 0;
    if (length < IN_HEADER_BYTES) return errno.EIO;
    this.length = bytes.readUInt32LE(0);
    this.code = bytes.readUInt32LE(4);
    this.uniqueLow = bytes.readUInt32LE(8);
    this.uniqueHigh = bytes.readUInt32LE(12);
    this.nodeid = readU64(bytes, 16);
    this.uid = bytes.readUInt32LE(24);
    this.gid = bytes.readUInt32LE(28);
    this.pid = bytes.readUInt32LE(32);
    if (this.length !== length) return errno.EIO;
    const decoder = this.#decoders[this.code];
    if (decoder === undefined) return errno.ENOSYS;
    this.opcode = decoder.opcode;
    this.fields = decoder.fields;
    let at = IN_HEADER_BYTES + decoder.fixed;
    if (at > length) return errno.EIO;
    for (let i = 0; i < decoder.names; i++) {
      const nul = bytes.indexOf(0, at);
      if (nul < 0 || nul >= length) return errno.EIO;
      this.names[i] = bytes.toString('latin1', at, nul);
      at = nul + 1;
    }
    this.payload.at = at;
    this.payload.length = length - at;
    return decoder.refuse === undefined ? 0 : decoder.refuse(decoder.fields as never);
  }
}
