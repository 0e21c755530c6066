import type { Fixtures } from './fixtures.js';
import type { Sizes } from './options.js';

/** Where a workload works. */
export interface Site {
  /** A directory on the system under test. */
  readonly root: string;
  readonly sizes: Sizes;
  readonly fixtures: Fixtures;
  /** What earlier workloads of this round left here. */
  readonly present: Set<Material>;
}

/** Things that one workload makes and others use. */
export type Material = 'big' | 'tree' | 'small';

export interface Workload {
  readonly name: string;
  /** `s`: seconds, less is better. Any other: units of {@link amount} a second, more is better. */
  readonly unit: string;
  /** In one line, for the reader of the table. */
  readonly what: string;
  /** File system and backing store are unmounted and mounted again before it. */
  readonly cold?: boolean;
  /** A program without which it cannot run. */
  readonly program?: string;
  /** Made (untimed) before, where it is not there. */
  readonly needs?: Material;
  /** What it leaves behind. */
  readonly makes?: Material;
  /** What is gone after it. */
  readonly removes?: Material;
  /** How much it does, for a rate. */
  amount?(sizes: Sizes, fixtures: Fixtures): number;
  /** The timed part. */
  run(site: Site): void;
  /** Untimed: throws where what it wrote does not read back right. */
  verify?(site: Site): void;
}

/** Throws unless what was read back is what was written. */
export function same(what: string, got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`${what}: read back ${String(got)}, expected ${String(expected)}`);
}
