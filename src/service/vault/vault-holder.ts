import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { vaultPaths } from './vault.js';

/** A process that has a vault in use, and where it has it mounted, if it is its daemon. */
export interface VaultHolder {
  readonly pid: number;
  readonly mount: string | undefined;
}

function lines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split(/[\n\0]/);
  } catch {
    return [];
  }
}

/** Whether a descriptor of a process has the lock on that file, and not only the file open (proc_pid_fdinfo(5)). */
function hasLock(pid: number, lock: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some(
      (fd) =>
        readlinkSync(`/proc/${pid}/fd/${fd}`) === lock &&
        lines(`/proc/${pid}/fdinfo/${fd}`).some((line) => line.startsWith('lock:') && line.includes('FLOCK')),
    );
  } catch {
    // Gone, or not ours to see.
    return false;
  }
}

/** Who has a vault (by its real path) in use: its daemon first. Root sees all of its own pid namespace. */
export function vaultHolders(vault: string): VaultHolder[] {
  const { lock } = vaultPaths(vault);
  const holders = readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid && hasLock(pid, lock))
    .map((pid) => {
      const argv = lines(`/proc/${pid}/cmdline`);
      // As daemon/launch.ts starts it.
      const at = argv.findIndex((word, i) => word === 'scopefs' && argv[i + 1] === vault);
      return {
        pid,
        mount: at > 0 && argv[at - 1]?.endsWith('server.js') === true ? argv[at + 2] : undefined,
      };
    });
  return holders.sort((a, b) => Number(a.mount === undefined) - Number(b.mount === undefined));
}
