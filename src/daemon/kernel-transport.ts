import { writeFileSync } from 'node:fs';
import { MessageChannel } from 'node:worker_threads';
import { unmountFuse } from '../fuse/mount.js';
import { mountAt } from '../fuse/mount-table.js';
import { Doorbell, type DoorbellParts } from '../libc/doorbell.js';
import { eventfd } from '../libc/system.js';
import { CoreClient } from '../worker/core-client.js';
import { IoLine } from '../worker/io-line.js';
import type {
  CoreData,
  CoreEvent,
  FilesystemWorkerData,
  IoWorkerData,
  NotifierLine,
  NotifierWorkerData,
} from '../worker/messages.js';
import { NOTIFIERS } from '../worker/messages.js';
import { startThread, type Transport } from '../worker/transport.js';

export interface KernelOptions {
  /** The FUSE device, mounted already. */
  readonly device: number;
  readonly mountPoint: string;
}

/** An I/O worker: the memory by which it takes jobs. */
function startIoWorker(doorbell: DoorbellParts): SharedArrayBuffer {
  const { memory } = new IoLine();
  const data: IoWorkerData = { line: memory, doorbell };
  startThread('io', data, []);
  return memory;
}

/** A notifier: the way to give it orders, and what starts its thread. `doorbell`: what it rings with each answer. */
export class NotifierThread {
  readonly line: NotifierLine;
  readonly #data: NotifierWorkerData;

  constructor(device: number, mountPoint: string, doorbell: DoorbellParts) {
    const orders = new MessageChannel();
    const orderBell = new Int32Array(new SharedArrayBuffer(4));
    this.line = { port: orders.port1, bell: orderBell };
    this.#data = { device, mountPoint, orders: orders.port2, orderBell, doorbell };
  }
  start(): void {
    startThread('notifier', this.#data, [this.#data.orders]);
  }
}

/** INIT can only lower the kernel's read-ahead of 128 KiB; root may raise it to what one READ takes. */
function raiseReadAhead(mountPoint: string): void {
  const entry = mountAt(mountPoint);
  if (entry === undefined) return;
  try {
    writeFileSync(`/sys/class/bdi/${entry.deviceNumber}/read_ahead_kb`, '1024');
  } catch {
    // A read-only /sys (a container): slower cold reads, nothing else.
  }
}

/** Our own FUSE: the filesystem worker, its notifiers and its I/O workers. */
export function kernelTransport(
  data: CoreData,
  { device, mountPoint }: KernelOptions,
  happened: (event: CoreEvent) => void,
): Transport {
  const doorbell = Doorbell.parts(eventfd());
  const threads = Array.from(
    { length: NOTIFIERS.most },
    () => new NotifierThread(device, mountPoint, doorbell),
  );
  for (const thread of threads.slice(0, NOTIFIERS.atFirst)) thread.start();
  const notifiers = threads.map(({ line }) => line);
  const commands = new MessageChannel();
  const worker: FilesystemWorkerData = {
    ...data,
    device,
    doorbell,
    commands: commands.port2,
    notifiers,
  };
  startThread('filesystem', worker, [commands.port2, ...notifiers.map(({ port }) => port)]);

  let ready: (minor: number) => void = () => {};
  let ended: () => void = () => {};
  const core = new CoreClient(commands.port1, new Doorbell(doorbell), (message) => {
    if (message.kind === 'ready') ready(message.minor);
    else if (message.kind === 'ended') ended();
    else if (message.kind === 'more') void core.call({ op: 'line', memory: startIoWorker(doorbell) });
    else if (message.kind === 'notifier') threads[message.index]?.start();
    else happened(message);
  });
  return {
    core,
    ready: new Promise<number>((resolve) => {
      ready = resolve;
    }).then((minor) => {
      raiseReadAhead(mountPoint);
      return minor;
    }),
    ended: new Promise((resolve) => {
      ended = resolve;
    }),
    unmount: async (detach) => unmountFuse(mountPoint, detach),
  };
}
