import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { S, sys } from '../posix/sys.js';
import { run, unableToMount } from '../support/mounted.js';
import { pause, peakMemory } from './processes.js';
import { chooseSystems, type System } from './systems.js';

/**
 * `npm run bench:memory [FILES]`: memory and descriptors of the daemon, and the time of `find`, over many files
 * (1,000,000), beside gocryptfs in the same run.
 */

const FILES = Number(process.argv[2] ?? 1_000_000);
const A_DIRECTORY = 1000;

function resident(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0) / 1024;
}
const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

function makeFiles(root: string): void {
  for (let d = 0; d * A_DIRECTORY < FILES; d++) {
    mkdirSync(join(root, `directory-${d}`));
    for (let f = 0; f < A_DIRECTORY; f++) {
      const made = sys.mknod(`${root}/directory-${d}/file-${f}`, S.REG | 0o644);
      if (made < 0) throw new Error(`mknod: ${made}`);
    }
  }
}
/** Each is looked at: its size is asked for. */
const find = (root: string): string => run('find', [root, '-type', 'f', '-size', '0', '-printf', '.']).stdout;

function measure(system: System): Record<string, number> {
  const seconds = (act: () => void): number => {
    const started = performance.now();
    act();
    return (performance.now() - started) / 1000;
  };
  system.create();
  const create = seconds(() => makeFiles(system.root));
  const afterCreate = peakMemory(system.pid) / 2 ** 20;
  system.settle();
  system.remount();
  let found = 0;
  const cold = seconds(() => {
    found = find(system.root).length;
  });
  if (found !== FILES) throw new Error(`${system.name}: find saw ${found} of ${FILES} files`);
  const open = descriptors(system.pid);
  const again = seconds(() => find(system.root));
  const peak = peakMemory(system.pid) / 2 ** 20;
  const held = resident(system.pid);
  // The kernel forgets all inodes.
  writeFileSync('/proc/sys/vm/drop_caches', '2');
  pause(10_000);
  const after = resident(system.pid);
  return {
    'create, s': create,
    'VmHWM after it, MiB': afterCreate,
    'find cold, s': cold,
    'find again, s': again,
    descriptors: open,
    'VmHWM, MiB': peak,
    'resident, MiB': held,
    'resident once the kernel forgot, MiB': after,
  };
}

const unable = unableToMount();
if (unable !== undefined) {
  process.stderr.write(`${unable}\n`);
  process.exit(1);
}
const directory = mkdtempSync(join(tmpdir(), 'scopefs-bench-'));
const inodes = Math.ceil(FILES * 1.02) + 10_000;
const { systems, missing } = chooseSystems(['gocryptfs', 'scopefs'], directory, {
  bytes: 6 * 2 ** 30,
  inodes,
});
if (missing !== undefined) process.stderr.write(`${missing}\n`);
const results: Record<string, Record<string, number>> = {};
try {
  for (const system of systems) {
    process.stderr.write(`[memory] ${system.name}: ${FILES} files\n`);
    results[system.name] = measure(system);
    system.close();
    // Children are collected.
    await setImmediate();
  }
} finally {
  for (const system of systems) system.destroy();
  rmSync(directory, { recursive: true, force: true });
}
const names = Object.keys(results);
const rows = Object.keys(results[names[0] as string] ?? {});
process.stdout.write(`| ${FILES} files | ${names.join(' | ')} |\n|---|${'---|'.repeat(names.length)}\n`);
for (const row of rows) {
  const cells = names.map((name) => (results[name]?.[row] ?? Number.NaN).toPrecision(3));
  process.stdout.write(`| ${row} | ${cells.map((cell) => String(Number(cell))).join(' | ')} |\n`);
}
