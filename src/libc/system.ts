import { openSync, readFileSync, readSync } from 'node:fs';
import type { Clock } from '../base/clock.js';
import { Errno } from '../base/errno.js';
import { libcFunction, result } from './ffi.js';
import { pinned } from './memory.js';

const clockGettime = libcFunction('clock_gettime', 'i', 'ip');
const gettidCall = libcFunction('gettid', 'i', '');
const umaskCall = libcFunction('umask', 'i', 'u');
const unshareCall = libcFunction('unshare', 'i', 'i');
const prctlCall = libcFunction('prctl', 'i', 'ipppp');
const eventfdCall = libcFunction('eventfd', 'i', 'ui');
const pollCall = libcFunction('poll', 'i', 'ppi');
const mountCall = libcFunction('mount', 'i', 'ppppp');
const umount2Call = libcFunction('umount2', 'i', 'pi');
const openByHandleCall = libcFunction('open_by_handle_at', 'i', 'ipi');
const getsockoptCall = libcFunction('getsockopt', 'i', 'iiipp');

const CLOCK_REALTIME = 0;
const CLOCK_BOOTTIME = 7;
const CLONE_FS = 0x200;
const PR_SET_DUMPABLE = 4;
const PR_SET_CHILD_SUBREAPER = 36;
const PR_SET_IO_FLUSHER = 57;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERPIDFD = 77;

const timespec = pinned(16);
const structs = pinned(64);
const one = pinned(8);
one.bytes.writeUInt32LE(1, 0);

function now(clock: number): number {
  clockGettime(clock, timespec.address);
  const bytes = timespec.bytes;
  return (bytes.readInt32LE(4) * 0x1_0000_0000 + bytes.readUInt32LE(0)) * 1000 + bytes.readUInt32LE(8) / 1e6;
}

export const systemClock: Clock = {
  boottime: () => now(CLOCK_BOOTTIME),
  wall: () => now(CLOCK_REALTIME),
};

/** How many descriptors this process may have: RLIMIT_NOFILE, proc_pid_limits(5). */
export function descriptorLimit(): number {
  const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'latin1'));
  return line?.[1] === undefined || line[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line[1]);
}

