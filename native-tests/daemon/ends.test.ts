import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { project } from '../support/mounted.js';

/** Runs a program as an ES module; how it ended and how long that took. */
function script(source: string): Promise<{ code: number | null; stderr: string; seconds: number }> {
  const started = Date.now();
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-ends-'));
  const file = join(directory, 'script.mjs');
  writeFileSync(file, source);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [file], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (part) => {
      stderr += String(part);
    });
    const guard = setTimeout(() => child.kill('SIGKILL'), 10_000);
    child.on('close', (code) => {
      clearTimeout(guard);
      rmSync(directory, { recursive: true });
      resolve({ code, stderr, seconds: (Date.now() - started) / 1000 });
    });
  });
}

const dist = join(project, 'dist/src');
/** A worker that sits in a foreign call for ever, as the filesystem worker does in poll(2). */
const stuck = `
  import { Worker } from 'node:worker_threads';
  import { endOnThrow } from '${dist}/libc/process-end.js';
  new Worker(\`
    import('${dist}/libc/system.js').then(({ Poll, eventfd }) => new Poll([eventfd()]).wait(-1));
  \`, { eval: true });
  await new Promise((resolve) => setTimeout(resolve, 300));
`;

test('a throw in the main thread ends the process although a worker sits in poll(2)', async (t) => {
  for (const how of ["throw new Error('planted')", "Promise.reject(new Error('planted'))"]) {
    const end = await script(`${stuck} endOnThrow('server'); setTimeout(() => { ${how} }, 10);`);
    t.equal(end.code, 70, end.stderr);
    t.match(end.stderr, /^scopefs: server failed: Error: planted/);
    t.equal(end.stderr.trim().split('\n').length, 1, 'one line says why');
    t.ok(end.seconds < 5, `${end.seconds} s`);
  }
});

test('each worker of the daemon ends the process when it throws', async (t) => {
  // Each real worker file, started with data that makes its first steps throw.
  for (const name of ['filesystem', 'notifier', 'io']) {
    const end = await script(
      `${stuck} new Worker(new URL('file://${dist}/worker/${name}-worker.js'), { workerData: { tree: '/nonexistent' } });`,
    );
    t.equal(end.code, 70, end.stderr);
    t.match(end.stderr, new RegExp(`^scopefs: ${name} worker failed: `));
    t.equal(end.stderr.trim().split('\n').length, 1);
  }
});

test('every thread of the daemon installs the end first', async (t) => {
  for (const name of [
    'daemon/server',
    'worker/filesystem-worker',
    'worker/notifier-worker',
    'worker/io-worker',
  ]) {
    const text = readFileSync(join(project, `src/${name}.ts`), 'utf8');
    const body = text.replaceAll(/^import[\s\S]*?;$/gm, '').replaceAll(/\/\*[\s\S]*?\*\//g, '');
    t.match(body.trim(), /^endOnThrow\(/, name);
  }
});
