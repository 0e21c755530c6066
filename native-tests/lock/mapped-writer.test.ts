import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { open } from '../../src/libc/files.js';
import { monotonic, PAGE } from '../support/board.js';
import { Rig, sleep, within } from '../support/probe.js';

/** When the lock begins, counted from the moment when all writers run. */
const BEFORE_MS = 2_500;
/** Stores of each page before the lock, at least. */
const ROUNDS = 2;

interface Row {
  /** How long a writer goes on where nothing stops it. */
  milliseconds: number;
  files: number;
  pages: number;
  others: number;
}

/** Writers that store counters into mapped pages without a pause, through a lock. `others`: more files, closed. */
function tortured(name: string, { milliseconds, files, pages, others }: Row): void {
  test(name, async (t) => {
    const rig = new Rig();
    t.teardown(() => rig.remove());
    rig.createScope('/a');
    for (let i = 0; i < others; i++) writeFileSync(rig.path('a', `other-${i}`), Buffer.alloc(PAGE, i));
    const writers = [];
    const latest = monotonic() + milliseconds - BEFORE_MS;
    for (let i = 0; i < files; i++) {
      const path = rig.path('a', `file-${i}`);
      writeFileSync(path, Buffer.alloc(pages * PAGE));
      const probe = rig.probe();
      const fd = await probe.must('open', { path, flags: open.O_RDWR });
      const map = await probe.must('map', { fd, length: pages * PAGE, write: true });
      const board = rig.board(pages + 1);
      const order = { map, board: board.path, milliseconds };
      const done = probe.call('count', order);
      writers.push({ path, probe, board, map, done });
    }
    await sleep(BEFORE_MS);
    // A loaded machine may not have come so far: the rounds count, not the time.
    while (writers.some(({ board }) => (board.words[1] as number) <= ROUNDS) && monotonic() < latest)
      await sleep(20);
    const at = monotonic();
    const before = writers.map(({ board }) => board.words.slice());
    const [receipt] = await within(15_000, 'the lock', rig.lock('/a'));
    const took = monotonic() - at;
    t.same(receipt?.errors, []);
    for (const { done } of writers) {
      const { signal } = await within(milliseconds + 3_000, 'the writer', done);
      t.equal(signal, 'SIGBUS', 'the writer was stopped by its next store');
    }
    const after = writers.map(({ board }) => board.words.slice());
    t.same(rig.stuck(), []);
    await rig.unlock('/a');
    let lost = 0;
    let late = 0;
    let torn = 0;
    for (const [i, { path }] of writers.entries()) {
      const kept = readFileSync(path);
      t.ok((before[i]?.[1] ?? 0) > ROUNDS, `writer ${i} stored ${before[i]?.[1]} rounds before the lock`);
      for (let page = 0; page < pages; page++) {
        const first = kept.readUInt32LE(page * PAGE);
        const last = kept.readUInt32LE(page * PAGE + 4092);
        if (first < (before[i]?.[page + 1] as number) || last < (before[i]?.[page + 1] as number)) lost++;
        // A page is written while its second word may be a store behind.
        if (first !== last && first !== last + 1) torn++;
        if (first > (after[i]?.[page + 1] as number) + 1) late++;
      }
    }
    t.equal(lost, 0, 'pages that lost a store completed before the lock began');
    t.equal(torn, 0, 'pages that no moment of the writer explains');
    t.equal(late, 0, 'pages with a value that was never stored');
    const sum = (boards: Float64Array[]): number =>
      boards.reduce((all, words) => all + words.reduce((a, b) => a + b, 0), 0);
    t.comment(
      `lock took ${took.toFixed(0)} ms, ${sum(after) - sum(before)} stores were made while it ran, ` +
        `${receipt?.bytes_flushed} bytes flushed`,
    );
  });
}

tortured('a mapped writer of many pages loses no store that was complete before the lock', {
  milliseconds: 20_000,
  files: 1,
  pages: 4096,
  others: 0,
});
tortured('three mapped writers of few pages beside many files lose no store', {
  milliseconds: 30_000,
  files: 3,
  pages: 64,
  others: 500,
});
