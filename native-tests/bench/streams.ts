import { createHash } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BLOCK, type Fixtures, PAGE, sha256 } from './fixtures.js';
import { type Site, same, type Workload } from './workload.js';

/** Workloads on one file. */
const big = (site: Site): string => join(site.root, 'big');
const log = (site: Site): string => join(site.root, 'log');

/** Random writes begin their numbers here, so that no block of theirs is one of the first writing. */
const RANDOM = 1 << 24;
const RECORD = 200;

function writeBig(site: Site): void {
  const file = openSync(big(site), 'w');
  for (let i = 0; i < site.sizes.big / BLOCK; i++) writeSync(file, site.fixtures.block(i, BLOCK));
  fsyncSync(file);
  closeSync(file);
}

/** Reads the big file to its end in blocks; each goes to `take`. */
function readBig(site: Site, take: (bytes: Buffer) => void): void {
  const buffer = Buffer.alloc(BLOCK);
  const file = openSync(big(site), 'r');
  for (let got = -1; got !== 0; ) {
    got = readSync(file, buffer, 0, BLOCK, null);
    if (got > 0) take(buffer.subarray(0, got));
  }
  closeSync(file);
}

let expectedBig: string | undefined;

function bigHash(fixtures: Fixtures, bytes: number): string {
  if (expectedBig !== undefined) return expectedBig;
  const hash = createHash('sha256');
  for (let i = 0; i < bytes / BLOCK; i++) hash.update(fixtures.block(i, BLOCK));
  expectedBig = hash.digest('hex');
  return expectedBig;
}

/** The page that random write `i` goes to: the same for every system. A linear congruence, so pages differ widely. */
function randomPage(site: Site, i: number): number {
  const pages = site.sizes.big / PAGE;
  return (i * 104_729 + 7_919) % pages;
}

function record(site: Site, i: number): Buffer {
  return site.fixtures.block(i, RECORD);
}

export const streams: readonly Workload[] = [
  {
    name: 'seq_write',
    unit: 'MB/s',
    what: 'write a big file in 128 KiB writes, fsync',
    makes: 'big',
    amount: (sizes) => sizes.big / 1e6,
    run: writeBig,
  },
  {
    name: 'seq_read_cold',
    unit: 'MB/s',
    what: 'read it in 128 KiB reads',
    cold: true,
    needs: 'big',
    amount: (sizes) => sizes.big / 1e6,
    run: (site) => readBig(site, () => undefined),
  },
  {
    name: 'seq_read_warm',
    unit: 'MB/s',
    what: 'open and read it a second time',
    needs: 'big',
    amount: (sizes) => sizes.big / 1e6,
    run: (site) => readBig(site, () => undefined),
    verify: (site) => {
      const hash = createHash('sha256');
      readBig(site, (bytes) => hash.update(bytes));
      same('SHA-256 of the big file', hash.digest('hex'), bigHash(site.fixtures, site.sizes.big));
    },
  },
  {
    name: 'rand_write_4k',
    unit: 'IOPS',
    what: '4 KiB writes at random pages of the big file, one at a time, fsync at the end',
    cold: true,
    needs: 'big',
    // Its content is another now: reading workloads make it anew.
    removes: 'big',
    amount: (sizes) => sizes.randomWrites,
    run: (site) => {
      const file = openSync(big(site), 'r+');
      for (let i = 0; i < site.sizes.randomWrites; i++) {
        writeSync(file, site.fixtures.block(RANDOM + i, PAGE), 0, PAGE, randomPage(site, i) * PAGE);
      }
      fsyncSync(file);
      closeSync(file);
    },
    verify: (site) => {
      const wrote = new Map<number, number>();
      for (let i = 0; i < site.sizes.randomWrites; i++) wrote.set(randomPage(site, i), i);
      const buffer = Buffer.alloc(PAGE);
      const file = openSync(big(site), 'r');
      same('size of the big file', fstatSync(file).size, site.sizes.big);
      for (const [page, i] of wrote) {
        readSync(file, buffer, 0, PAGE, page * PAGE);
        same(`page ${page}`, buffer.equals(site.fixtures.block(RANDOM + i, PAGE)), true);
      }
      closeSync(file);
    },
  },
  {
    name: 'append_log',
    unit: 'appends/s',
    what: 'appends of 200 bytes to one open file, no sync',
    amount: (sizes) => sizes.appends,
    run: (site) => {
      const file = openSync(log(site), 'a');
      for (let i = 0; i < site.sizes.appends; i++) writeSync(file, record(site, i));
      closeSync(file);
    },
    verify: (site) => {
      const hash = createHash('sha256');
      for (let i = 0; i < site.sizes.appends; i++) hash.update(record(site, i));
      same('SHA-256 of the log', sha256(readFileSync(log(site))), hash.digest('hex'));
    },
  },
];

/** Makes the big file, untimed. */
export const makeBig = writeBig;
