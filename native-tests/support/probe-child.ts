import { createInterface } from 'node:readline';
import { arrayBufferAt, viewAt } from '../../src/libc/ffi.js';
import * as files from '../../src/libc/files.js';
import { pinned } from '../../src/libc/memory.js';
import { Stat } from '../../src/libc/stat.js';
import { Aio } from './aio.js';
import { Board, getdents, map, mincore, monotonic, PAGE, prot } from './board.js';
import { Ring } from './io-uring.js';
import type { Orders } from './orders.js';
import { cachedPages, mlock, readahead } from './page-cache.js';
import { pipe, transfers } from './transfers.js';

/**
 * A probe process: does what a line of JSON says and answers with one. It holds descriptors and mappings of a mount
 * over a lock, and may die of SIGBUS. Results are the call's, or -errno.
 */
const AT_FDCWD = -100;
const buffer = pinned(1 << 20);
const vector = pinned(1 << 16);
const many: number[] = [];
const maps: { address: number; length: number }[] = [];
const rings: Ring[] = [];
const contexts: Aio[] = [];

const mapOf = (index: number): { address: number; length: number } => {
  const found = maps[index];
  if (found === undefined) throw new Error(`no mapping ${index}`);
  return found;
};
const text = (n: number): { n: number; text: string } => ({
  n,
  text: buffer.bytes.toString('latin1', 0, Math.min(Math.max(n, 0), 256)),
});
const names = (fd: number): { n: number; names: string[] } => {
  const found = files.readDirectory(fd);
  return typeof found === 'number'
    ? { n: found, names: [] }
    : { n: found.length, names: found.map((entry) => entry.name) };
};

const ended = (queue: Aio | Ring | undefined, all: boolean) => {
  const results = [...(queue?.reap(all) ?? [])];
  const filled = results
    .map(([block]) => block)
    .filter((block) => queue?.block(block).some((byte) => byte !== 0));
  return { n: results.length, results, filled };
};

