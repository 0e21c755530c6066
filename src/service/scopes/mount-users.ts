import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { MountUserView } from '../../control/schemas.js';
import { type MountEntry, mounts } from '../../fuse/mount-table.js';
import { commandOf } from '../../libc/processes.js';

const text = (path: string): string => {
  try {
    return readFileSync(path, 'utf8').trimEnd();
  } catch {
    // Not there, or not ours to read.
    return '';
  }
};
function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/**
 * Loop devices whose file is there (loop(4): /sys/block/loopN/loop/backing_file), with what is on them. The only way for swap
 * to be there: swapon(2) takes no file of FUSE (EINVAL).
 */
function loopDevices(below: (path: string) => boolean, table: readonly MountEntry[]): MountUserView[] {
  const swaps = text('/proc/swaps').split('\n');
  return names('/sys/block').flatMap((name) => {
    const file = text(`/sys/block/${name}/loop/backing_file`);
    if (!below(file)) return [];
    const device = `/dev/${name}`;
    const steps = [
      ...(swaps.some((line) => line.startsWith(`${device} `)) ? [`swapoff ${device}`] : []),
      ...table.filter((entry) => entry.device === device).map(({ mountPoint }) => `umount ${mountPoint}`),
      `losetup -d ${device}`,
    ];
    return [{ what: `the loop device ${device} of ${file}`, end: steps.join(' && ') }];
  });
}

/** A process each of the mount namespaces that are not ours (mount_namespaces(7)). */
function otherNamespaces(): number[] {
  const seen = new Set([namespaceOf('self')]);
  return names('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const namespace = namespaceOf(pid);
      if (namespace === undefined || seen.has(namespace)) return false;
      seen.add(namespace);
      return true;
    })
    .map(Number);
}
function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return undefined;
  }
}

/** What holds a mount that no process has open: looked up where somebody wants to unmount it. `device`: its number. */
export function mountUsersOf(mountPoint: string, device: string): MountUserView[] {
  const below = (path: string): boolean => path.startsWith(`${mountPoint}/`);
  const table = mounts();
  const nested = table
    .filter((entry) => below(entry.mountPoint) && entry.deviceNumber !== device)
    .map(({ mountPoint: at, type }) => ({ what: `a mount of ${type} on ${at}`, end: `umount ${at}` }));
  const bound = table
    .filter((entry) => entry.mountPoint !== mountPoint && entry.deviceNumber === device)
    .map(({ mountPoint: at }) => ({ what: `a bind mount of it on ${at}`, end: `umount ${at}` }));
  const elsewhere = otherNamespaces().flatMap((pid) =>
    mounts(text(`/proc/${pid}/mountinfo`))
      .filter(({ deviceNumber }) => deviceNumber === device)
      .map(({ mountPoint: at }) => ({
        what: `the mount namespace of ${commandOf(pid) ?? 'a process'} (pid ${pid}), where it is on ${at}`,
        end: `nsenter -t ${pid} -m umount ${at}`,
      })),
  );
  return [...loopDevices(below, table), ...nested, ...bound, ...elsewhere];
}
