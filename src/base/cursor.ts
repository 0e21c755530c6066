/**
 * Bounds-checked reading and writing of little-endian records. The cursor owns the offset. Input that is too short
 * is a value (`short`), not an exception: read the fields, then ask once. Writing past the end is a bug and throws.
 */
export class ByteReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;
  /** True once a read went past the end; every read after that returns 0 or an empty buffer. */
  short = false;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = Math.min(end, bytes.length);
  }
  get left(): number {
    return this.#end - this.#at;
  }
  #take(length: number): number {
    if (this.short || this.#end - this.#at < length) {
      this.short = true;
      return -1;
    }
    const at = this.#at;
    this.#at += length;
    return at;
  }
  u8(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : (this.#bytes[at] as number);
  }
  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : this.#bytes.readUInt16LE(at);
  }
  u32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : this.#bytes.readUInt32LE(at);
  }
  i32(): number {
    return this.u32() | 0;
  }
  /** A 64-bit number; beyond 2^53-1 it is refused: NaN, which no range check accepts. */
  u64(): number {
    const low = this.u32();
    const high = this.u32();
    return high > 0x1fffff ? Number.NaN : high * 0x1_0000_0000 + low;
  }
  /** A view, not a copy: valid while the underlying buffer is. */
  bytes(length: number): Buffer {
    const at = this.#take(length);
    return at < 0 ? Buffer.alloc(0) : this.#bytes.subarray(at, at + length);
  }
  /** Raw bytes up to a NUL, as latin1 (one character a byte); the NUL is consumed. Without one: short. */
  cstring(): string {
    const nul = this.short ? -1 : this.#bytes.indexOf(0, this.#at);
    if (nul < 0 || nul >= this.#end) {
      this.short = true;
      return '';
    }
    const text = this.#bytes.toString('latin1', this.#at, nul);
    this.#at = nul + 1;
    return text;
  }
  skip(length: number): void {
    this.#take(length);
  }
}

export class ByteWriter {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, start = 0) {
    this.#bytes = bytes;
    this.#at = start;
  }
  get at(): number {
    return this.#at;
  }
  u8(value: number): this {
    this.#at = this.#bytes.writeUInt8(value, this.#at);
    return this;
  }
  u16(value: number): this {
    this.#at = this.#bytes.writeUInt16LE(value, this.#at);
    return this;
  }
  u32(value: number): this {
    this.#at = this.#bytes.writeUInt32LE(value, this.#at);
    return this;
  }
  i32(value: number): this {
    this.#at = this.#bytes.writeInt32LE(value, this.#at);
    return this;
  }
  u64(value: number): this {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a u64: ${value}`);
    this.u32(value % 0x1_0000_0000);
    return this.u32(Math.floor(value / 0x1_0000_0000));
  }
  bytes(value: Uint8Array): this {
    if (this.#at + value.length > this.#bytes.length) throw new RangeError('record is too small');
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }
  zeros(length: number): this {
    if (this.#at + length > this.#bytes.length) throw new RangeError('record is too small');
    this.#bytes.fill(0, this.#at, this.#at + length);
    this.#at += length;
    return this;
  }
}
