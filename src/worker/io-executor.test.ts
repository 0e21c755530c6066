import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { test } from 'tap';
import { errno } from '../base/errno.js';
import { LARGE } from '../filesystem/content/open-file.js';
import type { Job } from '../filesystem/disk/backing.js';
import { LibcBacking } from '../filesystem/disk/libc-backing.js';
import { Doorbell, word } from '../libc/doorbell.js';
import { open, openPath } from '../libc/files.js';
import { ioBuffer } from '../libc/memory.js';
import { eventfd } from '../libc/system.js';
import { IoExecutor } from './io-executor.js';
import { IoLine } from './io-line.js';

/** The executor with real threads on the real disk. */

const WORKERS = 3;

class Bench {
  readonly directory = mkdtempSync(join(tmpdir(), 'scopefs-io-'));
  readonly doorbell: Doorbell;
  readonly backing: LibcBacking;
  readonly executor: IoExecutor;
  readonly #workers: Worker[] = [];
  several = true;
  asked = 0;

  constructor(workers = WORKERS) {
    const parts = Doorbell.parts(eventfd());
    this.doorbell = new Doorbell(parts);
    const lines = Array.from({ length: workers }, () => new IoLine());
    for (const { memory } of lines) {
      const workerData = { line: memory, doorbell: parts };
      this.#workers.push(new Worker(new URL('./io-worker.js', import.meta.url), { workerData }));
    }
    this.backing = new LibcBacking(openPath(this.directory, open.O_RDONLY | open.O_DIRECTORY));
    const bench = this;
    this.executor = new IoExecutor(this.backing, {
      get several(): boolean {
        return bench.several;
      },
      more: () => this.asked++,
    });
    for (const line of lines) this.executor.add(line);
  }
  file(name: string, content: Buffer | string): number {
    writeFileSync(join(this.directory, name), content);
    return openPath(join(this.directory, name), open.O_RDWR);
  }
  /** Runs a job: whether it was done before the call returned, and its result. */
  async run(job: Job): Promise<{ atOnce: boolean; result: number }> {
    let result: number | undefined;
    this.executor.run(job, (value) => {
      result = value;
    });
    const atOnce = result !== undefined;
    await this.until(() => result !== undefined);
    return { atOnce, result: result as number };
  }
  /** Threads start in their own time: without this thread's event loop they would not. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.doorbell.take(word.JOBS)) this.executor.collect();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  openFiles(): string[] {
    const numbers = readdirSync('/proc/self/fd');
    const targets = numbers.map((number) => linkOf(number));
    return targets.filter((target) => target.startsWith(`${this.directory}/`));
  }
  async end(): Promise<void> {
    this.backing.close(this.backing.root);
    // They wait for jobs: the process does not wait for them.
    for (const worker of this.#workers) worker.unref();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

test('what waits for the disk is done elsewhere, the rest at once', async (t) => {
  const bench = new Bench();
  t.teardown(() => bench.end());
  const content = randomBytes(64 << 10);
  const descriptor = bench.file('f', content);
  const buffer = ioBuffer(1 << 20);
  const read = { op: 'pread', descriptor, buffer, at: 0, length: 4096, offset: 100 } as const;
  t.same(await bench.run(read), { atOnce: true, result: 4096 });
  t.same(buffer.bytes.subarray(0, 4096), content.subarray(100, 4196));
  t.same(await bench.run({ op: 'syncfs', descriptor }), { atOnce: false, result: 0 });
  t.match(
    await bench.run({ op: 'fsync', descriptor }),
    { result: 0 },
    'whether anybody waits is seen after the first',
  );
  for (const op of ['fsync', 'fdatasync'] as const) {
    t.same(
      await bench.run({ op, descriptor }),
      { atOnce: false, result: 0 },
      `${op} while others are served`,
    );
  }
  t.same(await bench.run({ op: 'ftruncate', descriptor, length: 10, from: 64 << 10 }), {
    atOnce: true,
    result: 0,
  });
  truncateSync(join(bench.directory, 'f'), 2 * LARGE);
  t.same(await bench.run({ op: 'ftruncate', descriptor, length: 10, from: 2 * LARGE }), {
    atOnce: false,
    result: 0,
  });
  t.equal(readFileSync(join(bench.directory, 'f')).length, 10);
  t.same(await bench.run({ op: 'warm', descriptor: bench.backing.root, names: ['f', 'absent'] }), {
    atOnce: false,
    result: 0,
  });
  t.same(await bench.run({ op: 'warm', descriptor: bench.backing.root, names: [] }), {
    atOnce: false,
    result: 0,
  });
  t.same(await bench.run({ op: 'close', descriptor }), { atOnce: false, result: 0 });
  // No number of an open descriptor: those are given to others at once.
  t.same(await bench.run({ op: 'fsync', descriptor: 999_999 }), { atOnce: false, result: -errno.EBADF });
});

test('a large read takes what is cached and waits elsewhere for the rest; short at the end', async (t) => {
  const bench = new Bench();
  t.teardown(() => bench.end());
  const content = randomBytes(900_000);
  const descriptor = bench.file('f', content);
  const buffer = ioBuffer(1 << 20);
  const job = { op: 'pread', descriptor, buffer, at: 8, length: 1 << 19, offset: 5 } as const;
  t.same(await bench.run(job), { atOnce: true, result: 1 << 19 }, 'cached');
  t.same(buffer.bytes.subarray(8, 8 + (1 << 19)), content.subarray(5, 5 + (1 << 19)));
  const end = await bench.run({ ...job, offset: 600_000 });
  t.equal(end.result, 300_000);
  t.same(buffer.bytes.subarray(8, 300_008), content.subarray(600_000));
  t.same((await bench.run({ ...job, offset: 2_000_000 })).result, 0, 'beyond the end');
  t.same((await bench.run({ ...job, descriptor: 999_999 })).result, -errno.EBADF);
});

test('after a slow look-up others ask elsewhere first, for a while', async (t) => {
  const bench = new Bench();
  t.teardown(() => bench.end());
  t.notOk(bench.executor.warmsFirst(1));
  t.ok(bench.executor.warmsFirst(5_000), 'a large directory always');
  bench.executor.took(1);
  t.notOk(bench.executor.warmsFirst(1));
  bench.executor.took(50);
  t.notOk(bench.executor.warmsFirst(1), 'once says nothing');
  bench.executor.took(50);
  t.ok(bench.executor.warmsFirst(1));
  bench.several = false;
  t.notOk(bench.executor.warmsFirst(5_000), 'alone: only a stalled disk');
  for (const milliseconds of [300, 300]) bench.executor.took(milliseconds);
  t.ok(bench.executor.warmsFirst(1));
  const descriptor = bench.file('f', 'some text');
  const buffer = ioBuffer(4096);
  const cached = await bench.run({ op: 'pread', descriptor, buffer, at: 0, length: 9, offset: 0 });
  t.same(cached, { atOnce: true, result: 9 }, 'what is cached needs no thread even then');
});

test('long jobs leave a thread to the others, and each job is answered once', async (t) => {
  const bench = new Bench();
  t.teardown(() => bench.end());
  mkdirSync(join(bench.directory, 'd'));
  const descriptor = bench.file('f', randomBytes(1 << 20));
  // Threads start in their own time.
  const ready = [0, 1, 2].map(() => bench.run({ op: 'warm', descriptor: bench.backing.root, names: ['d'] }));
  await Promise.all(ready);
  const order: string[] = [];
  const answers = new Map<string, number>();
  const start = (name: string, job: Job): void =>
    bench.executor.run(job, () => {
      order.push(name);
      answers.set(name, (answers.get(name) ?? 0) + 1);
    });
  for (let i = 0; i < 40; i++) start(`sync ${i}`, { op: 'syncfs', descriptor });
  start('look', { op: 'warm', descriptor: bench.backing.root, names: ['d'] });
  t.equal(bench.executor.outstanding, 41);
  t.equal(bench.asked, 1, 'it asked for one more thread, once');
  await bench.until(() => bench.executor.outstanding === 0);
  t.equal(answers.size, 41);
  t.ok([...answers.values()].every((count) => count === 1));
  t.ok(order.indexOf('look') < 10, `it went ahead of most: ${order.indexOf('look')}`);
});

test('2,000 random jobs on real threads: every result is right', async (t) => {
  const bench = new Bench();
  t.teardown(() => bench.end());
  const size = 1 << 20;
  const contents = [0, 1, 2].map(() => randomBytes(size));
  const handles = contents.map((content, index) => bench.file(`f${index}`, content));
  let wrong = 0;
  let done = 0;
  for (let i = 0; i < 2_000; i++) {
    const which = i % 3;
    const descriptor = handles[which] as number;
    const content = contents[which] as Buffer;
    if (i % 10 === 0) {
      bench.executor.run(
        { op: i % 20 === 0 ? 'fdatasync' : 'warm', descriptor, names: ['.'] } as Job,
        (result) => {
          done++;
          if (result !== 0) wrong++;
        },
      );
    } else {
      // A buffer each, so large that it goes by a thread where the host has it not cached.
      const length = 1 + Math.floor(Math.random() * 400_000);
      const offset = Math.floor(Math.random() * size);
      const buffer = ioBuffer(length);
      if (i % 100 === 1) bench.executor.took(50);
      bench.executor.run({ op: 'pread', descriptor, buffer, at: 0, length, offset }, (result) => {
        done++;
        const expected = content.subarray(offset, offset + length);
        if (result !== expected.length || !buffer.bytes.subarray(0, result).equals(expected)) wrong++;
      });
    }
    if (bench.executor.outstanding > 50) await bench.until(() => bench.executor.outstanding < 10);
  }
  await bench.until(() => bench.executor.outstanding === 0);
  t.equal(done, 2_000);
  t.equal(wrong, 0);
  t.ok(bench.executor.handed >= 200, `${bench.executor.handed} jobs by threads`);
  for (const descriptor of handles) bench.executor.run({ op: 'close', descriptor }, () => {});
  await bench.until(() => bench.executor.outstanding === 0);
  t.same(bench.openFiles(), [], 'no descriptor is left');
});

/** What a descriptor of this process is; the one that lists them is gone by now. */
function linkOf(number: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${number}`);
  } catch {
    return '';
  }
}

test('without a thread every job is done at once, and one is asked for', async (t) => {
  const bench = new Bench(0);
  t.teardown(() => bench.end());
  const descriptor = bench.file('f', 'some text');
  t.same(await bench.run({ op: 'fsync', descriptor }), { atOnce: true, result: 0 });
  t.same(await bench.run({ op: 'close', descriptor }), { atOnce: true, result: 0 });
  t.equal(bench.asked, 1, 'once');
});
