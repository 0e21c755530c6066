import { errnoName } from '../../src/base/errno.js';
import { libcFunction } from '../../src/libc/ffi.js';
import { copyMemory, pinned } from '../../src/libc/memory.js';
import { Random } from '../support/seeded.js';
import { O, outcome, sys } from './sys.js';

/**
 * Random operations on files of a mount, of ext4 and on arrays of bytes, which must agree after each (fsx's idea). A
 * seed gives the same operations again.
 */

const CHUNK = 16_384;
const LARGEST = 16 * CHUNK;
const FILES = 5;
const PAGE = 4096;

const mmapCall = libcFunction('mmap', 'p', 'ppiiil');
const munmapCall = libcFunction('munmap', 'i', 'pp');
const msyncCall = libcFunction('msync', 'i', 'ppi');
const window = pinned(LARGEST);

interface File {
  /** Its name in both directories, and how it is open in them. */
  name: string;
  descriptors: [number, number];
  bytes: Buffer;
}

export interface ComparerOptions {
  /** A directory of ext4, and one of the mount: empty. */
  readonly control: string;
  readonly mount: string;
  readonly seed: number;
  readonly steps: number;
  /** Called now and then while no file of the mount is open: a lock and an unlock. */
  readonly interlude?: () => void;
}

export class Mismatch extends Error {}

export class Comparer {
  readonly #options: ComparerOptions;
  readonly #random: Random;
  readonly #files: File[] = [];
  #created = 0;
  #step = 0;
  #what = '';
  /** How often each operation was done. */
  readonly done: Record<string, number> = {};

  constructor(options: ComparerOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
  }

