import { readdirSync, readlinkSync } from 'node:fs';
import type { HolderView } from '../../control/schemas.js';
import { cgroupOf, commandOf, unitIn, userOf } from '../../libc/processes.js';

/** Enough to recognize what a process is doing. */
const MOST_FILES = 10;

/** Processes that use something below a path: open files, working directory, root, mappings (proc(5)). */
export function holdersOf(path: string): HolderView[] {
  const below = (file: string): boolean => file === path || file.startsWith(`${path}/`);
  const holders: HolderView[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const files = new Set<string>();
    const look = (link: string): void => {
      try {
        const target = readlinkSync(link);
        if (below(target)) files.add(target);
      } catch {
        // Gone, or a kernel thread: it holds nothing.
      }
    };
    look(`/proc/${pid}/cwd`);
    look(`/proc/${pid}/root`);
    for (const directory of ['fd', 'map_files']) {
      try {
        for (const name of readdirSync(`/proc/${pid}/${directory}`))
          look(`/proc/${pid}/${directory}/${name}`);
      } catch {
        // As above.
      }
    }
    if (files.size === 0) continue;
    holders.push({
      pid,
      uid: userOf(pid) ?? -1,
      command: commandOf(pid) ?? '?',
      unit: unitIn(cgroupOf(pid)) ?? null,
      files: [...files].slice(0, MOST_FILES),
    });
  }
  return holders;
}
