import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unableToMount } from '../support/mounted.js';
import { ended, waitFor } from './processes.js';
import { chooseSystems, type System } from './systems.js';

/**
 * `npm run bench:latency`: how long a first look-up of a name waits while somebody else keeps the disk busy, beside the
 * same alone. Each is one LOOKUP that no cache answers. Figures of one run, on images of their own, in turn.
 */

const BIG = 512 << 20;
const ENTRIES = 20_000;
const SECONDS = 3;

interface Load {
  readonly name: string;
  /** Before it, once: nothing is cached. */
  readonly cold?: boolean;
  /** A shell script that goes on for ever; `$1` is the mount, `$2` the file behind `big`. */
  readonly script?: string;
}

const LOADS: readonly Load[] = [
  { name: 'alone' },
  { name: 'a busy processor', script: 'while :; do :; done' },
  {
    name: 'fsync of 1 MiB, again and again',
    script: 'while :; do dd if=/dev/zero of="$1/synced" bs=1M count=1 conv=fsync,notrunc status=none; done',
  },
  {
    name: 'fsync of 256 MiB',
    script: 'while :; do dd if=/dev/zero of="$1/synced" bs=1M count=256 conv=fsync,notrunc status=none; done',
  },
  {
    name: 'cold reads of 1 MiB',
    script: `while :; do
      dd if="$2" iflag=nocache count=0 status=none; dd if="$1/big" iflag=nocache count=0 status=none
      dd if="$1/big" of=/dev/null bs=1M status=none
    done`,
  },
  {
    name: 'a cold listing of 20,000 names',
    cold: true,
    script: 'while :; do ls -lU "$1/many" > /dev/null; sleep 10; done',
  },
  { name: `truncate of ${BIG >> 20} MiB`, script: 'sleep 1; truncate -s 1 "$1/big"; sleep 10' },
];

let asked = 0;
/** Latencies of look-ups in ms, one after another for some seconds. */
function lookups(root: string, seconds: number): number[] {
  const found: number[] = [];
  for (let now = performance.now(), end = now + seconds * 1000; now < end; ) {
    lstatSync(join(root, `absent-${asked++}`), { throwIfNoEntry: false });
    const after = performance.now();
    found.push(after - now);
    now = after;
  }
  return found.sort((a, b) => a - b);
}
const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number;

/** The largest file below a directory: what is stored of `big`. */
function largest(directory: string): string {
  let best = '';
  let size = -1;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = statSync(path).size;
    if (bytes > size) [best, size] = [path, bytes];
  }
  return best;
}

function prepare(system: System): void {
  const block = Buffer.alloc(1 << 20, 7);
  const big = openSync(join(system.root, 'big'), 'w');
  for (let done = 0; done < BIG; done += block.length) writeSync(big, block);
  closeSync(big);
  const many = join(system.root, 'many');
  mkdirSync(many);
  for (let i = 0; i < ENTRIES; i++) closeSync(openSync(join(many, `entry-${i}`), 'w'));
  system.settle();
}

function measure(system: System, load: Load): number[] {
  if (load.cold === true) system.remount();
  lookups(system.root, 0.2);
  if (load.script === undefined) return lookups(system.root, SECONDS);
  const stored = largest(system.store);
  const args = ['-c', load.script, 'load', system.root, stored];
  // A group of its own, so that all of it can be ended.
  const child: ChildProcess = spawn('sh', args, { detached: true, stdio: 'ignore' });
  const pid = child.pid ?? 0;
  try {
    return lookups(system.root, SECONDS);
  } finally {
    process.kill(-pid, 'SIGKILL');
    waitFor(() => ended(pid), 20_000);
    system.settle();
  }
}

const unable = unableToMount();
if (unable !== undefined) {
  process.stderr.write(`bench: ${unable}\n`);
  process.exit(1);
}
const directory = mkdtempSync(join(tmpdir(), 'scopefs-latency-'));
const wanted = process.argv[2]?.split(',');
const { systems, missing } = chooseSystems(wanted, directory);
if (missing !== undefined) process.stderr.write(`${missing}\n`);
try {
  process.stdout.write(
    `${'a first look-up, milliseconds'.padEnd(48)} ${['p50', 'p99', 'p99.9', 'max', 'p99/alone'].map((head) => head.padStart(9)).join('')}\n`,
  );
  for (const system of systems) {
    system.create();
    prepare(system);
    let alone = Number.NaN;
    for (const load of LOADS) {
      const sorted = measure(system, load);
      const p99 = at(sorted, 0.99);
      if (load.script === undefined) alone = p99;
      const values = [at(sorted, 0.5), p99, at(sorted, 0.999), at(sorted, 1), p99 / alone];
      const cells = values.map((value) => value.toFixed(value < 10 ? 3 : 1).padStart(9)).join('');
      process.stdout.write(`${`${system.name}: ${load.name}`.padEnd(48)} ${cells}\n`);
    }
    system.close();
  }
} finally {
  for (const system of systems) system.destroy();
  rmSync(directory, { recursive: true, force: true });
}
