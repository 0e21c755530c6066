import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { Failure } from '../base/failure.js';
import { mounts } from '../fuse/mount-table.js';
import type { KnownCallers } from '../keyring/leases/visibility.js';
import { ancestry, cgroupOf, namespacePids, processOf, unitIn } from '../libc/processes.js';
import { peerEndedOf } from './connections.js';
import type { Peer } from './service.js';

const unknown = (pid: number | string): Failure =>
  new Failure('not_found', `there is no process ${pid}`, { reason: 'process_unknown' });

const running = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^[1-9][0-9]*$/.test(name))
    .map(Number);

/** Where control groups can be looked at, if anywhere: else by processes in them. */
const hierarchies = (): string[] =>
  mounts()
    .filter(({ type }) => type === 'cgroup2')
    .map(({ mountPoint }) => mountPoint);

/** As {@link unitIn} reads a control group: behind slices alone. */
function unitBelow(directory: string, name: string): boolean {
  if (existsSync(join(directory, name))) return true;
  try {
    return readdirSync(directory).some(
      (entry) => entry.endsWith('.slice') && unitBelow(join(directory, entry), name),
    );
  } catch {
    // A slice that has just ended.
    return false;
  }
}

/** Undefined: not ours to see (ptrace(2), "Ptrace access mode checking"), or gone. */
function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}

/** The process of a peer's number, which counts in the peer's pid namespace (pid_namespaces(7)), as our number. */
function ours(peer: Peer, number: number): number {
  const levels = namespacePids(peer.pid);
  if (peer.pid <= 0 || levels.length === 0) {
    throw new Failure(
      'usage',
      `process ${number} can't be told: the caller's pid namespace is not below ours`,
      {
        reason: 'process_elsewhere',
      },
    );
  }
  if (levels.length === 1) return number;
  const namespace = namespaceOf(peer.pid);
  const found = running().filter((pid) => {
    const theirs = namespacePids(pid);
    return (
      theirs.length === levels.length &&
      theirs[levels.length - 1] === number &&
      namespaceOf(pid) === namespace
    );
  });
  if (namespace === undefined || found.length !== 1) {
    throw new Failure('not_found', `there is no process ${number} in the caller's pid namespace`, {
      reason: 'process_elsewhere',
    });
  }
  return found[0] as number;
}

/** What a peer says of processes and groups of them, made what it is for us, and refused where it is nothing. */
export function callersOf(peer: Peer, socket: Socket): KnownCallers {
  return {
    process: (named) => {
      const id = named === 'self' ? peer.pid : ours(peer, named);
      const started = id > 0 ? ancestry(id)?.started : undefined;
      // The connection may be another process's by now, and the number too: after this look it was not, before it.
      if (started === undefined || (named === 'self' && peerEndedOf(socket))) {
        throw named === 'self' && peer.pid <= 0
          ? new Failure('usage', "self can't be told: the caller's pid namespace is not below ours", {
              reason: 'process_elsewhere',
            })
          : unknown(named);
      }
      const whole = processOf(id);
      if (whole !== undefined && whole !== id) {
        throw new Failure('usage', `${named} is a thread of process ${whole}`, {
          reason: 'process_is_thread',
        });
      }
      return { id, started };
    },
    cgroup: (path) => {
      const made = hierarchies().some((root) => existsSync(join(root, path, 'cgroup.procs')));
      const holds = (pid: number): boolean =>
        `${cgroupOf(pid) ?? ''}/`.startsWith(`${path === '/' ? '' : path}/`);
      if (made || running().some(holds)) return;
      throw new Failure('not_found', `there is no control group ${path}`, { reason: 'cgroup_unknown' });
    },
    unit: (name) => {
      if (hierarchies().some((root) => unitBelow(root, name))) return;
      if (running().some((pid) => unitIn(cgroupOf(pid)) === name)) return;
      throw new Failure('not_found', `no unit ${name} is running`, { reason: 'unit_unknown' });
    },
  };
}
