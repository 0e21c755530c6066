import { readFileSync, readlinkSync, realpathSync, statfsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

export interface MountEntry {
  readonly device: string;
  readonly mountPoint: string;
  readonly type: string;
  /** `MAJOR:MINOR`, as in /sys/class/bdi. */
  readonly deviceNumber: string;
}

/** /proc/self/mountinfo (proc(5)); octal escapes undone. */
export function mounts(text = readFileSync('/proc/self/mountinfo', 'utf8')): MountEntry[] {
  const plain = (field: string): string =>
    field.replaceAll(/\\([0-7]{3})/g, (_all, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ', 2);
      const fields = before.split(' ');
      const [type = '', device = ''] = after.split(' ');
      return {
        deviceNumber: fields[2] ?? '',
        mountPoint: plain(fields[4] ?? ''),
        type,
        device: plain(device),
      };
    });
}

/** The topmost mount on exactly this path. */
export function mountAt(path: string): MountEntry | undefined {
  return mounts().findLast((entry) => entry.mountPoint === path);
}

/** Whether something is mounted below a mount point, as far as this mount namespace shows. */
export function mountsBelow(path: string, entries: readonly MountEntry[] = mounts()): boolean {
  return entries.some((entry) => entry.mountPoint.startsWith(`${path}/`));
}

/** path_resolution(7) gives up there too. */
const MOST_LINKS = 40;

/**
 * A mount point's path as the kernel lists it. Its last component is not looked at but as a symlink: a dead mount can't be, and
 * the directories above it can.
 */
export function canonicalMountPoint(path: string): string {
  let absolute = resolve(path);
  for (let links = 0; links < MOST_LINKS; links++) {
    try {
      absolute = join(realpathSync(dirname(absolute)), basename(absolute));
      // readlink(2) on a mount's root asks no daemon: EINVAL.
      absolute = resolve(dirname(absolute), readlinkSync(absolute));
    } catch {
      break;
    }
  }
  return absolute;
}

/** A FUSE mount whose daemon died answers with ENOTCONN what the kernel has not cached: statfs(2) it never has. */
export function isDeadMount(path: string): boolean {
  try {
    statfsSync(path);
    return false;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOTCONN' || code === 'ECONNABORTED';
  }
}
