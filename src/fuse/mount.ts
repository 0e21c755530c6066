import { Errno, errno, errnoName } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import { open, openPath } from '../libc/files.js';
import { kernelVersion, MNT_DETACH, mount, umount2 } from '../libc/system.js';
import { isDeadMount, mountAt } from './mount-table.js';

/** The oldest kernel that has what the lock needs: named at mount (DESIGN.md). */
const FLOOR = [6, 6] as const;

const MS_NOSUID = 2;
const MS_NODEV = 4;

interface MountOptions {
  /** Shown in /proc/mounts as the device. */
  readonly source: string;
  readonly mountPoint: string;
  readonly suid: boolean;
  readonly dev: boolean;
}

export function checkKernel(version = kernelVersion()): void {
  const [major, minor] = version;
  if (major > FLOOR[0] || (major === FLOOR[0] && minor >= FLOOR[1])) return;
  throw new Failure(
    'unsupported_system',
    `Linux ${major}.${minor} is too old: scopefs needs ${FLOOR.join('.')} or newer`,
    { hint: 'Debian 13, Ubuntu 24.04.1 with its HWE kernel, Fedora 39 and Debian 12 with backports have it' },
  );
}

/** Opens /dev/fuse, not blocking. */
export function openDevice(path = '/dev/fuse'): number {
  const fd = openPath(path, open.O_RDWR | open.O_NONBLOCK);
  if (fd >= 0) return fd;
  const hints: Record<number, string> = {
    [errno.ENOENT]: 'load the module with: modprobe fuse (in a container: --device /dev/fuse)',
    [errno.ENODEV]: 'load the module with: modprobe fuse',
    [errno.EACCES]: 'mount as root',
    [errno.EPERM]: 'in a container: --device /dev/fuse --cap-add SYS_ADMIN',
  };
  const hint = hints[-fd];
  throw new Failure(
    'unsupported_system',
    `${path} cannot be opened (${errnoName(-fd)})`,
    hint === undefined ? {} : { hint },
  );
}

/** A mount point must be an empty, living directory that nothing of ours is mounted on. Clears a dead mount of ours. */
export function prepareMountPoint(path: string): { clearedDeadMount: boolean } {
  let clearedDeadMount = false;
  const dead = isDeadMount(path);
  const there = mountAt(path);
  if (dead && there?.type === 'fuse.scopefs') {
    const done = umount2(path, MNT_DETACH);
    if (done < 0) throw new Errno(-done, 'umount', path);
    clearedDeadMount = true;
  } else if (dead) {
    throw new Failure(
      'bad_mount_point',
      `${path} has a dead mount on it (${there?.type ?? 'unknown type'})`,
      {
        hint: `remove it first with: umount -l ${path}`,
      },
    );
  } else if (there !== undefined && there.type === 'fuse.scopefs') {
    throw new Failure('busy', `${path} is mounted already`, {
      hint: `unmount it first with: scopefs unmount ${path}`,
    });
  }
  return { clearedDeadMount };
}

/** mount(2) of type fuse.scopefs on `fd`, for everybody, with the kernel's own permission checks. */
export function mountFuse(fd: number, options: MountOptions): void {
  const data = [
    `fd=${fd}`,
    'rootmode=40000',
    'user_id=0',
    'group_id=0',
    'allow_other',
    'default_permissions',
  ].join(',');
  const flags = (options.suid ? 0 : MS_NOSUID) | (options.dev ? 0 : MS_NODEV);
  const done = mount(options.source, options.mountPoint, 'fuse.scopefs', flags, data);
  if (done >= 0) return;
  const hint = -done === errno.EPERM ? 'mounting needs root (CAP_SYS_ADMIN)' : 'see the kernel log: dmesg';
  throw new Failure('bad_mount_point', `mounting on ${options.mountPoint} failed (${errnoName(-done)})`, {
    hint,
  });
}

/** Unmounts: 0, or -errno (EBUSY while it is in use). */
export function unmountFuse(path: string, detach = false): number {
  return umount2(path, detach ? MNT_DETACH : 0);
}
