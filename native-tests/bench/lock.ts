import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errnoName } from '../../src/base/errno.js';
import { mountAt } from '../../src/fuse/mount-table.js';
import { open } from '../../src/libc/files.js';
import { type Receipt, run, unableToMount } from '../support/mounted.js';
import { type Probe, Rig } from '../support/probe.js';
import { Image } from './image.js';
import { must } from './processes.js';
import { median } from './results.js';

/**
 * `npm run bench:lock [ROUNDS]`: how long lock and panic (`lock -a`) take by inodes, open or cached, and by dirty bytes, as the caller
 * sees it and as the receipt says, beside an fsync of as much in a plain file on the same image.
 */

const ROUNDS = Number(process.argv[2] ?? 7);
const INODES = [1, 1_000, 100_000];
/** Read and closed again: the kernel has their pages, and nobody a descriptor. */
const CACHED = 100_000;
const MEBIBYTES = [0, 64, 1024];
/** A GiB a lock is much for a disk that others use too. */
const LONG_ROUNDS = Math.min(ROUNDS, 3);
/** Descriptors that the daemon needs beside those of open files: up to 1,024 directories, and its own. */
const RESERVE = 2_500;

/** The kernel lets a FUSE mount have 1 % of all that may be dirty; `unbounded`: this one may have as much as any disk. */
const MODES = [
  { name: 'write-through', writeback: false, unbounded: false },
  { name: 'writeback', writeback: true, unbounded: false },
  { name: 'writeback unbounded', writeback: true, unbounded: true },
] as const;

/** What a scope is locked out of. */
interface State {
  readonly name: string;
  readonly rounds: number;
  readonly mebibytes: number;
  enter(probe: Probe): Promise<void>;
  leave(probe: Probe): Promise<unknown>;
}
interface Times {
  /** Milliseconds: the caller's, and what the receipt of the scope says. */
  readonly wall: number[];
  readonly receipt: number[];
  /** What the receipts name, a count a round. */
  readonly unwritten: number[];
}

const say = (line: string): void => void process.stderr.write(`[lock] ${line}\n`);
const number = (value: number): string => value.toLocaleString('en');
const HEADS = [
  'lock',
  'max',
  'receipt',
  'max',
  'panic',
  'max',
  'receipt',
  'max',
  'dirty MiB',
  'fsync',
  'lock/fsync',
];
const line = (name: string, cells: readonly string[]): void =>
  void process.stdout.write(`${name.padEnd(40)}${cells.map((cell) => cell.padStart(11)).join('')}\n`);
const shown = (value: number): string =>
  Number.isNaN(value) ? '-' : value.toFixed(value < 10 ? 2 : value < 1000 ? 1 : 0);

/** The largest number of descriptors that a process may have, once it was raised as far as may be. */
function descriptorLimit(wanted: number): number {
  const raised = run('prlimit', [`--nofile=${wanted}:${wanted}`, '--pid', String(process.pid)]);
  if (raised.status !== 0) say(`RLIMIT_NOFILE stays: ${raised.stderr.trim()}`);
  return Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
}
/** MiB that all of the machine still has to write. */
function dirty(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const kibibytes = [/^Dirty:\s+(\d+)/m, /^Writeback:\s+(\d+)/m].map((field) =>
    Number(field.exec(text)?.[1]),
  );
  return kibibytes.reduce((a, b) => a + b, 0) / 1024;
}

function openInodes(rig: Rig, wanted: number, limit: number): State {
  const count = Math.min(wanted, limit - RESERVE);
  if (count < wanted)
    say(`${number(wanted)} open inodes: ${number(count)}, as RLIMIT_NOFILE is ${number(limit)}`);
  const directory = rig.path('a', `of-${count}`);
  mkdirSync(directory);
  for (let i = 0; i < count; i++) writeFileSync(join(directory, `file-${i}`), 'content');
  return {
    name: `${number(count)} open inodes`,
    rounds: ROUNDS,
    mebibytes: 0,
    enter: async (probe) => {
      const { n, refused } = await probe.call('openMany', { directory, count });
      if (n < count) say(`${number(n)} of ${number(count)} were opened: ${errnoName(-refused)}`);
    },
    leave: (probe) => probe.call('closeMany', {}),
  };
}

function cachedInodes(rig: Rig, count: number): State {
  const paths = Array.from({ length: count }, (_, i) => {
    const directory = rig.path('a', `cached-${Math.floor(i / 1000)}`);
    if (i % 1000 === 0) mkdirSync(directory);
    return join(directory, `file-${i}`);
  });
  for (const path of paths) writeFileSync(path, 'content');
  return {
    name: `${number(count)} inodes with cached pages`,
    rounds: LONG_ROUNDS,
    mebibytes: 0,
    enter: async () => {
      for (const path of paths) readFileSync(path);
    },
    leave: async () => {},
  };
}

