import { randomFillSync } from 'node:crypto';
import { check, errno } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import { type Address, addressOf, arrayBufferAt, libcFunction, result, viewAt } from './ffi.js';

const mmapCall = libcFunction('mmap', 'p', 'ppiiil');
const madviseCall = libcFunction('madvise', 'i', 'ppi');
const mlockCall = libcFunction('mlock', 'i', 'pp');
const ftruncateCall = libcFunction('ftruncate', 'i', 'il');
const closeCall = libcFunction('close', 'i', 'i');
const syscall1 = libcFunction('syscall', 'l', 'll');
const memcpyCall = libcFunction('memcpy', 'p', 'ppp');
const getrandomCall = libcFunction('getrandom', 'l', 'ppu');

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MAP_NORESERVE = 0x4000;
const MADV_DONTDUMP = 16;
const SYS_MEMFD_SECRET = 447;

const MAP_FAILED = 2 ** 63;

function mapped(address: number | bigint, what: string): Address {
  // mmap returns -1 as 2^64-1, far above user space; errno is read before any other call.
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
 * Its content may be plaintext, so it can't be memfd_secret: the FUSE device gives EFAULT for that (FACTS.md).
 */
export function ioBuffer(length: number): Pinned {
  const address = mapped(mmapCall(0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0), 'I/O buffer');
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

type SecretBacking = 'memfd_secret' | 'mlock';

function mapSecret(length: number): { address: Address; backing: SecretBacking } {
  const fd = result(syscall1(SYS_MEMFD_SECRET, 0o2000000));
  if (fd >= 0 && result(ftruncateCall(fd, length)) >= 0) {
    const address = mapped(mmapCall(0, length, PROT_READ_WRITE, MAP_SHARED, fd, 0), 'secrets');
    // An open descriptor would let another root process map the keys (pidfd_getfd).
    closeCall(fd);
    return { address, backing: 'memfd_secret' };
  }
  if (fd >= 0) closeCall(fd);
  const address = mapped(mmapCall(0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0), 'secrets');
  check(result(mlockCall(address, length)), 'mlock', 'secret memory');
  check(result(madviseCall(address, length, MADV_DONTDUMP)), 'madvise');
  return { address, backing: 'mlock' };
}

/**
 * Memory for keys: memfd_secret(2) (not readable through /proc, ptrace, a core or by the kernel's direct map), or
 * where the kernel has none, an mlocked mapping outside core dumps. Divided into slots of 64 bytes.
 * Owned by the thread that made it; addresses may be lent to other threads of the process.
 */
export class SecretMemory {
  static readonly slotBytes = 64;
  readonly backing: SecretBacking;
  readonly #address: Address;
  readonly #free: number[] = [];
  readonly #reserve: number;
  #used = 0;

  /** `reserve`: slots that {@link tryAllocate} leaves for {@link allocate}. */
  constructor(slots: number, reserve = 0) {
    this.#reserve = reserve;
    const length = Math.ceil((slots * SecretMemory.slotBytes) / 4096) * 4096;
    const { address, backing } = mapSecret(length);
    this.#address = address;
    this.backing = backing;
    for (let slot = Math.floor(length / SecretMemory.slotBytes) - 1; slot >= 0; slot--) {
      this.#free.push(slot);
    }
  }

  /** How many slots hold a secret now. */
  get used(): number {
    return this.#used;
  }
  /** How many {@link allocate} has yet. */
  get free(): number {
    return this.#free.length;
  }

  /** A slot for at most 64 bytes. It holds garbage until it is written. */
  allocate(length: number): Secret {
    const secret = this.#take(length);
    if (secret === undefined) {
      throw new Failure('busy', 'secret memory is full', {
        reason: 'secret_memory_full',
      });
    }
    return secret;
  }
  /** As {@link allocate}, for what others make many of; undefined where only the reserve is free. */
  tryAllocate(length: number): Secret | undefined {
    return this.#free.length > this.#reserve ? this.#take(length) : undefined;
  }
  #take(length: number): Secret | undefined {
    if (length > SecretMemory.slotBytes) throw new RangeError(`secret of ${length} bytes`);
    const slot = this.#free.pop();
    if (slot === undefined) return undefined;
    this.#used++;
    const offset = slot * SecretMemory.slotBytes;
    return new Secret(this.#address + offset, length, () => {
      // Random bytes, not zeros: a key that is used after its wipe by a bug must not be a known key.
      randomFill(this.#address + offset, SecretMemory.slotBytes);
      this.#used--;
      this.#free.push(slot);
    });
  }
}

/** Prints as [secret]: in a template, in JSON, in a log, in a debugger. */
abstract class Redacted {
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

/** A secret in {@link SecretMemory}; its bytes are used by address only. */
export class Secret extends Redacted {
  readonly length: number;
  #address: Address;
  #release: (() => void) | undefined;

  constructor(address: Address, length: number, release: () => void) {
    super();
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
}

/** What a person or a program gives as a secret: up to 4,096 bytes and a newline, in secret memory. */
export class SecretInput extends Redacted {
  static readonly capacity = 8192;
  static readonly #idle: { bytes: Buffer; address: Address }[] = [];
  readonly #region: { bytes: Buffer; address: Address };
  #length = 0;
  #wiped = false;

  constructor() {
    super();
    let region = SecretInput.#idle.pop();
    if (region === undefined) {
      const { address } = mapSecret(SecretInput.capacity);
      region = { address, bytes: viewAt(address, SecretInput.capacity) };
    }
    this.#region = region;
  }
  get length(): number {
    return this.#length;
  }
  get address(): Address {
    if (this.#wiped) throw new Error('secret was wiped');
    return this.#region.address;
  }
  /** A view of the bytes, to hand to a socket: secret memory itself, not a copy. */
  get view(): Buffer {
    if (this.#wiped) throw new Error('secret was wiped');
    return this.#region.bytes.subarray(0, this.#length);
  }
  /** Takes bytes over and overwrites where they came from. False: too many. */
  append(bytes: Buffer): boolean {
    const fits = this.#length + bytes.length <= SecretInput.capacity;
    if (fits) {
      bytes.copy(this.#region.bytes, this.#length);
      this.#length += bytes.length;
    }
    bytes.fill(0);
    return fits;
  }
  /** Has the bytes of another too, without a copy on the way. */
  copy(from: SecretInput): void {
    copyMemory(this.#region.address, from.address, from.length);
    this.#length = from.length;
  }
  /** Lets a call write bytes directly; passes on what it returns, the count of bytes or -errno. */
  fill(reader: (address: Address, room: number) => number): number {
    const got = reader(this.#region.address + this.#length, SecretInput.capacity - this.#length);
    if (got > 0) this.#length += got;
    return got;
  }
  /** As {@link fill}, for a call that another thread makes. */
  async fillLater(reader: (address: Address, room: number) => Promise<number>): Promise<number> {
    const got = await reader(this.#region.address + this.#length, SecretInput.capacity - this.#length);
    if (got > 0) this.#length += got;
    return got;
  }
  /** Takes the last bytes back. */
  erase(count: number): void {
    const from = Math.max(0, this.#length - count);
    this.#region.bytes.fill(0, from, this.#length);
    this.#length = from;
  }
  /** Length without one trailing newline: how a passphrase is read. */
  get lengthWithoutNewline(): number {
    const last = this.#length > 0 ? this.#region.bytes[this.#length - 1] : 0;
    return last === 0x0a ? this.#length - 1 : this.#length;
  }
  wipe(): void {
    if (this.#wiped) return;
    this.#wiped = true;
    randomFillSync(this.#region.bytes);
    SecretInput.#idle.push(this.#region);
  }
}
