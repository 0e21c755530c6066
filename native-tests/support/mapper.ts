import { closeSync, fstatSync, openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { arrayBufferAt, libcFunction } from '../../src/libc/ffi.js';

/**
 * A process that has a file mapped: `node mapper.js FILE`. Says `mapped N`, then for each line on its standard input
 * reads every page again and says `read SUM`. Touching a page of a locked scope ends it with SIGBUS.
 */
const mmap = libcFunction('mmap', 'p', 'ppiiil');
const PROT_READ = 1;
const MAP_SHARED = 1;

const file = process.argv[2] ?? '';
const fd = openSync(file, 'r');
const { size } = fstatSync(fd);
const bytes = new Uint8Array(arrayBufferAt(mmap(0, size, PROT_READ, MAP_SHARED, fd, 0), size));
closeSync(fd);

function touch(): number {
  let sum = 0;
  for (let at = 0; at < size; at += 4096) sum += bytes[at] as number;
  return sum;
}

process.stdout.write(`mapped ${touch()}\n`);
createInterface({ input: process.stdin }).on('line', () => {
  process.stdout.write(`read ${touch()}\n`);
});
