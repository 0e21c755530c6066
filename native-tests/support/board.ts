import { arrayBufferAt, libcFunction, result } from '../../src/libc/ffi.js';
import { open, openPath } from '../../src/libc/files.js';

const mmapCall = libcFunction('mmap', 'p', 'ppiiil');
const munmapCall = libcFunction('munmap', 'i', 'pp');
const mincoreCall = libcFunction('mincore', 'i', 'ppp');
const getdentsCall = libcFunction('getdents64', 'l', 'ipp');
const ftruncateCall = libcFunction('ftruncate', 'i', 'il');

export const PAGE = 4096;
export const prot = { READ: 1, WRITE: 2 } as const;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
const MAP_FAILED = 2 ** 63;

/** mmap(2): the address, or -errno. */
export function map(
  fd: number,
  length: number,
  protection: number,
  flags: number = MAP_SHARED,
  offset = 0,
): number {
  const address = Number(mmapCall(0, length, protection, flags, fd, offset));
  return address >= MAP_FAILED ? result(-1) : address;
}
export function unmap(address: number, length: number): number {
  return result(munmapCall(address, length));
}
/** mincore(2): how many pages of a mapping are in memory, or -errno. `vector`: address of a byte a page. */
export function mincore(address: number, length: number, vector: number): number {
  return result(mincoreCall(address, length, vector));
}

/** getdents64(2) to an address: bytes, or -errno. */
export function getdents(fd: number, address: number, length: number): number {
  return result(getdentsCall(fd, address, length));
}

/** Numbers that a test and its probe processes share: a small mapped file outside the mount. Word 0 says stop. */
export class Board {
  readonly path: string;
  readonly words: Float64Array;

  /** Maps the file at `path`, made where it is not there. */
  constructor(path: string, count: number) {
    this.path = path;
    const fd = openPath(path, open.O_RDWR | open.O_CREAT, 0o600);
    if (fd < 0 || ftruncateCall(fd, count * 8) !== 0) throw new Error(`board ${path}: ${fd}`);
    const address = map(fd, count * 8, prot.READ | prot.WRITE);
    if (address < 0) throw new Error(`board ${path}: mmap ${address}`);
    this.words = new Float64Array(arrayBufferAt(address, count * 8));
  }
  get stopped(): boolean {
    return this.words[0] !== 0;
  }
  stop(): void {
    this.words[0] = 1;
  }
}

/** Milliseconds of CLOCK_MONOTONIC: comparable between processes. */
export function monotonic(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
