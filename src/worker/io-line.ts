import type { Job } from '../filesystem/disk/backing.js';
import { allocate, simple, transfer, warm } from '../filesystem/disk/libc-backing.js';
import { ftruncate } from '../libc/files.js';

/** The way to one I/O worker: a job at a time, in memory that both threads see. Numbers only: nothing is cloned. */
const LINE_BYTES = 32 * 1024;
const NAMES_AT = 64;

const state = { IDLE: 0, SUBMITTED: 1, DONE: 2 } as const;
const field = { OP: 0, HANDLE: 1, ADDRESS: 2, LENGTH: 3, OFFSET: 4, RESULT: 5, MILLISECONDS: 6 } as const;
const operations = [
  'pread',
  'pwrite',
  'fsync',
  'fdatasync',
  'syncfs',
  'close',
  'ftruncate',
  'allocate',
  'punch',
  'warm',
] as const;

export class IoLine {
  readonly memory: SharedArrayBuffer;
  readonly #state: Int32Array<SharedArrayBuffer>;
  readonly #fields: Float64Array;
  readonly #names: Buffer;

  constructor(memory = new SharedArrayBuffer(LINE_BYTES)) {
    this.memory = memory;
    this.#state = new Int32Array(memory, 0, 1);
    this.#fields = new Float64Array(memory, 8, 7);
    this.#names = Buffer.from(memory, NAMES_AT);
  }

  // The core's thread.

  submit(job: Job): void {
    const fields = this.#fields;
    fields[field.OP] = operations.indexOf(job.op);
    fields[field.HANDLE] = job.descriptor;
    if (job.op === 'pread' || job.op === 'pwrite') {
      fields[field.ADDRESS] = job.buffer.address + job.at;
      fields[field.LENGTH] = job.length;
      fields[field.OFFSET] = job.offset;
    } else if (job.op === 'ftruncate') {
      fields[field.LENGTH] = job.length;
    } else if (job.op === 'allocate' || job.op === 'punch') {
      fields[field.LENGTH] = job.length;
      fields[field.OFFSET] = job.offset;
    } else if (job.op === 'warm') {
      const text = job.names.join('\0');
      fields[field.LENGTH] = this.#names.write(text, 'latin1');
    }
    Atomics.store(this.#state, 0, state.SUBMITTED);
    Atomics.notify(this.#state, 0);
  }
  /** The result of the job, once: or undefined while it runs. */
  collect(): { result: number; milliseconds: number } | undefined {
    if (Atomics.load(this.#state, 0) !== state.DONE) return undefined;
    Atomics.store(this.#state, 0, state.IDLE);
    const fields = this.#fields;
    return { result: fields[field.RESULT] as number, milliseconds: fields[field.MILLISECONDS] as number };
  }

  // The worker's thread.

  /** Waits for a job and does it. */
  serve(): void {
    for (
      let now = Atomics.load(this.#state, 0);
      now !== state.SUBMITTED;
      now = Atomics.load(this.#state, 0)
    ) {
      Atomics.wait(this.#state, 0, now);
    }
    const started = performance.now();
    this.#fields[field.RESULT] = this.#perform();
    this.#fields[field.MILLISECONDS] = performance.now() - started;
    Atomics.store(this.#state, 0, state.DONE);
  }

  #perform(): number {
    const [op, descriptor, address, length, offset] = this.#fields as unknown as number[];
    const name = operations[op as number] as (typeof operations)[number];
    const on = descriptor as number;
    switch (name) {
      case 'pread':
      case 'pwrite':
        return transfer(name, on, address as number, length as number, offset as number);
      case 'ftruncate':
        return ftruncate(on, length as number);
      case 'allocate':
      case 'punch':
        return allocate(name, on, offset as number, length as number);
      case 'warm': {
        const text = this.#names.toString('latin1', 0, length);
        return warm(on, text === '' ? [] : text.split('\0'));
      }
      default:
        return simple(name, on);
    }
  }
}
