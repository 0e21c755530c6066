import type { Workload } from './workload.js';

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

/** The value that a share of them do not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** How often `mine` is better than `other`: > 1 where it is, whichever way the unit counts. */
export function ratio(workload: Workload, mine: number, other: number): number {
  return workload.unit === 's' ? other / mine : mine / other;
}

/** Every measurement of a run, by workload and system, in the workload's unit, a value a round. */
export class Results {
  readonly #values = new Map<string, number[]>();
  /** Round trips by system, microseconds, a value a round. */
  readonly roundTrips = new Map<string, number[]>();
  readonly failures: { workload: string; system: string; round: number; message: string }[] = [];

  add(workload: string, system: string, value: number): void {
    const key = `${workload} ${system}`;
    this.#values.set(key, [...(this.#values.get(key) ?? []), value]);
  }
  addRoundTrip(system: string, microseconds: number): void {
    this.roundTrips.set(system, [...(this.roundTrips.get(system) ?? []), microseconds]);
  }
  fail(workload: string, system: string, round: number, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.failures.push({ workload, system, round, message });
  }
  values(workload: string, system: string): readonly number[] {
    return this.#values.get(`${workload} ${system}`) ?? [];
  }
  /** NaN where there is no measurement. */
  median(workload: string, system: string): number {
    return median(this.values(workload, system));
  }
}
