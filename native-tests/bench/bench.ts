import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { unableToMount } from '../support/mounted.js';
import { Fixtures } from './fixtures.js';
import { type Options, readOptions, USAGE, UsageError } from './options.js';
import { installed } from './processes.js';
import { programs } from './programs.js';
import { Progress } from './progress.js';
import { asJson, type Run, report } from './report.js';
import { Results } from './results.js';
import { roundTrip } from './round-trip.js';
import { makeBig, streams } from './streams.js';
import { chooseSystems, SYSTEM_NAMES, type System } from './systems.js';
import { makeSmall, makeTree, trees } from './trees.js';
import type { Material, Site, Workload } from './workload.js';

/**
 * Compares scopefs with ext4, gocryptfs and securefs, each on an ext4 image of its own. Rounds are interleaved: each
 * round runs each workload on each system in turn, in rotated order, on fresh images. Figures, never assertions.
 */
const ORDER: readonly string[] = [
  'seq_write',
  'seq_read_cold',
  'seq_read_warm',
  'rand_write_4k',
  'append_log',
  'untar',
  'sha256_cold',
  'ls_lr_cold',
  'rm_rf',
  'create_small',
  'stat_cold',
  'sqlite_wal',
  'git_clone',
];
const WORKLOADS: readonly Workload[] = [...streams, ...trees, ...programs].sort(
  (a, b) => ORDER.indexOf(a.name) - ORDER.indexOf(b.name),
);

const MAKERS: Record<Material, (site: Site) => void> = { big: makeBig, tree: makeTree, small: makeSmall };

/** Set by a signal; looked at between steps, as a step occupies this thread. */
let interrupted = false;

class Interrupted extends Error {}

/** One workload on one system: the value in its unit. */
function measure(workload: Workload, system: System, site: Site): number {
  const { needs, makes, removes, cold, verify } = workload;
  if (needs !== undefined && !site.present.has(needs)) {
    MAKERS[needs](site);
    site.present.add(needs);
  }
  system.settle();
  if (cold === true) system.remount();
  const started = performance.now();
  workload.run(site);
  const seconds = (performance.now() - started) / 1000;
  if (makes !== undefined) site.present.add(makes);
  if (removes !== undefined) site.present.delete(removes);
  verify?.(site);
  system.settle();
  return workload.amount === undefined ? seconds : workload.amount(site.sizes, site.fixtures) / seconds;
}

/** One round over all workloads and systems. */
async function round(run: Run, number: number, progress: Progress): Promise<void> {
  const { options, fixtures, systems, workloads, results } = run;
  const sites = new Map<System, Site>();
  const step = async (name: string, system: System, body: (site: Site) => string): Promise<void> => {
    // Signals are delivered here.
    await setImmediate();
    if (interrupted) throw new Interrupted('interrupted');
    const text = `round ${number + 1}/${options.rounds} ${name} ${system.name}`;
    progress.begin(text);
    const site = sites.get(system);
    try {
      progress.end(`${text}: ${site === undefined ? 'not mounted' : body(site)}`);
    } catch (error) {
      results.fail(name, system.name, number + 1, error);
      progress.end(`${text}: failed: ${(error as Error).message}`);
    }
  };
  const rotated = (by: number): System[] => {
    const from = by % systems.length;
    return [...systems.slice(from), ...systems.slice(0, from)];
  };
  for (const system of systems) {
    progress.begin(`round ${number + 1}/${options.rounds} mkfs and mount ${system.name}`);
    system.create();
    sites.set(system, { root: system.root, sizes: options.sizes, fixtures, present: new Set() });
  }
  for (const [i, workload] of workloads.entries()) {
    for (const system of rotated(number + i)) {
      await step(workload.name, system, (site) => {
        const value = measure(workload, system, site);
        results.add(workload.name, system.name, value);
        return `${value.toPrecision(4)} ${workload.unit}`;
      });
    }
  }
  for (const system of rotated(number)) {
    await step('round_trip', system, (site) => {
      const microseconds = roundTrip(site.root, options.sizes.roundTrips);
      results.addRoundTrip(system.name, microseconds);
      return `${microseconds.toFixed(1)} µs`;
    });
  }
  for (const system of systems) system.close();
}

async function compare(options: Options, directory: string): Promise<Run> {
  const started = performance.now();
  const { systems, missing } = chooseSystems(options.systems, directory, {}, options.base);
  const wanted = WORKLOADS.filter(({ name }) => options.only === undefined || options.only.includes(name));
  const workloads = wanted.filter(({ program }) => program === undefined || installed(program));
  const progress = new Progress(options.rounds * systems.length * (workloads.length + 1));
  if (missing !== undefined) progress.note(missing);
  for (const { name, program } of wanted) {
    if (program !== undefined && !installed(program)) {
      progress.note(`left out: ${name} (apt-get install ${program})`);
    }
  }
  const before = loadavg()[0] ?? 0;
  const cores = availableParallelism();
  if (before > cores / 2)
    progress.note(`this machine is busy (load ${before.toFixed(2)}): figures will be poor`);
  try {
    progress.begin('making the tree and the repository');
    const fixtures = new Fixtures(directory, options.sizes);
    const load: [number, number] = [before, before];
    const results = new Results();
    const base = { options, fixtures, workloads, systems, results, load };
    const run: Run = { ...base, seconds: 0 };
    for (let number = 0; number < options.rounds; number++) await round(run, number, progress);
    load[1] = loadavg()[0] ?? 0;
    return { ...base, seconds: (performance.now() - started) / 1000 };
  } finally {
    progress.close();
    for (const system of systems) system.destroy();
  }
}

async function main(args: readonly string[]): Promise<number> {
  let options: Options | undefined;
  try {
    options = readOptions(args, ORDER, SYSTEM_NAMES);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`bench: ${error.message}\n`);
    return 2;
  }
  if (options === undefined) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  const unable = unableToMount();
  if (unable !== undefined) {
    process.stderr.write(`bench: ${unable.replace('native tests need', 'the benchmark needs')}\n`);
    return 1;
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      interrupted = true;
    });
  }
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-bench-'));
  try {
    const run = await compare(options, directory);
    process.stdout.write(report(run));
    if (options.json !== undefined) writeFileSync(options.json, asJson(run));
    return run.results.failures.length === 0 ? 0 : 1;
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n`);
    return interrupted ? 130 : 1;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

process.exitCode = await main(process.argv.slice(2));
