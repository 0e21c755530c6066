import { parseArgs } from 'node:util';

/** How much each workload does. Bytes and counts. */
export interface Sizes {
  /** Bytes of the big file; a multiple of 1 MiB. */
  readonly big: number;
  /** Most bytes of the tree's files. */
  readonly tree: number;
  /** Every so many-th small file of node_modules goes into the tree. */
  readonly treeStep: number;
  /** Files of 4 KiB. */
  readonly small: number;
  /** Appends of 200 bytes. */
  readonly appends: number;
  /** Random writes of 4 KiB. */
  readonly randomWrites: number;
  /** Single-row transactions. */
  readonly transactions: number;
  /** Files of the tree that the git repository holds. */
  readonly gitFiles: number;
  /** Requests timed for the cost of one round trip. */
  readonly roundTrips: number;
}

const FULL: Sizes = {
  big: 512 << 20,
  tree: 94_000_000,
  treeStep: 2,
  small: 5_000,
  appends: 20_000,
  randomWrites: 5_000,
  transactions: 1_000,
  gitFiles: 2_000,
  roundTrips: 20_000,
};
const QUICK: Sizes = {
  big: 64 << 20,
  tree: 12_000_000,
  treeStep: 14,
  small: 1_000,
  appends: 4_000,
  randomWrites: 1_000,
  transactions: 200,
  gitFiles: 500,
  roundTrips: 5_000,
};

export interface Options {
  readonly rounds: number;
  readonly quick: boolean;
  readonly sizes: Sizes;
  /** Undefined: all. */
  readonly only: readonly string[] | undefined;
  readonly systems: readonly string[] | undefined;
  readonly json: string | undefined;
  /** Another checkout of scopefs, built. */
  readonly base: string | undefined;
}

export const USAGE = `usage: npm run bench -- [--rounds N] [--quick] [--only WORKLOAD,...] [--systems NAME,...] [--json FILE] [--base DIR]
  --rounds N     medians of N rounds (default 3; with --quick 1)
  --quick        one round, smaller sizes
  --only A,B     these workloads only
  --systems A,B  of ext4, gocryptfs, securefs, scopefs
  --json FILE    write every measurement there
  --base DIR     also another checkout of scopefs that is built, as system "base"`;

/** A command line that makes no sense: its message is the advice. */
export class UsageError extends Error {}

function list(value: string | undefined, known: readonly string[], what: string): string[] | undefined {
  if (value === undefined) return undefined;
  const names = value.split(',').filter((name) => name !== '');
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0 || names.length === 0) {
    throw new UsageError(`no ${what} ${unknown.join(', ')}; there are ${known.join(', ')}`);
  }
  return names;
}

/** Reads the command line, or throws {@link UsageError}; undefined where help was asked for. */
export function readOptions(
  args: readonly string[],
  workloads: readonly string[],
  systems: readonly string[],
): Options | undefined {
  let values: ReturnType<typeof parse>['values'];
  try {
    values = parse(args).values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n${USAGE}`);
  }
  if (values.help === true) return undefined;
  const quick = values.quick === true;
  const rounds = Number(values.rounds ?? (quick ? 1 : 3));
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new UsageError('--rounds: a whole number from 1');
  return {
    rounds,
    quick,
    sizes: quick ? QUICK : FULL,
    only: list(values.only, workloads, 'workload'),
    systems: list(values.systems, systems, 'system'),
    json: values.json,
    base: values.base,
  };
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string' },
      quick: { type: 'boolean' },
      only: { type: 'string' },
      systems: { type: 'string' },
      json: { type: 'string' },
      base: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}
