import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { inBothModes } from '../support/modes.js';
import { type Rig, sleep, within } from '../support/probe.js';

const churn = fileURLToPath(new URL('../support/churn-child.js', import.meta.url));
const PROCESSES = 4;
const RECORD = 8192;

function output(path: string, board: string, word: number, seconds: number) {
  const child = spawn(process.execPath, [churn, path, board, String(word), String(seconds)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (part) => {
    text += String(part);
  });
  const ended = new Promise<string>((resolve) => child.on('close', () => resolve(text)));
  return { child, ended };
}

const title = (cycles: number): string =>
  `${cycles} locks and unlocks under ${PROCESSES} writing and reading processes: no read while locked, nothing lost`;

/** Locks and unlocks a scope in which processes write and read, in both I/O modes. `seconds`: the most one mode may take. */
export function lockCycles(cycles: number, seconds: number): void {
  inBothModes({ [title(cycles)]: (t, rig) => churnThrough(t, rig, cycles, seconds) });
}

async function churnThrough(t: Test, rig: Rig, cycles: number, seconds: number): Promise<void> {
  const board = rig.board(256);
  const { words } = board;
  const children = Array.from({ length: PROCESSES }, (_, i) =>
    output(rig.path('a', `file-${i}`), board.path, 16 + i * 16, seconds),
  );
  t.teardown(() => {
    for (const { child } of children) child.kill('SIGKILL');
  });
  await sleep(1_000);
  const started = Date.now();
  let errors = 0;
  let longest = 0;
  for (let cycle = 0; cycle < cycles; cycle++) {
    const at = Date.now();
    const receipts = await within(15_000, `lock ${cycle}`, rig.lock('/a'));
    words[1] = (words[1] as number) + 1;
    longest = Math.max(longest, Date.now() - at);
    errors += receipts.reduce((sum, receipt) => sum + receipt.errors.length, 0);
    await sleep(20);
    words[1] = (words[1] as number) + 1;
    await rig.unlock('/a');
    await sleep(60);
  }
  const took = Date.now() - started;
  board.stop();
  const results = await within(20_000, 'the processes', Promise.all(children.map(({ ended }) => ended)));
  t.comment(`${cycles} cycles took ${took} ms, the longest lock ${longest} ms`);
  t.equal(errors, 0, 'no receipt names a file');
  for (const [i, text] of results.entries()) {
    const at = 16 + i * 16;
    const of = (word: number): number => words[at + word] as number;
    t.comment(`process ${i}: ${of(4)} reads, acknowledged up to ${of(1)}`);
    t.ok(of(4) > cycles, 'it read between the locks');
    t.ok(of(1) > cycles, 'and wrote');
    t.equal(of(2), 0, 'reads that worked while the scope was locked');
    t.equal(of(3), 0, 'records that were not what had been written');
    const { allowed, unexpected } = JSON.parse(text) as { allowed: number[][]; unexpected: string[] };
    t.equal(of(5), 0, `errors other than ENOKEY: ${unexpected.join(', ')}`);
    await rig.lock('/a');
    await rig.unlock('/a');
    const kept = readFileSync(rig.path('a', `file-${i}`));
    let lost = 0;
    allowed.forEach((numbers, slot) => {
      const record = kept.subarray(slot * RECORD, (slot + 1) * RECORD);
      if (record.length < RECORD) {
        if (!numbers.includes(0)) lost++;
        return;
      }
      const hash = createHash('sha256').update(record.subarray(40)).update(record.subarray(0, 8)).digest();
      const whole = hash.equals(record.subarray(8, 40));
      if (!whole || !numbers.includes(record.readDoubleLE(0))) lost++;
    });
    t.equal(lost, 0, 'records lost or wrong at the end');
  }
}
