import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { commandOf } from './processes.js';

/** What a process that runs the script `tool` is called, where its main thread has the name `comm`. */
async function calledWith(t: Test, comm: string): Promise<string | undefined> {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-test-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const script = join(directory, 'tool');
  writeFileSync(
    script,
    'require("fs").writeFileSync("/proc/self/comm", process.argv[2]); console.log(); process.stdin.resume()',
  );
  const child = spawn(process.execPath, ['--no-warnings', script, comm], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const called = commandOf(child.pid as number);
  child.stdin.end();
  await once(child, 'exit');
  return called;
}

test('a script is called by its own name, as every Node names its main thread', async (t) => {
  for (const comm of ['node', 'MainThread', 'node-MainThread'])
    t.equal(await calledWith(t, comm), 'tool', comm);
});

test('what is no interpreter is called by its own name, and who is gone not at all', async (t) => {
  t.equal(await calledWith(t, 'rsync'), 'rsync');
  t.equal(commandOf(2 ** 22 + 1), undefined);
});
