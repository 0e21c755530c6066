import { randomFillSync } from 'node:crypto';
import { errno } from '../base/errno.js';
import { check } from '../base/errno.js';
import { type Address, addressOf, arrayBufferAt, libcFunction, result, viewAt } from './ffi.js';

const mmapCall = libcFunction('mmap', 'p', 'ppiiil');
const munmapCall = libcFunction('munmap', 'i', 'pp');
const madviseCall = libcFunction('madvise', 'i', 'ppi');
const mlockCall = libcFunction('mlock', 'i', 'pp');
const mincoreCall = libcFunction('mincore', 'i', 'ppp');
const ftruncateCall = libcFunction('ftruncate', 'i', 'il');
const closeCall = libcFunction('close', 'i', 'i');
const syscall1 = libcFunction('syscall', 'l', 'll');
const memcpyCall = libcFunction('memcpy', 'p', 'ppp');
const getrandomCall = libcFunction('getrandom', 'l', 'ppu');

const PROT_READ = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MAP_NORESERVE = 0x4000;
const MADV_DONTDUMP = 16;
const SYS_MEMFD_SECRET = 447;

const MAP_FAILED = 0xffff_ffff_ffff_ffff;

function mapped(address: number | bigint, what: string): Address {
  // mmap's -1 comes back as 2^64-1; errno is read before any other call.
  if (Number(address) >= MAP_FAILED) check(result(-1), 'mmap', what);
  return Number(address);
}

export function copyMemory(to: Address, from: Address, length: number): void {
  memcpyCall(to, from, length);
}

/** Fills memory from getrandom(2), in the kernel: a cloned VM does not repeat it. */
export function randomFill(address: Address, length: number): void {
  for (let done = 0; done < length; ) {
    const got = result(getrandomCall(address + done, length - done, 0));
    if (got === -errno.EINTR) continue;
    done += check(got, 'getrandom');
  }
}

/** Bytes at a fixed address that the garbage collector neither moves nor frees (the object keeps the mapping's view). */
export interface Pinned {
  readonly bytes: Buffer;
  readonly address: Address;
}

/** A small Buffer with its address, kept together. For public scratch data (names, nonces, structs). */
export function pinned(length: number): Pinned {
  const bytes = Buffer.alloc(length);
  return { bytes, address: addressOf(bytes) };
}

/**
 * An I/O buffer: page-aligned, not in core dumps, not in swap where the locked-memory limit allows.
 * It may hold plaintext, so it can't be memfd_secret: the FUSE device gives EFAULT for that (FACTS.md).
 */
export function ioBuffer(length: number): Pinned {
  const address = mapped(
    mmapCall(0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0),
    'I/O buffer',
  );
  check(result(madviseCall(address, length, MADV_DONTDUMP)), 'madvise');
  mlockCall(address, length);
  return { bytes: viewAt(address, length), address };
}

/** A sparse mapping of fixed size: pages exist once touched. Never unmapped: it lives as long as its process. */
export function sparseArrayBuffer(length: number): ArrayBuffer {
  const address = mapped(
    mmapCall(0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE, -1, 0),
    'table',
  );
  return arrayBufferAt(address, length);
}

/** How many pages of a file the page cache holds: mincore(2) over a PROT_READ mapping of `length` bytes. */
export function cachedPages(fd: number, length: number): number {
  if (length === 0) return 0;
  const address = mapped(mmapCall(0, length, PROT_READ, MAP_SHARED, fd, 0), 'file');
  const pages = Math.ceil(length / 4096);
  const vector = pinned(pages);
  const done = result(mincoreCall(address, length, vector.address));
  munmapCall(address, length);
  check(done, 'mincore');
  let count = 0;
  for (const byte of vector.bytes) count += byte & 1;
  return count;
}

export type SecretBacking = 'memfd_secret' | 'mlock';

/**
 * Memory for keys: memfd_secret(2) (not readable through /proc, ptrace, a core or by the kernel's direct map), or
 * where the kernel has none, an mlocked mapping outside core dumps. Divided into slots of 64 bytes.
 * Owned by the thread that made it; addresses may be lent to other threads of the process.
 */
export class SecretMemory {
  static readonly slotBytes = 64;
  readonly backing: SecretBacking;
  readonly #bytes: Buffer;
  readonly #address: Address;
  readonly #free: number[] = [];
  #used = 0;

  constructor(slots: number) {
    const length = Math.ceil((slots * SecretMemory.slotBytes) / 4096) * 4096;
    const fd = result(syscall1(SYS_MEMFD_SECRET, 0o2000000));
    if (fd >= 0 && result(ftruncateCall(fd, length)) >= 0) {
      this.#address = mapped(
        mmapCall(0, length, PROT_READ_WRITE, MAP_SHARED, fd, 0),
        'secret memory',
      );
      this.backing = 'memfd_secret';
    } else {
      this.#address = mapped(
        mmapCall(0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0),
        'secret memory',
      );
      check(result(mlockCall(this.#address, length)), 'mlock', 'secret memory');
      check(result(madviseCall(this.#address, length, MADV_DONTDUMP)), 'madvise');
      this.backing = 'mlock';
    }
    // An open descriptor would let another root process map the keys (pidfd_getfd).
    if (fd >= 0) closeCall(fd);
    this.#bytes = viewAt(this.#address, length);
    for (let slot = Math.floor(length / SecretMemory.slotBytes) - 1; slot >= 0; slot--) {
      this.#free.push(slot);
    }
  }

  /** How many slots hold a secret now. */
  get used(): number {
    return this.#used;
  }

  /** A slot for at most 64 bytes. It holds garbage until it is written. */
  allocate(length: number): Secret {
    if (length > SecretMemory.slotBytes) throw new RangeError(`secret of ${length} bytes`);
    const slot = this.#free.pop();
    if (slot === undefined) throw new Error('secret memory is full');
    this.#used++;
    const offset = slot * SecretMemory.slotBytes;
    return new Secret(this.#address + offset, length, () => {
      // Random bytes, not zeros: a key that is used after its wipe by a bug must not be a known key.
      randomFillSync(this.#bytes, offset, SecretMemory.slotBytes);
      this.#used--;
      this.#free.push(slot);
    });
  }
}

/** A secret in {@link SecretMemory}. It prints as [secret]; its bytes are used by address only. */
export class Secret {
  readonly length: number;
  #address: Address;
  #release: (() => void) | undefined;

  constructor(address: Address, length: number, release: () => void) {
    this.#address = address;
    this.length = length;
    this.#release = release;
  }
  /** Where the bytes are. Throws once wiped. */
  get address(): Address {
    if (this.#release === undefined) throw new Error('secret was wiped');
    return this.#address;
  }
  get wiped(): boolean {
    return this.#release === undefined;
  }
  /** Overwrites the bytes with random ones and gives the slot back. A second call does nothing. */
  wipe(): void {
    const release = this.#release;
    this.#release = undefined;
    this.#address = 0;
    release?.();
  }
  toString(): string {
    return '[secret]';
  }
  toJSON(): string {
    return '[secret]';
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]';
  }
}
