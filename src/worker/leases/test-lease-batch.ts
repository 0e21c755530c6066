import { writeSync } from 'node:fs';
import { endProcess } from '../../libc/process-end.js';
import { runLeaseModel } from './test-lease-sequence.js';

/** A batch of test-lease-batches.ts: `RUNS [SEED]`; its findings as JSON on standard output. */
const [runs, seed] = process.argv.slice(2).map(Number);
const { failure, transitions, steps } = runLeaseModel(runs as number, seed === undefined ? {} : { seed });
writeSync(1, JSON.stringify({ failure, transitions: [...transitions], steps }));
endProcess(0);