  #fail(why: string): never {
    throw new Mismatch(`seed ${this.#options.seed}, step ${this.#step}, ${this.#what}: ${why}`);
  }
  #paths(name: string): [string, string] {
    return [`${this.#options.control}/${name}`, `${this.#options.mount}/${name}`];
  }
  /** The same call on both: the result, which must be the same. */
  #both(act: (which: 0 | 1) => number): number {
    const expected = act(0);
    const got = act(1);
    if (expected !== got) this.#fail(`ext4 says ${named(expected)}, the mount ${named(got)}`);
    return expected;
  }
  #on(file: File, act: (fd: number) => number): number {
    return this.#both((which) => act(file.descriptors[which]));
  }
  #must(value: number): void {
    if (value < 0) this.#fail(outcome(value));
  }

  #create(): File {
    const name = `f${this.#created++}`;
    const [one, other] = this.#paths(name);
    const flags = O.RDWR | O.CREAT | O.EXCL;
    const file: File = {
      name,
      descriptors: [sys.open(one, flags, 0o644), sys.open(other, flags, 0o644)],
      bytes: Buffer.alloc(0),
    };
    for (const fd of file.descriptors) this.#must(fd);
    this.#files.push(file);
    return file;
  }
  #open(file: File): void {
    const paths = this.#paths(file.name);
    file.descriptors = [sys.open(paths[0], O.RDWR), sys.open(paths[1], O.RDWR)];
    for (const fd of file.descriptors) this.#must(fd);
  }
  #close(file: File): void {
    for (const fd of file.descriptors) sys.close(fd);
  }

  /** Near the edge of a chunk or the end of the file, as often as not. */
  #offset(file: File): number {
    const { below } = bound(this.#random);
    const near = below(5) - 2;
    switch (below(4)) {
      case 0:
        return clamp(below(LARGEST / CHUNK) * CHUNK + near);
      case 1:
        return clamp(file.bytes.length + near);
      case 2:
        return clamp(below(LARGEST / PAGE) * PAGE);
      default:
        return below(LARGEST);
    }
  }
  #length(offset: number): number {
    const { below } = bound(this.#random);
    const wanted = [1 + below(10), 1 + below(PAGE), 1 + below(3 * CHUNK), CHUNK, 10 * CHUNK][
      below(5)
    ] as number;
    return Math.min(wanted, LARGEST - offset);
  }
  #data(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    const start = 1 + this.#random.below(250);
    for (let i = 0; i < length; i++) bytes[i] = 1 + ((start + i * 7) % 255);
    return bytes;
  }
  #grow(file: File, size: number): void {
    if (size <= file.bytes.length) return;
    file.bytes = Buffer.concat([file.bytes, Buffer.alloc(size - file.bytes.length)]);
  }

  run(): void {
    for (let i = 0; i < FILES; i++) this.#create();
    const { steps, interlude } = this.#options;
    for (this.#step = 1; this.#step <= steps; this.#step++) {
      const file = this.#random.pick(this.#files);
      const name = this.#random.pick(OPERATIONS);
      this.done[name] = (this.done[name] ?? 0) + 1;
      this.#what = `${name} of ${file.name} (${file.bytes.length} bytes)`;
      this.#operations[name](file);
      const size = file.bytes.length;
      for (const fd of file.descriptors) {
        const found = sys.fstat(fd).size;
        if (this.#files.includes(file) && found !== size) this.#fail(`size ${found}, not ${size}`);
      }
      if (interlude !== undefined && this.#step % 5000 === 0) this.#interlude(interlude);
    }
    this.#what = 'the end';
    for (const file of this.#files) {
      this.#compare(file, 0, file.bytes.length);
      this.#close(file);
    }
  }

  #interlude(interlude: () => void): void {
    this.#what = 'a lock and an unlock';
    for (const file of this.#files) this.#close(file);
    interlude();
    for (const file of this.#files) {
      this.#open(file);
      this.#compare(file, 0, file.bytes.length);
    }
  }

  #compare(file: File, offset: number, length: number): void {
    const until = Math.max(offset, Math.min(file.bytes.length, offset + length));
    const expected = file.bytes.subarray(Math.min(offset, until), until);
    for (const [which, fd] of file.descriptors.entries()) {
      const system = which === 0 ? 'ext4' : 'the mount';
      const got = sys.pread(fd, length, offset);
      if (got !== expected.length) this.#fail(`${system} read ${named(got)} bytes, not ${expected.length}`);
      const bytes = sys.bytes(Math.max(0, got));
      if (bytes.equals(expected)) continue;
      const at = bytes.findIndex((byte, i) => byte !== expected[i]);
      this.#fail(`${system} differs at ${offset + at}: ${bytes[at]}, not ${expected[at]}`);
    }
  }

  #mapped(file: File, act: (address: number, which: number) => void): void {
    const size = file.bytes.length;
    for (const [which, fd] of file.descriptors.entries()) {
      const address = mmapCall(0, size, 3, 1, fd, 0);
      if (address > 2 ** 48) this.#fail('mmap failed');
      act(address, which);
      munmapCall(address, size);
    }
  }

  #allocate(file: File, mode: number, apply: (offset: number, length: number) => void): void {
    const offset = this.#offset(file);
    const length = this.#length(offset);
    if (length <= 0) return;
    this.#what += ` at ${offset}, ${length} bytes, mode ${mode}`;
    this.#must(this.#on(file, (fd) => sys.fallocate(fd, mode, offset, length)));
    apply(offset, length);
  }

  readonly #operations: Record<Operation, (file: File) => void> = {
    write: (file) => {
      const offset = this.#offset(file);
      const data = this.#data(this.#length(offset));
      if (data.length === 0) return;
      this.#what += ` at ${offset}, ${data.length} bytes`;
      this.#must(this.#on(file, (fd) => sys.pwrite(fd, data, offset)));
      this.#grow(file, offset + data.length);
      data.copy(file.bytes, offset);
    },
    append: (file) => {
      const data = this.#data(1 + this.#random.below(3000));
      if (file.bytes.length + data.length > LARGEST) return;
      const at = file.bytes.length;
      this.#must(this.#on(file, (fd) => sys.pwrite(fd, data, at)));
      this.#grow(file, at + data.length);
      data.copy(file.bytes, at);
    },
    read: (file) => {
      const offset = this.#offset(file);
      this.#compare(file, offset, this.#length(offset));
    },
    mapRead: (file) => {
      if (file.bytes.length === 0) return;
      const size = file.bytes.length;
      this.#mapped(file, (address, which) => {
        copyMemory(window.address, address, size);
        if (!window.bytes.subarray(0, size).equals(file.bytes)) {
          this.#fail(`the mapping of ${which === 0 ? 'ext4' : 'the mount'} differs`);
        }
      });
    },
    mapWrite: (file) => {
      if (file.bytes.length === 0) return;
      const offset = this.#random.below(file.bytes.length);
      const data = this.#data(Math.min(1 + this.#random.below(2 * CHUNK), file.bytes.length - offset));
      this.#what += ` at ${offset}, ${data.length} bytes`;
      data.copy(window.bytes);
      const sync = this.#random.below(2) === 0;
      this.#mapped(file, (address) => {
        copyMemory(address + offset, window.address, data.length);
        if (sync) msyncCall(address, file.bytes.length, 4);
      });
      data.copy(file.bytes, offset);
    },
    truncate: (file) => {
      const size = this.#offset(file);
      this.#what += ` to ${size}`;
      this.#must(this.#on(file, (fd) => sys.ftruncate(fd, size)));
      if (size < file.bytes.length) file.bytes = Buffer.from(file.bytes.subarray(0, size));
      else this.#grow(file, size);
    },
    punch: (file) => {
      this.#allocate(file, 3, (offset, length) => {
        file.bytes.fill(0, Math.min(offset, file.bytes.length), Math.min(offset + length, file.bytes.length));
      });
    },
    zero: (file) => {
      const keep = this.#random.below(2);
      this.#allocate(file, 0x10 | keep, (offset, length) => {
        if (keep === 0) this.#grow(file, offset + length);
        file.bytes.fill(0, Math.min(offset, file.bytes.length), Math.min(offset + length, file.bytes.length));
      });
    },
    allocate: (file) => {
      const keep = this.#random.below(2);
      this.#allocate(file, keep, (offset, length) => {
        if (keep === 0) this.#grow(file, offset + length);
      });
    },
    copy: (file) => {
      const to = this.#random.pick(this.#files);
      if (to === file) return;
      const from = this.#offset(file);
      const at = this.#offset(to);
      const length = Math.min(this.#length(from), LARGEST - at);
      if (length <= 0) return;
      const whole = Math.max(0, Math.min(length, file.bytes.length - from));
      this.#what += ` from ${from} to ${to.name} at ${at}, ${length} bytes`;
      for (const which of [0, 1] as const) {
        sys.lseek(file.descriptors[which], from, 0);
        sys.lseek(to.descriptors[which], at, 0);
        // It may copy less at once.
        for (let done = 0; done < whole; ) {
          const now = sys.copy(file.descriptors[which], to.descriptors[which], whole - done);
          if (now <= 0) this.#fail(`${which === 0 ? 'ext4' : 'the mount'} copied ${named(now)}`);
          done += now;
        }
      }
      if (whole === 0) return;
      this.#grow(to, at + whole);
      Buffer.from(file.bytes.subarray(from, from + whole)).copy(to.bytes, at);
      this.#compare(to, at, whole);
    },
    seek: (file) => {
      const offset = this.#offset(file);
      const fd = file.descriptors[1];
      const data = sys.lseek(fd, offset, 3);
      // Finer or coarser than ext4's: but no byte that is not zero lies in a hole.
      const until = data < 0 ? file.bytes.length : data;
      if (offset < until && file.bytes.subarray(offset, until).some((byte) => byte !== 0)) {
        this.#fail(`SEEK_DATA from ${offset} skips data before ${until}`);
      }
      const hole = sys.lseek(fd, offset, 4);
      if (offset < file.bytes.length && (hole < offset || hole > file.bytes.length)) {
        this.#fail(`SEEK_HOLE from ${offset} says ${named(hole)}`);
      }
    },
    fsync: (file) => {
      this.#must(this.#on(file, (fd) => sys.fsync(fd)));
    },
    reopen: (file) => {
      this.#close(file);
      this.#open(file);
    },
    truncateOpen: (file) => {
      this.#close(file);
      for (const path of this.#paths(file.name)) this.#must(sys.close(sys.open(path, O.WRONLY | O.TRUNC)));
      file.bytes = Buffer.alloc(0);
      this.#open(file);
    },
    rename: (file) => {
      const other = this.#random.below(3) === 0 ? this.#random.pick(this.#files) : undefined;
      const flags = other !== undefined && other !== file ? 2 : 0;
      const target = flags === 2 && other !== undefined ? other.name : `f${this.#created++}`;
      const [from, to] = [this.#paths(file.name), this.#paths(target)];
      this.#must(this.#both((which) => sys.rename(from[which], to[which], flags)));
      if (flags === 2 && other !== undefined) other.name = file.name;
      file.name = target;
    },
    link: (file) => {
      const name = `f${this.#created++}`;
      const [from, to] = [this.#paths(file.name), this.#paths(name)];
      this.#must(this.#both((which) => sys.link(from[which], to[which])));
      this.#must(this.#both((which) => sys.unlink(from[which])));
      file.name = name;
    },
    replace: (file) => {
      this.#close(file);
      const paths = this.#paths(file.name);
      this.#must(this.#both((which) => sys.unlink(paths[which])));
      this.#files.splice(this.#files.indexOf(file), 1);
      this.#create();
    },
  };
}

const OPERATIONS = [
  'write',
  'write',
  'write',
  'write',
  'append',
  'read',
  'read',
  'mapRead',
  'mapWrite',
  'truncate',
  'truncate',
  'punch',
  'zero',
  'allocate',
  'copy',
  'seek',
  'fsync',
  'reopen',
  'truncateOpen',
  'rename',
  'link',
  'replace',
] as const;
type Operation = (typeof OPERATIONS)[number];

function bound(random: Random): { below: (limit: number) => number } {
  return { below: (limit) => random.below(limit) };
}
function clamp(offset: number): number {
  return Math.max(0, Math.min(LARGEST - 1, offset));
}
function named(value: number): string {
  return value < 0 ? errnoName(-value) : String(value);
}
