import { LARGE } from '../filesystem/content/open-file.js';
import type { Backing, Executor, Job } from '../filesystem/disk/backing.js';
import { preadNowait } from '../libc/files.js';
import type { IoLine } from './io-line.js';

/** Two calls within this time that took so long on the core's thread send the next ones elsewhere, for as long (ms). */
const SLOW_MS = 5;
/** The same where nobody else is served: then only a lease's end would have to wait. */
const STALLED_MS = 200;
const REMEMBERED_MS = 1000;
/** Threads at most: one more is asked for when all are busy, the first when it is needed. */
const MOST_THREADS = 4;
/** A read of more goes elsewhere unless the host has it cached. */
const LARGE_READ = 256 << 10;
/** A directory of more entries is read elsewhere first. */
const LARGE_DIRECTORY = 2000;

/** Whether calls have lately taken longer than a limit, more than once. */
class Limit {
  readonly #limit: number;
  #until = 0;
  #last = Number.NEGATIVE_INFINITY;
  constructor(limit: number) {
    this.#limit = limit;
  }
  note(milliseconds: number): void {
    if (milliseconds <= this.#limit) return;
    const now = performance.now();
    if (now - this.#last < REMEMBERED_MS) this.#until = now + REMEMBERED_MS;
    this.#last = now;
  }
  get passed(): boolean {
    return this.#until !== 0 && performance.now() < this.#until;
  }
}

/** How the disk has lately answered one kind of call. */
class Pace {
  readonly #slow = new Limit(SLOW_MS);
  readonly #stalled = new Limit(STALLED_MS);
  note(milliseconds: number): void {
    this.#slow.note(milliseconds);
    this.#stalled.note(milliseconds);
  }
  /** Whether the next call should not be made on the core's thread. */
  waits(several: boolean): boolean {
    return several ? this.#slow.passed : this.#stalled.passed;
  }
}

/** What the executor learns of the requests beside its jobs. */
export interface Neighbours {
  /** Several callers have been served within the last second: one that waits here keeps another waiting. */
  readonly several: boolean;
  /** Start one more thread and {@link IoExecutor.add} its line. */
  more(): void;
}

interface Pending {
  readonly job: Job;
  readonly done: (result: number) => void;
}

/** Jobs that may hold a worker for seconds: one worker is always left for the others. */
function isLong({ op }: Job): boolean {
  return op !== 'pread' && op !== 'warm';
}

/**
 * Runs on the core's thread what does not wait for the disk, and gives the rest to the I/O workers: what is large, and
 * everything for a second after the disk was slow twice. A write can't say beforehand whether it will wait (ext4 has no
 * RWF_NOWAIT for buffered writes), and asking before every look-up would cost each two calls. For a program alone the
 * way to another thread and back is pure loss, so its fsyncs and large reads wait here until anybody else is served.
 */
export class IoExecutor implements Executor {
  readonly #backing: Backing;
  readonly #lines: IoLine[] = [];
  readonly #running: (Pending | undefined)[] = [];
  readonly #neighbours: Neighbours;
  #asked = false;
  readonly #pending: Pending[] = [];
  readonly #reads = new Pace();
  readonly #writes = new Pace();
  readonly #syncs = new Pace();
  /** Jobs that workers did since the start. */
  handed = 0;

  constructor(backing: Backing, neighbours: Neighbours) {
    this.#backing = backing;
    this.#neighbours = neighbours;
  }
  /** One more thread takes jobs. */
  add(line: IoLine): void {
    this.#lines.push(line);
    this.#running.push(undefined);
    this.#asked = false;
    this.#dispatch();
  }

  readonly warmsFirst = (entries: number): boolean => {
    const { several } = this.#neighbours;
    return this.#reads.waits(several) || (entries > LARGE_DIRECTORY && several);
  };
  took(milliseconds: number): void {
    this.#reads.note(milliseconds);
  }

  run(job: Job, done: (result: number) => void): void {
    switch (job.op) {
      case 'pread':
        if (this.#mayWait(job.length)) this.#readAside(job, done);
        else this.#here(job, this.#reads, done);
        return;
      case 'pwrite':
        if (this.#writes.waits(this.#neighbours.several)) this.#submit(job, done);
        else this.#here(job, this.#writes, done);
        return;
      case 'ftruncate':
        if (job.from - job.length > LARGE || this.#writes.waits(this.#neighbours.several))
          this.#submit(job, done);
        else this.#here(job, this.#writes, done);
        return;
      case 'fsync':
      case 'fdatasync':
        if (this.#neighbours.several || this.#syncs.waits(false)) this.#submit(job, done);
        else this.#here(job, this.#syncs, done);
        return;
      default:
        this.#submit(job, done);
    }
  }

  readonly #deferred: (() => void)[] = [];
  yield(then: () => void): void {
    this.#deferred.push(then);
  }
  /** Goes on with what gave its turn away; false: nothing did. */
  slice(): boolean {
    const next = this.#deferred.shift();
    next?.();
    return next !== undefined;
  }

  #mayWait(length: number): boolean {
    const { several } = this.#neighbours;
    return this.#reads.waits(several) || (length > LARGE_READ && several);
  }

  #here(job: Job, pace: Pace, done: (result: number) => void): void {
    const started = performance.now();
    const result = this.#backing.perform(job);
    pace.note(performance.now() - started);
    done(result);
  }

  #readAside(job: Extract<Job, { op: 'pread' | 'pwrite' }>, done: (result: number) => void): void {
    const address = job.buffer.address + job.at;
    const cached = Math.max(0, preadNowait(job.descriptor, address, job.length, job.offset));
    if (cached === job.length) {
      done(cached);
      return;
    }
    const { at, length, offset } = job;
    const rest = { ...job, at: at + cached, length: length - cached, offset: offset + cached };
    this.#submit(rest, (result) => done(result < 0 && cached === 0 ? result : cached + Math.max(0, result)));
  }

  #submit(job: Job, done: (result: number) => void): void {
    if (this.#lines.length === 0) {
      // A thread takes longer to start than most jobs: this one is done here.
      this.#askForMore();
      done(this.#backing.perform(job));
      return;
    }
    this.#pending.push({ job, done });
    this.#dispatch();
  }

  #askForMore(): void {
    if (this.#asked || this.#lines.length >= MOST_THREADS) return;
    this.#asked = true;
    this.#neighbours.more();
  }

  #dispatch(): void {
    while (this.#pending.length > 0) {
      const idle = this.#running.indexOf(undefined);
      if (idle < 0) {
        this.#askForMore();
        return;
      }
      let long = 0;
      for (const running of this.#running) if (running !== undefined && isLong(running.job)) long++;
      const crowded = long >= Math.max(1, this.#lines.length - 1);
      const at = this.#pending.findIndex(({ job }) => !crowded || !isLong(job));
      const [next] = at < 0 ? [] : this.#pending.splice(at, 1);
      if (next === undefined) {
        this.#askForMore();
        return;
      }
      this.#running[idle] = next;
      this.handed++;
      (this.#lines[idle] as IoLine).submit(next.job);
    }
  }

  /** Jobs and computations that are under way or wait. */
  get outstanding(): number {
    return (
      this.#deferred.length +
      this.#pending.length +
      this.#running.filter((running) => running !== undefined).length
    );
  }

  /** Gives the results of jobs that are done to whoever asked. Called when the doorbell says so. */
  collect(): void {
    this.#lines.forEach((line, index) => {
      const running = this.#running[index];
      const finished = running === undefined ? undefined : line.collect();
      if (running === undefined || finished === undefined) return;
      this.#running[index] = undefined;
      const { op } = running.job;
      if (op === 'pread' || op === 'warm') this.#reads.note(finished.milliseconds);
      else if (op === 'pwrite') this.#writes.note(finished.milliseconds);
      else if (op === 'fsync' || op === 'fdatasync') this.#syncs.note(finished.milliseconds);
      this.#dispatch();
      running.done(finished.result);
    });
  }
}
