import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { run } from '../support/mounted.js';

/** Runs a program to its end and throws where it fails: what it said on standard output. */
export function must(command: string, args: readonly string[], cwd?: string): string {
  const done = run(command, args, cwd);
  if (done.status === 0) return done.stdout;
  throw new Error(`${command} ${args.join(' ')}: exit status ${done.status}: ${done.stderr}`.trim());
}

export function installed(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' }).status === 0;
}

/** Waits without running the event loop. */
export function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** Asks every 5 ms until it is so; false after `milliseconds`. */
export function waitFor(condition: () => boolean, milliseconds = 15_000): boolean {
  for (const end = performance.now() + milliseconds; performance.now() < end; pause(5)) {
    if (condition()) return true;
  }
  return condition();
}

export function mounted(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `);
}

/** Fields of proc_pid_stat(5) from the third (state) on, or undefined where there is no such process. */
function stat(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the name, may hold anything up to its last parenthesis.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** No such process, or one that waits for its parent only. */
export function ended(pid: number): boolean {
  const state = stat(pid)?.[0];
  return state === undefined || state === 'Z';
}

const ticks = Number(spawnSync('getconf', ['CLK_TCK']).stdout) || 100;

/** User and system time of a process with all its threads, in seconds (resolution 1/CLK_TCK, 10 ms). */
export function cpuSeconds(pid: number): number {
  const fields = stat(pid);
  return fields === undefined ? 0 : (Number(fields[11]) + Number(fields[12])) / ticks;
}

/** Most memory a process ever had resident (VmHWM, proc_pid_status(5)), in bytes. */
export function peakMemory(pid: number): number {
  try {
    const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return Number(line?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
