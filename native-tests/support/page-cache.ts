import { libcFunction, result } from '../../src/libc/ffi.js';
import { pinned } from '../../src/libc/memory.js';

const mlockCall = libcFunction('mlock', 'i', 'pp');
const readaheadCall = libcFunction('readahead', 'l', 'ilp');
const cachestatCall = libcFunction('syscall', 'l', 'lippu');
/** The same on all architectures. */
const SYS_CACHESTAT = 451;

/** struct cachestat_range (offset, length) and struct cachestat (nr_cache first). */
const range = pinned(16);
const counts = pinned(40);

/** mlock(2): 0 or -errno. */
export function mlock(address: number, length: number): number {
  return result(mlockCall(address, length));
}

/** readahead(2): asks for pages and waits for none. */
export function readahead(fd: number, offset: number, length: number): number {
  return result(readaheadCall(fd, offset, length));
}

/** cachestat(2): pages of a whole file that the kernel has cached, or -errno. Needs no mapping. */
export function cachedPages(fd: number): number {
  range.bytes.fill(0);
  const done = result(cachestatCall(SYS_CACHESTAT, fd, range.address, counts.address, 0));
  return done < 0 ? done : Number(counts.bytes.readBigUInt64LE(0));
}
