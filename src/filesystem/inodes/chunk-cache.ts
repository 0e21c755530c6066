import { copyMemory, ioBuffer, type Pinned } from '../../libc/memory.js';

/** The owner of a cached chunk, which copes with losing it. */
export interface ChunkHolder {
  /** Its entry's index, or -1. */
  cacheEntry: number;
}

/** Bytes of plaintext kept in all. */
const BUDGET = 4 << 20;

/**
 * The chunk that a file touched last, decrypted: small appends, partial overwrites and small reads of one chunk cost
 * no disk read. One chunk a file; the entry filled longest ago is given to the next file.
 */
export class ChunkCache {
  readonly #chunkSize: number;
  readonly #memory: Pinned;
  readonly #holders: (ChunkHolder | undefined)[];
  readonly #chunk: Float64Array;
  readonly #length: Uint32Array;
  #hand = 0;

  constructor(chunkSize: number) {
    const entries = Math.max(4, Math.floor(BUDGET / chunkSize));
    this.#chunkSize = chunkSize;
    this.#memory = ioBuffer(entries * chunkSize);
    this.#holders = new Array(entries).fill(undefined);
    this.#chunk = new Float64Array(entries);
    this.#length = new Uint32Array(entries);
  }

  /** Whether the holder's chunk is this one, with all of its `length` bytes. */
  has(holder: ChunkHolder, chunk: number, length: number): boolean {
    const entry = holder.cacheEntry;
    return entry >= 0 && this.#chunk[entry] === chunk && this.#length[entry] === length;
  }
  /** Copies bytes of the holder's chunk to an address; ask {@link has} first. */
  copyTo(holder: ChunkHolder, to: number, from = 0, length = this.lengthOf(holder)): void {
    const start = this.#memory.address + holder.cacheEntry * this.#chunkSize;
    copyMemory(to, start + from, length);
  }
  lengthOf(holder: ChunkHolder): number {
    return this.#length[holder.cacheEntry] as number;
  }
  put(holder: ChunkHolder, chunk: number, from: number, length: number): void {
    let entry = holder.cacheEntry;
    if (entry < 0) {
      entry = this.#hand;
      this.#hand = (entry + 1) % this.#holders.length;
      const loser = this.#holders[entry];
      if (loser !== undefined) loser.cacheEntry = -1;
      this.#holders[entry] = holder;
      holder.cacheEntry = entry;
    }
    const before = this.#length[entry] as number;
    this.#chunk[entry] = chunk;
    this.#length[entry] = length;
    const start = entry * this.#chunkSize;
    // What the entry held of another file must not stay behind a shorter chunk: that file's lock would not find it.
    if (before > length) this.#memory.bytes.fill(0, start + length, start + before);
    copyMemory(this.#memory.address + entry * this.#chunkSize, from, length);
  }
  /** Forgets and overwrites a holder's chunk. */
  drop(holder: ChunkHolder): void {
    const entry = holder.cacheEntry;
    if (entry < 0) return;
    const start = entry * this.#chunkSize;
    this.#memory.bytes.fill(0, start, start + this.#chunkSize);
    this.#holders[entry] = undefined;
    holder.cacheEntry = -1;
  }
}
