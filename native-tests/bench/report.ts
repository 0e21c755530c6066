import { cpus, totalmem } from 'node:os';
import type { Fixtures } from './fixtures.js';
import type { Options } from './options.js';
import { geometricMean, median, type Results, ratio } from './results.js';
import type { System } from './systems.js';
import type { Workload } from './workload.js';

export interface Run {
  readonly options: Options;
  readonly fixtures: Fixtures;
  readonly workloads: readonly Workload[];
  readonly systems: readonly System[];
  readonly results: Results;
  /** Load average of the machine (1 minute) before and after. */
  readonly load: readonly [number, number];
  readonly seconds: number;
}

const OURS = 'scopefs';
/** The order in which ratios are shown. */
const OTHERS = ['gocryptfs', 'securefs', 'ext4'];

const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const paint = (code: number, text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);

function number(value: number): string {
  if (Number.isNaN(value)) return '-';
  if (value >= 1000) return Math.round(value).toLocaleString('en-US');
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
function ratioText(value: number, width: number): string {
  const text = (Number.isNaN(value) ? '-' : value.toFixed(2)).padStart(width);
  return Number.isNaN(value) ? text : paint(value >= 1 ? 32 : 31, text);
}

/** The table of workloads with the geometric mean of each ratio. Lines without a newline. */
function table(run: Run): string[] {
  const { workloads, systems, results } = run;
  const names = systems.map((system) => system.name);
  const others = names.includes(OURS) ? OTHERS.filter((name) => names.includes(name)) : [];
  const first = Math.max(...workloads.map(({ name }) => name.length), 'geometric mean'.length);
  const unit = Math.max(...workloads.map((workload) => workload.unit.length + 2));
  const ratioWidth = (name: string): number => `scopefs/${name}`.length;
  const column = 11;
  const lines = [
    paint(
      1,
      [
        'workload'.padEnd(first),
        'unit'.padEnd(unit),
        ...names.map((name) => name.padStart(column)),
        ...others.map((name) => `scopefs/${name}`),
      ].join('  '),
    ),
  ];
  const ratios = new Map<string, number[]>(others.map((name) => [name, []]));
  for (const workload of workloads) {
    const mine = results.median(workload.name, OURS);
    const cells = names.map((name) => {
      const failed = results.failures.some((f) => f.workload === workload.name && f.system === name);
      const text = failed ? 'failed' : number(results.median(workload.name, name));
      return text.padStart(column);
    });
    const compared = others.map((name) => {
      const value = ratio(workload, mine, results.median(workload.name, name));
      if (!Number.isNaN(value)) ratios.get(name)?.push(value);
      return ratioText(value, ratioWidth(name));
    });
    const arrow = workload.unit === 's' ? '↓' : '↑';
    const head = [workload.name.padEnd(first), `${arrow} ${workload.unit}`.padEnd(unit)];
    lines.push([...head, ...cells, ...compared].join('  '));
  }
  if (others.length > 0) {
    const blank = ' '.repeat(unit + names.length * (column + 2));
    const means = others.map((name) => ratioText(geometricMean(ratios.get(name) ?? []), ratioWidth(name)));
    lines.push(`${'geometric mean'.padEnd(first)}  ${blank}  ${means.join('  ')}`);
  }
  return lines;
}

function daemons({ systems, results, options }: Run): string[] {
  return systems.map((system) => {
    const trips = results.roundTrips.get(system.name);
    const trip = trips === undefined ? '-' : `${median(trips).toFixed(1)} µs`;
    const cpu = system.peak === 0 ? '-' : `${(system.cpu / options.rounds).toFixed(1)} s`;
    const peak = system.peak === 0 ? '-' : `${(system.peak / 2 ** 20).toFixed(0)} MiB`;
    const cells = [cpu.padStart(12), peak.padStart(12), trip.padStart(12)];
    return `${system.name.padEnd(12)}${cells.join('')}`;
  });
}

/** The report as text for a person. */
export function report(run: Run): string {
  const { options, fixtures, load, seconds, results } = run;
  const { length } = fixtures.tree;
  const lines = [
    `${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, load ${load[0].toFixed(2)} before; medians of ${options.rounds} round${options.rounds === 1 ? '' : 's'}, ${Math.round(seconds)} s in all`,
    `tree: ${length} files, ${(fixtures.treeBytes / 1e6).toFixed(0)} MB; big file: ${options.sizes.big / 2 ** 20} MiB; ${options.sizes.small} small files`,
    '',
    ...table(run),
    '',
    '↑ more is better, ↓ less is better; a ratio > 1 means that scopefs is better. Differences below 1.3 times are noise.',
    '',
    paint(
      1,
      `${'daemon'.padEnd(12)}${'CPU a round'.padStart(12)}${'peak memory'.padStart(12)}${'round trip'.padStart(12)}`,
    ),
    ...daemons(run),
  ];
  for (const { workload, system, round, message } of results.failures) {
    lines.push(paint(31, `failed: ${workload} on ${system} in round ${round}: ${message.split('\n')[0]}`));
  }
  return `${lines.join('\n')}\n`;
}

/** Every measurement, for a program. Values are in the workload's unit, one a round. */
export function asJson(run: Run): string {
  const { options, workloads, systems, results, load, seconds, fixtures } = run;
  const values = workloads.map(({ name, unit, what }) => ({
    name,
    unit,
    what,
    values: Object.fromEntries(systems.map((system) => [system.name, results.values(name, system.name)])),
  }));
  const used = systems.map(({ name, cpu, peak }) => ({
    name,
    cpuSecondsPerRound: cpu / options.rounds,
    peakBytes: peak,
    roundTripMicroseconds: results.roundTrips.get(name) ?? [],
  }));
  const tree = { files: fixtures.tree.length, bytes: fixtures.treeBytes };
  const { rounds, sizes } = options;
  return `${JSON.stringify({ rounds, sizes, tree, load, seconds, workloads: values, systems: used, failures: results.failures }, undefined, 2)}\n`;
}
