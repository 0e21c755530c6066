import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface Holder {
  readonly pid: number;
  readonly command: string;
  readonly files: string[];
}

/** Processes that use something below a mount point: open files, working directory, root, mappings (proc(5)). */
export function holdersOf(mountPoint: string): Holder[] {
  const below = (path: string): boolean => path === mountPoint || path.startsWith(`${mountPoint}/`);
  const holders: Holder[] = [];
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
        for (const name of readdirSync(`/proc/${pid}/${directory}`)) {
          look(`/proc/${pid}/${directory}/${name}`);
        }
      } catch {
        // As above.
      }
    }
    if (files.size > 0) holders.push({ pid, command: commandOf(pid), files: [...files].slice(0, 10) });
  }
  return holders;
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '?';
  }
}
