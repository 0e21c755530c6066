import type { MessagePort } from 'node:worker_threads';
import { ring } from '../libc/system.js';
import type { Command, Results, WorkerMessage } from './messages.js';

/** The main thread's end of the filesystem worker: commands as promises, happenings as a callback. */
export class CoreClient {
  readonly #port: MessagePort;
  readonly #bell: number;
  readonly #doorbell: Int32Array<SharedArrayBuffer>;
  readonly #waiting = new Map<number, (answer: Results[keyof Results]) => void>();
  #next = 1;

  constructor(
    port: MessagePort,
    bell: number,
    doorbell: Int32Array<SharedArrayBuffer>,
    happened: (message: Exclude<WorkerMessage, { kind: 'answer' }>) => void,
  ) {
    this.#port = port;
    this.#bell = bell;
    this.#doorbell = doorbell;
    port.on('message', (message: WorkerMessage) => {
      if (message.kind !== 'answer') {
        happened(message);
        return;
      }
      const done = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      done?.(message.answer);
    });
  }

  call<Op extends Command['op']>(command: Extract<Command, { op: Op }>): Promise<Results[Op]> {
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve as (answer: Results[keyof Results]) => void);
      this.#port.postMessage({ ...command, id });
      Atomics.store(this.#doorbell, 0, 1);
      ring(this.#bell);
    });
  }
}
