import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { runLeaseModel } from './test-lease-sequence.js';

const BATCH = 100;
const script = fileURLToPath(new URL('./test-lease-batch.js', import.meta.url));
const execute = promisify(execFile);

interface Found {
  readonly failure?: string;
  readonly transitions: readonly (readonly [string, number])[];
  readonly steps: number;
}

/**
 * {@link runLeaseModel} in processes of 100 sequences, two at a time: each sequence's core keeps 5 MiB of locked buffers for
 * as long as its process lives. `seed`: of all of them in one.
 */
export async function runLeaseBatches(
  runs: number,
  seed?: number,
): Promise<ReturnType<typeof runLeaseModel>> {
  const batches = seed === undefined ? Math.ceil(runs / BATCH) : 1;
  const each = seed === undefined ? BATCH : runs;
  const transitions = new Map<string, number>();
  let failure: string | undefined;
  let steps = 0;
  let begun = 0;
  const work = async (): Promise<void> => {
    while (begun < batches && failure === undefined) {
      begun++;
      const options = [String(each), ...(seed === undefined ? [] : [String(seed)])];
      const { stdout } = await execute(process.execPath, [script, ...options], { maxBuffer: 64 << 20 });
      const found = JSON.parse(stdout) as Found;
      failure ??= found.failure;
      steps += found.steps;
      for (const [what, count] of found.transitions) {
        transitions.set(what, (transitions.get(what) ?? 0) + count);
      }
    }
  };
  await Promise.all([work(), work()]);
  return { failure, transitions, steps };
}
