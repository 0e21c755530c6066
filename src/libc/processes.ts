import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { errno } from '../base/errno.js';
import { close, open, openPath, read } from './files.js';
import { pinned } from './memory.js';

/** What proc(5) says of a process or thread. Cheap enough to ask at each request: no allocation but the text. */

/** A list of 65,536 groups (NGROUPS_MAX) fits. */
const buffer = pinned(1 << 20);

function readProc(pid: number, file: string): string | undefined {
  const fd = openPath(`/proc/${pid}/${file}`, open.O_RDONLY);
  if (fd < 0) return undefined;
  let length = 0;
  let failed = false;
  for (;;) {
    const got = read(fd, buffer.address + length, buffer.bytes.length - length);
    if (got === -errno.EINTR) continue;
    failed = got < 0;
    if (got <= 0) break;
    length += got;
  }
  close(fd);
  // Cut short, its last number would be another.
  const whole = !failed && length > 0 && length < buffer.bytes.length;
  return whole ? buffer.bytes.toString('utf8', 0, length) : undefined;
}

interface Ancestry {
  readonly parent: number;
  /** In clock ticks since boot: with the pid it names one process for good. */
  readonly started: number;
}

/** Undefined: there is no such process any more. */
export function ancestry(pid: number): Ancestry | undefined {
  const text = readProc(pid, 'stat');
  if (text === undefined) return undefined;
  // The command may hold spaces and parentheses: the last `)` ends it (proc_pid_stat(5)).
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { parent: Number(fields[1]), started: Number(fields[19]) };
}

/** The process that a thread belongs to. */
export function processOf(tid: number): number | undefined {
  const match = /^Tgid:\s(\d+)$/m.exec(readProc(tid, 'status') ?? '');
  return match === null ? undefined : Number(match[1]);
}

/** Its ids in the pid namespace that our /proc shows and in each below that it is in (NSpid). Empty: it is gone. */
export function namespacePids(pid: number): number[] {
  const match = pid > 0 ? /^NSpid:\s(.*)$/m.exec(readProc(pid, 'status') ?? '') : null;
  return (match?.[1] ?? '').split(/\s/).filter(Boolean).map(Number);
}

/** Of a pidfd: its process's id; -1: it ended; undefined: no pidfd (proc_pid_fdinfo(5), pidfd_open(2)). */
export function pidOf(pidfd: number): number | undefined {
  const match = /^Pid:\s(-?\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'utf8'));
  return match === null ? undefined : Number(match[1]);
}

/** Supplementary groups. */
export function groupsOf(pid: number): number[] {
  const match = /^Groups:\s(.*)$/m.exec(readProc(pid, 'status') ?? '');
  return (match?.[1] ?? '').split(' ').filter(Boolean).map(Number);
}

export function userOf(pid: number): number | undefined {
  const match = /^Uid:\s\d+\s(\d+)/m.exec(readProc(pid, 'status') ?? '');
  return match === null ? undefined : Number(match[1]);
}

/** Its control group of version 2, from the hierarchy's root. */
export function cgroupOf(pid: number): string | undefined {
  return /^0::(.*)$/m.exec(readProc(pid, 'cgroup') ?? '')?.[1];
}

/**
 * The unit of the system's systemd in a control group's path: the first component behind the slices. What lies below is
 * named by the unit itself, or by a user's own manager: never the one that was meant.
 */
export function unitIn(cgroup: string | undefined): string | undefined {
  const first = cgroup?.split('/').find((part) => part !== '' && !part.endsWith('.slice'));
  return first !== undefined && /\.(service|scope)$/.test(first) ? first : undefined;
}

/** A Node process's name, and as Node 24 and 26 name their main thread. */
const NODE_NAMES = ['node', 'MainThread', 'node-MainThread'];

/** What people call that process: a script by its own name, not its interpreter's. */
export function commandOf(pid: number): string | undefined {
  const comm = readProc(pid, 'comm')?.trim();
  if (comm === undefined || !NODE_NAMES.includes(comm)) return comm;
  const script = readProc(pid, 'cmdline')
    ?.split('\0')
    .slice(1)
    .find((argument) => !argument.startsWith('-'));
  return script === undefined || script === '' ? comm : basename(script);
}
