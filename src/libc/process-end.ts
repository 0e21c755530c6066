import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { libcFunction } from './ffi.js';

const exitCall = libcFunction('_exit', 'i', 'i');

/**
 * The one end of a process. While a worker sits in a foreign call, process.exit, an uncaught throw and
 * worker.terminate leave the process running for ever (measured, FACTS.md); _exit(2) ends it at once.
 */
export function endProcess(status: number, line?: string): never {
  if (line !== undefined) {
    try {
      writeSync(2, `${line}\n`);
    } catch {
      // stderr has no reader any more: ending is all that is left.
    }
  }
  exitCall(status);
  throw new Error('unreachable');
}

/** Ends the process with one line when this thread throws. Call it first in main and in every worker. */
export function endOnThrow(thread: string): void {
  const die = (error: unknown): void => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    endProcess(
      70,
      `scopefs: ${thread}${isMainThread ? '' : ' worker'} failed: ${text.replaceAll(/\s*\n\s*/g, ' | ')}`,
    );
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
}
