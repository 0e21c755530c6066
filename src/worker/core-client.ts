import type { MessagePort } from 'node:worker_threads';
import { type Doorbell, word } from '../libc/doorbell.js';
import type { Command, Results, WorkerMessage } from './messages.js';
import type { CoreCalls } from './transport.js';

/** The main thread's end of the filesystem worker: commands as promises, happenings as a callback. */
export class CoreClient implements CoreCalls {
  readonly #port: MessagePort;
  readonly #doorbell: Doorbell;
  readonly #waiting = new Map<number, (answer: Results[keyof Results]) => void>();
  #next = 1;

  constructor(
    port: MessagePort,
    doorbell: Doorbell,
    happened: (message: Exclude<WorkerMessage, { kind: 'answer' }>) => void,
  ) {
    this.#port = port;
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
      this.#doorbell.ring(word.MAIL);
    });
  }
}
