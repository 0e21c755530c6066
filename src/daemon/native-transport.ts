import type { CachePort } from '../filesystem/contract.js';
import { mountAt, mounts } from '../fuse/mount-table.js';
import { loadBinding, mountNative } from '../fuse/native/binding.js';
import { NativeOperations } from '../fuse/native/operations.js';
import { Doorbell } from '../libc/doorbell.js';
import { eventfd, overwriteFreed, systemClock, umask } from '../libc/system.js';
import { CoreRunner } from '../worker/core-runner.js';
import { IoExecutor } from '../worker/io-executor.js';
import type {
  CommandMessage,
  CoreData,
  CoreEvent,
  NotifierAnswer,
  NotifierLine,
  NotifierOrder,
  Results,
  WorkerMessage,
} from '../worker/messages.js';
import type { Transport } from '../worker/transport.js';
import { NotifierThread } from './kernel-transport.js';

/** libfuse 2.9 speaks 7.19 (its fuse_kernel.h), whatever the kernel offers. */
const LIBFUSE_MINOR = 19;
/** How often the mount is looked for: nothing tells that it was taken away. */
const LOOK_MS = 500;
const HANGUPS_MS = 100;
/** A timer may sleep through a suspend: deadlines are looked at this often at least. */
const TICK_MS = 1000;

/** One order after another to a notifier's thread, which may block where this one must not. */
class Orders {
  readonly #waiting = new Map<number, (result: number) => void>();
  #next = 1;
  readonly #line: NotifierLine;
  constructor(device: number, mountPoint: string) {
    const thread = new NotifierThread(device, mountPoint, Doorbell.parts(eventfd()));
    thread.start();
    this.#line = thread.line;
    this.#line.port.on('message', (answer: NotifierAnswer) => {
      if (answer.kind !== 'done') return;
      const done = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      done?.(answer.result);
    });
  }
  give(order: { kind: 'pagesUpTo'; last: number } | { kind: 'unmount'; detach: boolean }): Promise<number> {
    const id = this.#next++;
    const message: NotifierOrder = { ...order, id };
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#line.port.postMessage(message);
      Atomics.store(this.#line.bell, 0, 1);
      Atomics.notify(this.#line.bell, 0);
    });
  }
}

/**
 * The npm binding fuse-native: its callbacks run on the main loop, and so does the core. No threads for slow disks, no
 * deadline while this loop is stuck, one user. What keeps a lock a lock: nothing is cached but the pages of private
 * mappings, and those are dropped through the binding's own descriptor.
 */
export async function nativeTransport(
  data: CoreData,
  vault: string,
  mountPoint: string,
  happened: (event: CoreEvent) => void,
): Promise<Transport> {
  const Fuse = loadBinding();
  // libfuse copies file contents through malloc'ed buffers that we never see again.
  overwriteFreed();

  const answers = new Map<number, (answer: Results[keyof Results]) => void>();
  const tell = (message: WorkerMessage): void => {
    switch (message.kind) {
      case 'answer':
        answers.get(message.id)?.(message.answer);
        answers.delete(message.id);
        return;
      case 'ready':
      case 'more':
      case 'notifier':
      case 'ended':
        return;
      default:
        happened(message);
    }
  };
  let orders: Orders | undefined;
  let gone = false;
  const cache: CachePort = {
    // Nothing is dirty in the kernel: direct_io has no shared mappings for writing.
    flush: (_node, done) => done(0),
    // libfuse numbers inodes upwards from 2, at most one for each time that attributes were asked for. The kernel's
    // number of ours it does not tell, so all are dropped.
    dropPages: (nodes, done) => {
      if (orders === undefined || gone || nodes.length === 0) {
        done(0);
        return;
      }
      const last = operations.asked + 2;
      void orders.give({ kind: 'pagesUpTo', last }).then((failures) => enter(() => done(failures)));
    },
    // Attributes and names are not kept: each use of one asks again.
    forgetAttributes: () => {},
    dropRange: (_node, _offset, _length, done) => done(),
    dropNames: (_entries, done) => done(0),
    prune: (_victims, done) => done(),
  };
  const runner = new CoreRunner(data, {
    cache,
    executor: (backing) => new IoExecutor(backing, { several: false, more: () => {} }),
    tell,
    wiped: () => operations.wipe(),
    statistics: () => ({ requests: operations.handled, longest }),
    addLine: () => {},
  });
  const longest = { operation: 'none', milliseconds: 0 };

  let timer: NodeJS.Timeout | undefined;
  let depth = 0;
  /** Every way into the core: objects get the mode that was asked for, the rest of this process keeps its umask. */
  const enter = (act: () => void): void => {
    if (depth++ === 0) umask(0);
    const started = performance.now();
    try {
      act();
      if (depth === 1) while (runner.executor.slice());
    } finally {
      if (--depth === 0) umask(0o077);
    }
    if (depth > 0) return;
    const milliseconds = performance.now() - started;
    if (milliseconds > longest.milliseconds) Object.assign(longest, { operation: 'any', milliseconds });
    plan();
  };
  const plan = (): void => {
    const { due } = runner;
    clearTimeout(timer);
    timer = undefined;
    if (due === Number.POSITIVE_INFINITY) return;
    const wait = Math.min(TICK_MS, Math.max(0, due - systemClock.boottime()));
    timer = setTimeout(() => enter(() => runner.tick(systemClock.boottime())), wait);
  };

  const operations: NativeOperations = new NativeOperations(runner.core, enter);
  orders = new Orders(await mountNative(Fuse, vault, mountPoint, operations.table), mountPoint);
  const mounted = mountAt(mountPoint)?.deviceNumber;
  const ended = new Promise<void>((resolve) => {
    // Nothing wakes this loop when the holder of a lease is gone.
    const hangups = setInterval(() => enter(() => runner.leaseClock.collect()), HANGUPS_MS);
    const look = setInterval(() => {
      // Not by its path: a directory above may be renamed, and something be mounted on it.
      if (mounts().some(({ deviceNumber }) => deviceNumber === mounted)) return;
      gone = true;
      clearInterval(look);
      clearInterval(hangups);
      enter(() => runner.end(resolve));
    }, LOOK_MS);
  });
  let next = 1;
  return {
    core: {
      call: (command) =>
        new Promise((resolve) => {
          const id = next++;
          answers.set(id, resolve as (answer: Results[keyof Results]) => void);
          enter(() => runner.perform({ ...command, id } as CommandMessage));
        }),
    },
    ready: Promise.resolve(LIBFUSE_MINOR),
    ended,
    unmount: (detach) => (orders as Orders).give({ kind: 'unmount', detach }),
  };
}