function dirtyBytes(rig: Rig, mebibytes: number): State {
  let fd = -1;
  return {
    name: `${number(mebibytes)} MiB written`,
    rounds: mebibytes > 100 ? LONG_ROUNDS : ROUNDS,
    mebibytes,
    enter: async (probe) => {
      const path = rig.path('a', `dirty-${mebibytes}`);
      fd = await probe.must('open', { path, flags: open.O_RDWR | open.O_CREAT });
      const board = rig.board();
      await probe.must('stream', { fd, blocks: mebibytes, board: board.path, word: 1 });
    },
    // What close(2) answers of a dead descriptor is nobody's business here.
    leave: (probe) => probe.call('close', { fd }),
  };
}

/** Milliseconds of an fsync of so much in a plain file. */
function plainSync(image: Image, mebibytes: number): number {
  const path = join(image.mountPoint, 'plain');
  const block = Buffer.alloc(1 << 20, 1);
  const fd = openSync(path, 'w');
  for (let i = 0; i < mebibytes; i++) writeSync(fd, block);
  const started = performance.now();
  fsyncSync(fd);
  const took = performance.now() - started;
  closeSync(fd);
  rmSync(path);
  return took;
}

async function measure(rig: Rig, image: Image, mode: string, state: State): Promise<void> {
  const lock: Times = { wall: [], receipt: [], unwritten: [] };
  const panic: Times = { wall: [], receipt: [], unwritten: [] };
  const dirtied: number[] = [];
  const plain: number[] = [];
  const probe = rig.probe();
  const timed = async (into: Times, act: () => Promise<Receipt[]>): Promise<void> => {
    await rig.unlock('/a');
    must('sync', ['-f', image.mountPoint]);
    const before = dirty();
    await state.enter(probe);
    dirtied.push(dirty() - before);
    const started = performance.now();
    const receipts = await act();
    into.wall.push(performance.now() - started);
    const mine = receipts.find(({ path }) => path === '/a');
    into.receipt.push((mine?.seconds ?? Number.NaN) * 1000);
    into.unwritten.push(mine?.errors.length ?? 0);
    await state.leave(probe);
  };
  for (let round = 0; round < state.rounds; round++) {
    await timed(lock, () => rig.lock('/a'));
    await timed(panic, () => rig.client.lockAll({}));
    await rig.unlock('/');
    plain.push(plainSync(image, state.mebibytes));
  }
  await probe.kill();
  const pair = (values: readonly number[]): number[] => [median(values), Math.max(...values)];
  const cells = [
    ...[lock.wall, lock.receipt, panic.wall, panic.receipt].flatMap(pair),
    median(dirtied),
    median(plain),
    state.mebibytes === 0 ? Number.NaN : median(lock.wall) / median(plain),
  ];
  line(`${mode}: ${state.name}`, cells.map(shown));
  const cut = lock.unwritten.filter((count) => count > 0).length;
  if (cut > 0)
    line(
      `  ${cut} of ${state.rounds} locks ended at their limit, with files named that were not written`,
      [],
    );
}

const unable = unableToMount();
if (unable !== undefined) throw new Error(unable);
const directory = mkdtempSync(join(tmpdir(), 'scopefs-lock-'));
const image = new Image(directory, 'image', { bytes: 6 * 2 ** 30, inodes: 500_000 });
const limit = descriptorLimit(Math.max(...INODES) + RESERVE);
try {
  line('milliseconds, median and max', HEADS);
  for (const { name, writeback, unbounded } of MODES) {
    image.create();
    const rig = new Rig({ directory: join(image.mountPoint, 'store'), mount: false });
    try {
      rig.vault.mountIt(...(writeback ? ['--writeback'] : []));
      rig.createScope('/a');
      if (unbounded) {
        const settings = `/sys/class/bdi/${mountAt(rig.vault.mount)?.deviceNumber}`;
        writeFileSync(join(settings, 'strict_limit'), '0');
        writeFileSync(join(settings, 'max_ratio'), '100');
      }
      const states = [
        ...(writeback
          ? []
          : [...INODES.map((count) => openInodes(rig, count, limit)), cachedInodes(rig, CACHED)]),
        ...MEBIBYTES.map((mebibytes) => dirtyBytes(rig, mebibytes)),
      ];
      await rig.lock('/a');
      for (const state of states) await measure(rig, image, name, state);
    } finally {
      await rig.remove();
    }
  }
} finally {
  image.destroy();
  rmSync(directory, { recursive: true, force: true });
}
