import { workerData } from 'node:worker_threads';
import { Doorbell, word } from '../libc/doorbell.js';
import { endOnThrow } from '../libc/process-end.js';
import { IoLine } from './io-line.js';
import type { IoWorkerData } from './messages.js';

/** A thread that waits for the disk, so that the filesystem worker does not. It knows no key and decides nothing. */
endOnThrow('io');
const data = workerData as IoWorkerData;
const line = new IoLine(data.line);
const doorbell = new Doorbell(data.doorbell);

for (;;) {
  line.serve();
  doorbell.ring(word.JOBS);
}
