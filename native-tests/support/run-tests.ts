import { spawn, spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Runs the compiled tests below dist/ROOM and says how many assertions passed: `run-tests.js ROOM [FILTER...]`. Unit
 * tests run under tap's runner, two at a time. Native tests run each in a process of its own without the runner, whose
 * loader would ride along in every command that they start: those of TOGETHER two at a time, the others one after
 * another, as they look at processes, caches and delays of the whole machine. `--long`: those that take minutes instead (files that end in .long.ts). With SCOPEFS_TEST_COUNTS set, adds `passed failed` to that file, for .ci/run.
 */
const project = fileURLToPath(new URL('../../../', import.meta.url));
const [room = 'src', ...rest] = process.argv.slice(2);
const filters = rest.filter((argument) => !argument.startsWith('-'));
/** Seconds that one file may take. */
const FILE_LIMIT = rest.includes('--long') ? 900 : 300;

const files = readdirSync(join(project, 'dist', room), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith(rest.includes('--long') ? '.long.js' : '.test.js'))
  .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
  .map((name) => join('dist', room, name))
  .sort();
if (files.length === 0) process.exit(0);

let passed = 0;
let failed = 0;

/** Counts the assertions of TAP output, and prints those that failed with their diagnosis. */
function count(tap: string, from: number): void {
  const lines = tap.split('\n');
  for (const [at, line] of lines.entries()) {
    const match = /^(\s*)(not )?ok \d+(?: - (.*))?$/.exec(line);
    // A subtest's own line repeats its assertions; what is shallower than an assertion is a file's or subtest's.
    if (match === null || (match[1] as string).length < from || / # time=/.test(line)) continue;
    if (match[2] === undefined) {
      passed++;
    } else {
      failed++;
      process.stdout.write(`${lines.slice(at, at + 25).join('\n')}\n`);
    }
  }
}

function runUnits(): void {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-tap-'));
  const output = join(directory, 'output.tap');
  const reporter = process.stdout.isTTY === true ? 'terse' : 'silent';
  const done = spawnSync(
    process.execPath,
    [
      join(project, 'node_modules/.bin/tap'),
      '--jobs=2',
      `--reporter=${reporter}`,
      `--output-file=${output}`,
      ...files,
    ],
    { cwd: project, stdio: 'inherit' },
  );
  try {
    count(readFileSync(output, 'utf8'), 4);
  } catch {
    failed++;
  }
  rmSync(directory, { recursive: true, force: true });
  if (done.status !== 0 && failed === 0) failed = 1;
}

/** Tests that look at nothing but their own vault, and measure no time. */
const TOGETHER =
  /^dist\/native-tests\/((applications|cli|leases|posix|slots|tamper|transport)\/|lock\/(dead-after-lock|memory|nesting|stacked|unaudited-end|under-way|ways-to-read)|daemon\/(locked-mount|mount-sources|suites|signals|service))/;

async function runNative(file: string): Promise<void> {
  const started = Date.now();
  const child = spawn(process.execPath, [file], {
    cwd: project,
    env: { ...process.env, TAP_TIMEOUT: String(FILE_LIMIT) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    output += part;
  });
  // tap ends with TERM what its own limit did not.
  const limit = setTimeout(() => child.kill('SIGKILL'), (FILE_LIMIT + 30) * 1000);
  const ended = await new Promise((resolve) =>
    child.on('close', (status, signal) => resolve(status ?? signal)),
  );
  clearTimeout(limit);
  const before = failed;
  count(output, 4);
  if (ended !== 0 && failed === before) {
    failed++;
    process.stdout.write(`${file} ended with ${ended}\n${output.slice(-2000)}\n`);
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  process.stdout.write(`${failed === before ? 'ok' : 'FAILED'} ${file} ${seconds} s\n`);
}

async function runAll(list: readonly string[], atOnce: number): Promise<void> {
  const left = [...list];
  const one = async (): Promise<void> => {
    for (let file = left.shift(); file !== undefined; file = left.shift()) await runNative(file);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

if (room === 'native-tests') {
  await runAll(
    // The longest are at the end of the alphabet: begun last, one of them would run alone for a minute.
    files.filter((file) => TOGETHER.test(file)).reverse(),
    2,
  );
  await runAll(
    files.filter((file) => !TOGETHER.test(file)),
    1,
  );
} else {
  runUnits();
}

const counts = process.env.SCOPEFS_TEST_COUNTS;
if (counts !== undefined) appendFileSync(counts, `${passed} ${failed}\n`);
process.stdout.write(`${room}: ${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