const orders: Orders = {
  open: ({ path, flags = 0, mode = 0o600 }) => ({ n: files.openPath(path, flags, mode) }),
  openat: ({ fd, name, flags = 0 }) => ({ n: files.openat(fd ?? AT_FDCWD, name, flags, 0o600) }),
  close: ({ fd }) => ({ n: files.close(fd) }),
  openMany: ({ directory, count }) => {
    while (many.length < count) {
      const fd = files.openPath(`${directory}/file-${many.length}`, 0);
      if (fd < 0) return { n: many.length, refused: fd };
      many.push(fd);
    }
    return { n: many.length, refused: 0 };
  },
  closeMany: () => {
    for (const fd of many) files.close(fd);
    return { n: many.splice(0).length };
  },
  read: ({ fd, offset = 0, length = 4096 }) => text(files.pread(fd, buffer.address, length, offset)),
  write: ({ fd, offset, fill, length }) => {
    buffer.bytes.fill(fill, 0, length);
    return { n: files.pwrite(fd, buffer.address, length, offset) };
  },
  fsync: ({ fd }) => ({ n: files.fsync(fd) }),
  list: ({ fd }) => names(fd),
  stat: ({ fd }) => ({ n: files.fstat(fd, new Stat()) }),
  chdir: ({ path }) => {
    process.chdir(path);
    return { n: 0 };
  },
  map: ({ fd, length, write = false, flags }) => {
    const address = map(fd, length, prot.READ | (write ? prot.WRITE : 0), flags);
    if (address < 0) return { n: address };
    return { n: maps.push({ address, length }) - 1 };
  },
  peek: ({ map: index, offset = 0 }) => {
    const { address, length } = mapOf(index);
    return { n: viewAt(address, length)[offset] as number };
  },
  poke: ({ map: index, value, step = PAGE }) => {
    const { address, length } = mapOf(index);
    const view = viewAt(address, length);
    for (let at = 0; at < length; at += step) view[at] = value;
    return { n: length / step };
  },
  look: ({ map: index, offset = 0 }) => {
    const memory = files.openPath('/proc/self/mem', files.open.O_RDONLY);
    const n = files.pread(memory, buffer.address, 1, mapOf(index).address + offset);
    files.close(memory);
    return { n, byte: buffer.bytes[0] as number };
  },
  mlock: ({ map: index }) => ({ n: mlock(mapOf(index).address, mapOf(index).length) }),
  cachedPages: ({ fd }) => ({ n: cachedPages(fd) }),
  readahead: ({ fd, offset, length }) => ({ n: readahead(fd, offset, length) }),
  pipe: () => {
    const { from, to } = pipe();
    return { n: from, to };
  },
  take: ({ fd, length = buffer.bytes.length }) => text(files.read(fd, buffer.address, length)),
  transfer: ({ how, from, to, length = PAGE }) => ({ n: transfers[how](from, to, 0, length) }),
  ring: ({ fd, blocks, blockBytes }) => {
    const ring = new Ring(fd, blocks, blockBytes);
    files.close(fd);
    return { n: rings.push(ring) - 1 };
  },
  ringSubmit: ({ ring, blocks }) => ({ n: rings[ring]?.submit(blocks) ?? Number.NaN }),
  ringReap: ({ ring, all }) => ended(rings[ring], all),
  aio: ({ fd, blocks, blockBytes, fill }) => {
    const aio = new Aio({ fd, blocks, blockBytes, fill });
    const taken = aio.submit();
    return { n: taken === blocks ? contexts.push(aio) - 1 : taken };
  },
  aioReap: ({ aio, all }) => ended(contexts[aio], all),
  mincore: ({ map: index }) => {
    const { address, length } = mapOf(index);
    const done = mincore(address, length, vector.address);
    if (done < 0) return { n: done };
    return { n: vector.bytes.subarray(0, Math.ceil(length / PAGE)).reduce((a, b) => a + (b & 1), 0) };
  },
  // Stores a counter into each page in turn, publishing it on the board only once the store is done.
  count: ({ map: index, board: path, milliseconds, first = 1 }) => {
    const { address, length } = mapOf(index);
    const pages = length / PAGE;
    const { words } = new Board(path, first + pages);
    const view = new Uint32Array(arrayBufferAt(address, length));
    const end = monotonic() + milliseconds;
    let counter = 0;
    while (monotonic() < end && words[0] === 0) {
      counter++;
      for (let page = 0; page < pages; page++) {
        view[(page * PAGE) / 4] = counter;
        view[(page * PAGE) / 4 + 1023] = counter;
        words[first + page] = counter;
      }
    }
    return { n: counter };
  },
  // Writes 1 MiB blocks one after another, each filled with its number; the board says how many were taken.
  stream: ({ fd, blocks, board: path, word }) => {
    const { words } = new Board(path, 64);
    for (let block = 0; block < blocks; block++) {
      buffer.bytes.fill(block + 1);
      const done = files.pwrite(fd, buffer.address, 1 << 20, block << 20);
      if (done !== 1 << 20) return { n: done };
      words[word] = block + 1;
    }
    return { n: blocks };
  },
  // One write(2) from a mapping.
  writeMap: ({ fd, map: index, length, board: path, word }) => {
    const { words } = new Board(path, 64);
    words[word] = 1;
    const done = files.pwrite(fd, mapOf(index).address, length, 0);
    words[word] = 2;
    return { n: done };
  },
  // One getdents64(2) into a mapping.
  listMap: ({ fd, map: index, length, board: path, word }) => {
    const { words } = new Board(path, 64);
    words[word] = 1;
    const done = getdents(fd, mapOf(index).address, length);
    words[word] = 2;
    return { n: done };
  },
  // Reads 1 MiB blocks one after another, from the start again at the end, until the board says stop.
  sweep: ({ fd, blocks, board: path, word }) => {
    const { words } = new Board(path, 64);
    const errors: Record<string, number> = {};
    let late = 0;
    for (let block = 0; words[0] === 0; block = (block + 1) % blocks) {
      const locked = words[word + 1] !== 0;
      const n = files.pread(fd, buffer.address, 1 << 20, block << 20);
      if (n < 0) errors[n] = (errors[n] ?? 0) + 1;
      else words[word] = (words[word] as number) + 1;
      if (n >= 0 && locked) late++;
    }
    return { n: words[word] as number, late, errors };
  },
  // Reads a file over and over until the board says stop: every byte must be `fill`.
  readLoop: ({ path, length, fill, board, word, reopen = true }) => {
    const { words } = new Board(board, 64);
    let wrong = 0;
    let fd = files.openPath(path, 0);
    const errors: Record<string, number> = {};
    while (words[0] === 0) {
      if (reopen && fd >= 0) {
        files.close(fd);
        fd = files.openPath(path, 0);
      }
      buffer.bytes.fill(0, 0, length);
      const n = fd < 0 ? fd : files.pread(fd, buffer.address, length, 0);
      if (n < 0) errors[n] = (errors[n] ?? 0) + 1;
      else if (n !== length || buffer.bytes.subarray(0, length).some((byte) => byte !== fill)) wrong++;
      words[word] = (words[word] as number) + 1;
    }
    return { n: words[word] as number, wrong, errors };
  },
};

process.stdout.write('ready\n');
createInterface({ input: process.stdin }).on('line', (line) => {
  const { op, id, ...order } = JSON.parse(line) as { op: keyof Orders; id: number };
  const at = monotonic();
  const answer = (orders[op] as (order: object) => object)(order);
  process.stdout.write(`${JSON.stringify({ id, at, until: monotonic(), ...answer })}\n`);
});
process.stdin.on('end', () => process.exit(0));
