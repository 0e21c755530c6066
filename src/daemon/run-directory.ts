import { readdirSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { answers } from '../control/socket.js';
import { close, lockExclusive, open, openPath } from '../libc/files.js';
import { isSocketName, RUN_DIRECTORY } from './options.js';

/** A log of a start that failed is there to be read for so long. */
const KEPT_LOG_MS = 3_600_000;
const LOG = /^[0-9a-f]{32}(\.[0-9a-f]{8})?\.log$/;

const entries = (): string[] => readdirSync(RUN_DIRECTORY).map((name) => join(RUN_DIRECTORY, name));

/** Removes names by which no daemon answers: those of killed ones. For whoever has the directory's lock. */
export async function removeDeadSockets(): Promise<void> {
  for (const path of entries().filter(isSocketName)) {
    if (await answers(path)) continue;
    try {
      unlinkSync(path);
    } catch {
      // Not a file, or gone already.
    }
  }
}

/** Marks a log as one that a daemon writes, for as long as it has it open. */
export function claimLog(fd: number): void {
  lockExclusive(fd);
}

/** Removes logs that no daemon writes any more: of killed ones, and of starts that failed. */
export function removeDeadLogs(now = Date.now()): void {
  for (const path of entries().filter((entry) => LOG.test(entry.slice(RUN_DIRECTORY.length + 1)))) {
    try {
      if (now - statSync(path).mtimeMs < KEPT_LOG_MS) continue;
    } catch {
      continue;
    }
    const fd = openPath(path, open.O_RDWR | open.O_NOFOLLOW);
    if (fd < 0) continue;
    if (lockExclusive(fd) >= 0) unlinkSync(path);
    close(fd);
  }
}
