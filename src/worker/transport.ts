import { type MessagePort, Worker } from 'node:worker_threads';
import type { Command, Results } from './messages.js';

/** Commands to the core, wherever it runs. */
export interface CoreCalls {
  call<Op extends Command['op']>(command: Extract<Command, { op: Op }>): Promise<Results[Op]>;
}

/** How the kernel reaches the core: our own protocol on a thread of its own, or the npm binding on the main thread. */
export interface Transport {
  readonly core: CoreCalls;
  /** Resolves once the kernel was answered: the protocol's minor version. */
  readonly ready: Promise<number>;
  /** Resolves when the mount is gone and everything is locked. */
  readonly ended: Promise<void>;
  /** Unmounts: 0, or -errno (EBUSY where programs use it and it is not detached). */
  unmount(detach: boolean): Promise<number>;
}

const threads = {
  filesystem: new URL('./filesystem-worker.js', import.meta.url),
  notifier: new URL('./notifier-worker.js', import.meta.url),
  io: new URL('./io-worker.js', import.meta.url),
} as const;

export function startThread(
  name: keyof typeof threads,
  workerData: unknown,
  transferList: MessagePort[],
): void {
  new Worker(threads[name], { workerData, transferList });
}
