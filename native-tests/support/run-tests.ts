import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Runs the compiled tests below dist/ROOM with tap and says how many assertions passed. With SCOPEFS_TEST_COUNTS set,
 * adds `passed failed` to that file, for .ci/run.
 */
const project = fileURLToPath(new URL('../../../', import.meta.url));
const [room = 'src', ...rest] = process.argv.slice(2);
const filters = rest.filter((argument) => !argument.startsWith('-'));

const files = readdirSync(join(project, 'dist', room), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
  .map((name) => join('dist', room, name))
  .sort();
if (files.length === 0) process.exit(0);

const directory = mkdtempSync(join(tmpdir(), 'scopefs-tap-'));
const output = join(directory, 'output.tap');
// Tests of one mount at a time: they look at processes, mounts and timing of the whole machine.
const jobs = room === 'native-tests' ? '1' : '2';
const done = spawnSync(
  process.execPath,
  [
    join(project, 'node_modules/.bin/tap'),
    `--jobs=${jobs}`,
    `--reporter=${process.stdout.isTTY === true ? 'terse' : 'silent'}`,
    `--output-file=${output}`,
    ...files,
  ],
  { cwd: project, stdio: 'inherit' },
);

let passed = 0;
let failed = 0;
try {
  const lines = readFileSync(output, 'utf8').split('\n');
  for (const [at, line] of lines.entries()) {
    // Assertions are indented below their file and subtest; a file's or subtest's own line repeats them.
    if (!/^ {4}/.test(line)) continue;
    const match = /^\s+(not )?ok \d+ - (.*)$/.exec(line);
    if (match === null || / # time=/.test(line)) continue;
    if (match[1] === undefined) passed++;
    else failed++;
    // With its diagnosis, which follows it in deeper indentation.
    if (match[1] !== undefined) process.stdout.write(`${lines.slice(at, at + 25).join('\n')}\n`);
  }
} catch {
  failed++;
}
rmSync(directory, { recursive: true, force: true });
if (done.status !== 0 && failed === 0) failed = 1;
const counts = process.env.SCOPEFS_TEST_COUNTS;
if (counts !== undefined) appendFileSync(counts, `${passed} ${failed}\n`);
process.stdout.write(`${room}: ${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