export function gettid(): number {
  return gettidCall();
}
export function umask(mask: number): number {
  return umaskCall(mask);
}
/** Gives the calling thread a umask and working directory of its own: unshare(CLONE_FS). */
export function unshareFs(): number {
  return result(unshareCall(CLONE_FS));
}
/** No core dumps, and no ptrace by other users' processes (prctl(2), PR_SET_DUMPABLE 0). */
export function forbidDumps(): number {
  return result(prctlCall(PR_SET_DUMPABLE, 0, 0, 0, 0));
}
/** Memory reclaim in this thread must not wait for our own mount's writeback: prctl(2), PR_SET_IO_FLUSHER. */
export function becomeIoFlusher(): number {
  return result(prctlCall(PR_SET_IO_FLUSHER, 1, 0, 0, 0));
}
/** Orphans among our descendants become our children, not init's: prctl(2), PR_SET_CHILD_SUBREAPER. */
export function adoptOrphans(): number {
  return result(prctlCall(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
}
export function eventfd(): number {
  // EFD_CLOEXEC | EFD_NONBLOCK
  return result(eventfdCall(0, 0o2004000));
}

/** Waits for input on the descriptors; bit i of the result is set where descriptor i is ready. -errno on failure. */
export class Poll {
  readonly #structs;
  readonly #count: number;
  constructor(descriptors: readonly number[]) {
    this.#count = descriptors.length;
    this.#structs = pinned(8 * descriptors.length);
    descriptors.forEach((fd, index) => {
      this.#structs.bytes.writeInt32LE(fd, index * 8);
      this.#structs.bytes.writeInt16LE(1, index * 8 + 4);
    });
  }
  /** `timeout` in milliseconds, -1 for ever. */
  wait(timeout: number): number {
    const ready = result(pollCall(this.#structs.address, this.#count, timeout));
    if (ready <= 0) return ready;
    let mask = 0;
    for (let index = 0; index < this.#count; index++) {
      if (this.#structs.bytes.readInt16LE(index * 8 + 6) !== 0) mask |= 1 << index;
    }
    return mask;
  }
}

const paths = [pinned(4608), pinned(4608), pinned(256), pinned(4608)] as const;
function text(index: 0 | 1 | 2 | 3, value: string): number {
  const buffer = paths[index];
  const length = buffer.bytes.write(value, 0, buffer.bytes.length - 1);
  buffer.bytes[length] = 0;
  return buffer.address;
}
export function mount(source: string, target: string, type: string, flags: number, data: string): number {
  return result(mountCall(text(0, source), text(1, target), text(2, type), flags, text(3, data)));
}
export const MNT_DETACH = 2;
export function umount2(target: string, flags: number): number {
  return result(umount2Call(text(1, target), flags));
}

/**
 * Opens an inode of a FUSE mount by nodeid, without a path: open_by_handle_at(2) with the kernel's FUSE handle
 * (type 0x81: nodeid high, nodeid low, generation). -ESTALE: the kernel has it not in its cache.
 */
export function openByNodeid(mountFd: number, nodeid: number, flags: number): number {
  const bytes = structs.bytes;
  bytes.writeUInt32LE(12, 0);
  bytes.writeInt32LE(0x81, 4);
  bytes.writeUInt32LE(Math.floor(nodeid / 0x1_0000_0000), 8);
  bytes.writeUInt32LE(nodeid % 0x1_0000_0000, 12);
  bytes.writeUInt32LE(0, 16);
  return result(openByHandleCall(mountFd, structs.address, flags | 0o2000000));
}

interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}
/** Who connected to a Unix socket: SO_PEERCRED (unix(7)). */
export function peerCredentials(fd: number): PeerCredentials | number {
  structs.bytes.writeUInt32LE(12, 32);
  const done = result(getsockoptCall(fd, SOL_SOCKET, SO_PEERCRED, structs.address, structs.address + 32));
  if (done < 0) return done;
  return {
    pid: structs.bytes.readInt32LE(0),
    uid: structs.bytes.readUInt32LE(4),
    gid: structs.bytes.readUInt32LE(8),
  };
}

/** A pidfd of who connected (SO_PEERPIDFD, Linux 6.5), or -errno: ENOPROTOOPT where the kernel has none. */
export function peerPidfd(fd: number): number {
  structs.bytes.writeUInt32LE(4, 32);
  const done = result(getsockoptCall(fd, SOL_SOCKET, SO_PEERPIDFD, structs.address, structs.address + 32));
  return done < 0 ? done : structs.bytes.readInt32LE(0);
}

/** The running kernel's version as [major, minor]. */
export function kernelVersion(): readonly [number, number] {
  const fd = openSync('/proc/sys/kernel/osrelease', 'r');
  const bytes = Buffer.alloc(128);
  const match = /^(\d+)\.(\d+)/.exec(bytes.toString('latin1', 0, readSync(fd, bytes)));
  return [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
}

/** An eventfd's write: wakes the thread that polls it. */
const writeCall = libcFunction('write', 'l', 'ipp');
const readCall = libcFunction('read', 'l', 'ipp');
export function ring(fd: number): void {
  writeCall(fd, one.address, 8);
}
export function unring(fd: number): void {
  readCall(fd, structs.address + 40, 8);
}

const syncfsCall = libcFunction('syncfs', 'i', 'i');
/** Writes everything of the filesystem that holds `fd`, and waits: syncfs(2). */
export function syncfs(fd: number): number {
  return result(syncfsCall(fd));
}

const malloptCall = libcFunction('mallopt', 'i', 'ii');
const M_PERTURB = -6;
/** From now on glibc overwrites what is freed, in every library of this process: mallopt(3), M_PERTURB. */
export function overwriteFreed(): void {
  malloptCall(M_PERTURB, 0xa5);
}

const pipe2Call = libcFunction('pipe2', 'i', 'pi');
/** A pipe: [read end, write end], close-on-exec. */
export function pipe(): [number, number] {
  const done = result(pipe2Call(structs.address + 48, 0o2000000));
  if (done < 0) throw new Errno(-done, 'pipe2');
  return [structs.bytes.readInt32LE(48), structs.bytes.readInt32LE(52)];
}
