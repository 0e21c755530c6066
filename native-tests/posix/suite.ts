import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { busyRows, type ErrorRow, readOnlyRows, rows } from './errors.js';
import { scenarios } from './scenarios.js';
import { kernelScenarios } from './scenarios-kernel.js';
import { as, outcome, put, sys } from './sys.js';

/** Runs `act` in a fresh directory below `base` that everybody may enter. */
function inside<T>(base: string, act: () => T): T {
  const directory = mkdtempSync(join(base, 'posix-'));
  const back = process.cwd();
  sys.chmod(base, 0o755);
  sys.chmod(directory, 0o777);
  process.chdir(directory);
  try {
    return act();
  } finally {
    process.chdir(back);
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What each of some rows of the table gave in a directory: in their order. */
export function errorsIn(base: string, some: readonly ErrorRow[] = rows): string[] {
  return some.map(({ who, prepare, act }) =>
    inside(base, () => {
      prepare?.();
      return as(who, () => outcome(act()));
    }),
  );
}

/** What each scenario showed in a directory. */
export function observationsIn(base: string, only?: readonly string[]): Record<string, unknown> {
  const seen: Record<string, unknown> = {};
  for (const [name, play] of Object.entries({ ...scenarios, ...kernelScenarios })) {
    if (only !== undefined && !only.includes(name)) continue;
    const umask = sys.umask(0o022);
    try {
      seen[name] = inside(base, play);
    } catch (error) {
      seen[name] = `threw ${error}`;
    }
    sys.umask(umask);
  }
  return seen;
}

export function fresh(base: string, name: string): string {
  const directory = join(base, name);
  mkdirSync(directory, { recursive: true });
  return directory;
}

type Row = { readonly call: string; readonly error: string; readonly act: () => number };
const play = (list: readonly Row[]): string[] => list.map(({ act }) => outcome(act()));

/** What can't be done to a program that runs. */
export function busyIn(base: string): string[] {
  return inside(base, () => {
    copyFileSync('/bin/sleep', 'busy');
    sys.chmod('busy', 0o755);
    const running: ChildProcess = spawn('./busy', ['100'], { stdio: 'ignore' });
    // spawn returns once the program was executed, or could not be.
    const seen = running.pid === undefined ? ['not started'] : play(busyRows);
    running.kill('SIGKILL');
    if (running.pid !== undefined)
      spawnSync('tail', ['--pid', String(running.pid), '-f', '/dev/null'], { timeout: 1000 });
    return seen;
  });
}

/** What can't be done where a directory is mounted read-only. */
export function readOnlyIn(base: string): string[] {
  return inside(base, () => {
    put('f', 'content');
    sys.mkdir('d');
    const here = process.cwd();
    if (spawnSync('mount', ['--bind', here, here]).status !== 0) return ['could not bind'];
    try {
      if (spawnSync('mount', ['-o', 'remount,bind,ro', here]).status !== 0)
        return ['could not make it read-only'];
      // Into the new mount.
      process.chdir(here);
      return play(readOnlyRows);
    } finally {
      process.chdir('/');
      spawnSync('umount', [here]);
    }
  });
}
