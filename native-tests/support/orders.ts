import type { AioOptions } from './aio.js';
import type { Transfer } from './transfers.js';

interface CallResult {
  /** The call's result, or -errno. */
  n: number;
}
/** Calls that ended: [block, result], and blocks whose memory has a byte that is not zero. */
interface Ended extends CallResult {
  results: [number, number][];
  filled: number[];
}
/** What a probe process does (probe-child.ts). Blocking: one order at a time. */
export interface Orders {
  open(order: { path: string; flags?: number; mode?: number }): CallResult;
  openat(order: { fd?: number; name: string; flags?: number }): CallResult;
  close(order: { fd: number }): CallResult;
  /** Opens `file-0` and so on in a directory: how many it has open now, and why there are no more. */
  openMany(order: { directory: string; count: number }): CallResult & { refused: number };
  closeMany(order: object): CallResult;
  read(order: { fd: number; offset?: number; length?: number }): CallResult & { text: string };
  write(order: { fd: number; offset: number; fill: number; length: number }): CallResult;
  fsync(order: { fd: number }): CallResult;
  list(order: { fd: number }): CallResult & { names: string[] };
  stat(order: { fd: number }): CallResult;
  chdir(order: { path: string }): CallResult;
  map(order: { fd: number; length: number; write?: boolean; flags?: number }): CallResult;
  peek(order: { map: number; offset?: number }): CallResult;
  poke(order: { map: number; value: number; step?: number }): CallResult;
  /** Reads a byte of a mapping by way of /proc/self/mem, which has an error where an access has a signal. */
  look(order: { map: number; offset?: number }): CallResult & { byte: number };
  mincore(order: { map: number }): CallResult;
  mlock(order: { map: number }): CallResult;
  cachedPages(order: { fd: number }): CallResult;
  readahead(order: { fd: number; offset: number; length: number }): CallResult;
  /** `n` is the end to read from. */
  pipe(order: object): CallResult & { to: number };
  /** read(2), where there is no position. */
  take(order: { fd: number; length?: number }): CallResult & { text: string };
  transfer(order: { how: Transfer; from: number; to: number; length?: number }): CallResult;
  /** io_uring with this file registered, and only that one (`n`: its number). The descriptor is closed. */
  ring(order: { fd: number; blocks: number; blockBytes: number }): CallResult;
  ringSubmit(order: { ring: number; blocks: number }): CallResult;
  ringReap(order: { ring: number; all: boolean }): Ended;
  /** io_submit(2) of whole blocks (`n`: the number of the context). */
  aio(order: AioOptions): CallResult;
  aioReap(order: { aio: number; all: boolean }): Ended;
  count(order: { map: number; board: string; milliseconds: number; first?: number }): CallResult;
  stream(order: { fd: number; blocks: number; board: string; word: number }): CallResult;
  writeMap(order: { fd: number; map: number; length: number; board: string; word: number }): CallResult;
  listMap(order: { fd: number; map: number; length: number; board: string; word: number }): CallResult;
  /** `late`: reads that worked although the board's word said `locked` before they began. */
  sweep(order: { fd: number; blocks: number; board: string; word: number }): CallResult & {
    late: number;
    errors: Record<string, number>;
  };
  readLoop(order: {
    path: string;
    length: number;
    fill: number;
    board: string;
    word: number;
    reopen?: boolean;
  }): CallResult & { wrong: number; errors: Record<string, number> };
}
