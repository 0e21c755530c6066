import { Errno, errno, errnoName } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import type { GivenReason } from '../base/reasons.js';
import { open, openPath } from '../libc/files.js';
import { kernelVersion, MNT_DETACH, mount, umount2 } from '../libc/system.js';
import { isDeadMount, mountAt } from './mount-table.js';

/** The oldest kernel that has what the lock needs: named at mount (DESIGN.md). */
const FLOOR = [6, 6] as const;

const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;

interface MountOptions {
  /** Shown in /proc/mounts as the device. */
  readonly source: string;
  readonly mountPoint: string;
  readonly suid: boolean;
  readonly dev: boolean;
  readonly readOnly: boolean;
}

export function checkKernel(version = kernelVersion()): void {
  const [major, minor] = version;
  if (major > FLOOR[0] || (major === FLOOR[0] && minor >= FLOOR[1])) return;
  throw new Failure(
    'unsupported_system',
    `Linux ${major}.${minor} is too old: scopefs needs ${FLOOR.join('.')} or newer`,
    { reason: 'kernel_too_old' },
  );
}

const DEVICE_REASONS: Record<number, GivenReason> = {
  [errno.ENOENT]: 'device_missing',
  [errno.ENODEV]: 'device_without_module',
  [errno.EACCES]: 'device_forbidden',
  [errno.EPERM]: 'device_not_permitted',
};

/** Opens /dev/fuse, not blocking. */
export function openDevice(path = '/dev/fuse'): number {
  const fd = openPath(path, open.O_RDWR | open.O_NONBLOCK);
  if (fd >= 0) return fd;
  const reason = DEVICE_REASONS[-fd];
  throw new Failure(
    'unsupported_system',
    `${path} cannot be opened (${errnoName(-fd)})`,
    reason === undefined ? {} : { reason },
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
        reason: { name: 'mount_dead', path },
      },
    );
  } else if (there !== undefined && there.type === 'fuse.scopefs') {
    throw new Failure('busy', `${path} is mounted already`, {
      reason: { name: 'mount_present', path },
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
  const { suid, dev, readOnly } = options;
  const flags = (suid ? 0 : MS_NOSUID) | (dev ? 0 : MS_NODEV) | (readOnly ? MS_RDONLY : 0);
  const done = mount(options.source, options.mountPoint, 'fuse.scopefs', flags, data);
  if (done >= 0) return;
  throw new Failure('bad_mount_point', `mounting on ${options.mountPoint} failed (${errnoName(-done)})`, {
    reason: -done === errno.EPERM ? 'mount_not_permitted' : 'mount_refused',
  });
}

/** Unmounts: 0, or -errno (EBUSY while it is in use). */
export function unmountFuse(path: string, detach = false): number {
  return umount2(path, detach ? MNT_DETACH : 0);
}
