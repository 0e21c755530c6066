import { spawn } from 'node:child_process';
import { appendFileSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { countTap } from './tap-count.js';
import { inOrder, watchesClock } from './test-order.js';

/**
 * Runs the compiled tests below dist/ROOM and says how many assertions passed: `run-tests.js ROOM [FILTER...]`. Each file
 * runs in a process of its own without tap's runner: its loader takes half a second a file, and would ride along in every
 * command that a native test starts. `--long`: those that take minutes instead (files that end in .long.ts); `--times`:
 * how long each unit test file took, too. Files that need a program which is not there are not run, and named at the end:
 * with CI=true that is a failure. With SCOPEFS_TEST_COUNTS set, adds `passed failed` to that file, for .ci/run.
 */
const project = fileURLToPath(new URL('../../../', import.meta.url));
const [room = 'src', ...rest] = process.argv.slice(2);
const filters = rest.filter((argument) => !argument.startsWith('-'));
const long = rest.includes('--long');
const native = room === 'native-tests';
const ci = process.env['CI'] === 'true' || process.env['CI'] === '1';
/** Seconds that one file may take. */
const FILE_LIMIT = long ? 900 : 300;
/** Native tests wait for disks, timers and each other's processes: one more than processors keeps those busy. */
const AT_ONCE = availableParallelism() + (native ? 1 : 0);

interface Program {
  readonly program: string;
  readonly tests: readonly string[];
}
/** bin/programs.mjs: plain JavaScript, as the install needs it before anything is compiled. */
interface Programs {
  missingPrograms(): Program[];
  packagesOf(rows: readonly Program[]): string[];
}
const { missingPrograms, packagesOf } = (await import(
  new URL('../../../bin/programs.mjs', import.meta.url).href
)) as Programs;

const files = inOrder(
  readdirSync(join(project, 'dist', room), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(long ? '.long.js' : '.test.js'))
    .filter(
      (name) => filters.length === 0 || filters.some((filter) => join('dist', room, name).includes(filter)),
    )
    .map((name) => join('dist', room, name)),
);

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

if (files.length === 0) {
  say(`${room}: no test file's path has ${filters.join(' or ')}`);
  process.exit(0);
}

const missing = missingPrograms();
/** What a file needs and does not find. */
const lacking = (file: string): Program[] =>
  missing.filter(({ tests }) => tests.some((name) => file.startsWith(`dist/${name}`)));

let passed = 0;
let failed = 0;

async function runFile(file: string): Promise<void> {
  const started = Date.now();
  const child = spawn(process.execPath, [file], {
    cwd: project,
    env: { ...process.env, TAP_TIMEOUT: String(FILE_LIMIT) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let complaints = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    output += part;
  });
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    complaints += part;
  });
  // tap ends with TERM what its own limit did not.
  const limit = setTimeout(() => child.kill('SIGKILL'), (FILE_LIMIT + 30) * 1000);
  const ended = await new Promise((resolve) =>
    child.on('close', (status, signal) => resolve(status ?? signal)),
  );
  clearTimeout(limit);
  const counted = countTap(output);
  passed += counted.passed;
  failed += counted.failed;
  for (const failure of counted.failures) say(failure);
  let broken = counted.failed > 0;
  // It threw, was killed, or asserted nothing: no line of TAP says so.
  if (!broken && (ended !== 0 || !counted.complete || counted.passed === 0)) {
    broken = true;
    failed++;
    say(`${file} ended with ${ended} after ${counted.passed} assertions\n${output.slice(-2000)}`);
  }
  process.stderr.write(complaints);
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (broken || native || rest.includes('--times')) say(`${broken ? 'FAILED' : 'ok'} ${file} ${seconds} s`);
}

async function runAll(list: readonly string[], atOnce: number): Promise<void> {
  const left = [...list];
  const one = async (): Promise<void> => {
    for (let file = left.shift(); file !== undefined; file = left.shift()) await runFile(file);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

const able = files.filter((file) => lacking(file).length === 0);
await runAll(
  able.filter((file) => !watchesClock(file)),
  AT_ONCE,
);
await runAll(able.filter(watchesClock), AT_ONCE);

const unable = files.filter((file) => !able.includes(file));
for (const file of unable) {
  const rows = lacking(file);
  say(
    `NOT RUN ${file}: needs ${rows.map(({ program }) => program).join(', ')}: apt-get install ${packagesOf(rows).join(' ')}`,
  );
}
if (ci) failed += unable.length;
const counts = process.env['SCOPEFS_TEST_COUNTS'];
if (counts !== undefined) appendFileSync(counts, `${passed} ${failed}\n`);
const left = unable.length === 0 ? '' : `, ${unable.length} files NOT RUN`;
say(`${room}: ${passed} passed, ${failed} failed${left}`);
process.exit(failed === 0 ? 0 : 1);
