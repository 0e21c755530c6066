import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../support/mounted.js';

/** Test programs of Debian's that verify what they do. */

/** All of the class, ten seconds each, take about ten minutes. */
const MOST_MS = 1_500_000;

/** The stressors of stress-ng that failed in a directory: its own words. */
export function stressFailures(directory: string, options: readonly string[]): string[] {
  mkdirSync(directory, { recursive: true });
  const done = run('stress-ng', ['--verify', '--temp-path', directory, ...options], undefined, MOST_MS);
  const said = `${done.stdout}${done.stderr}`.split('\n');
  const failed = said.filter((line) => /^stress-ng: (fail|error)/.test(line));
  // Status 3 also says that a stressor was skipped, as verity is on most filesystems.
  const completed = said.some((line) => line.includes('successful run completed'));
  if (done.status !== 0 && !completed && failed.length === 0)
    failed.push(`exit status ${done.status}: ${said.slice(-3).join(' ')}`);
  // Their process numbers differ from run to run.
  return failed.map((line) => line.replace(/\[\d+\] /, '').replaceAll(directory, 'DIR'));
}

export const ENGINES = [
  ['sync', 0],
  ['sync', 1],
  ['libaio', 0],
  ['libaio', 1],
  ['io_uring', 0],
  ['io_uring', 1],
  ['mmap', 0],
] as const;

/** fio with verification: what it said if it failed. */
export function fioFailure(
  directory: string,
  engine: string,
  direct: number,
  megabytes: number,
): string | undefined {
  mkdirSync(directory, { recursive: true });
  const done = run('fio', [
    `--name=verify-${engine}-${direct}`,
    `--directory=${directory}`,
    `--ioengine=${engine}`,
    `--direct=${direct}`,
    '--rw=randrw',
    '--bsrange=512-64k',
    `--size=${megabytes}m`,
    '--verify=crc32c',
    '--verify_fatal=1',
    '--iodepth=8',
    '--numjobs=2',
    '--minimal',
    // Else it leaves a file of its own in the working directory.
    '--verify_state_save=0',
  ]);
  rmSync(directory, { recursive: true, force: true });
  return done.status === 0 ? undefined : `${join(engine, String(direct))}: ${done.stderr || done.stdout}`;
}
