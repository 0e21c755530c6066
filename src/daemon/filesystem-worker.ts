import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { errno } from '../base/errno.js';
import { suites } from '../crypto/suites.js';
import { InlineExecutor } from '../filesystem/backing.js';
import type { CachedName, CachePort, NodeId } from '../filesystem/contract.js';
import { Core } from '../filesystem/core.js';
import { InodeTable } from '../filesystem/inode-table.js';
import { LibcBacking } from '../filesystem/libc-backing.js';
import { serve } from '../fuse/device.js';
import { Session } from '../fuse/session.js';
import { open, openPath } from '../libc/files.js';
import { copyMemory, type Secret, SecretMemory, sparseArrayBuffer } from '../libc/memory.js';
import { endOnThrow } from '../libc/process-end.js';
import { systemClock, umask, unshareFs } from '../libc/system.js';
import type {
  CommandMessage,
  FilesystemWorkerData,
  NotifierAnswer,
  NotifierLine,
  NotifierOrder,
  Results,
  WorkerMessage,
} from './messages.js';

/**
 * The filesystem worker: the single writer. It never returns to V8's loop (no promises, no timers): it reads the
 * device, looks at its doorbell, and keeps the deadlines of leases.
 */
endOnThrow('filesystem');
const data = workerData as FilesystemWorkerData;

// Objects get the mode that the caller asked for; the process keeps its own umask.
unshareFs();
umask(0);

function tell(message: WorkerMessage): void {
  data.commands.postMessage(message);
}

/**
 * The first notifier drops pages only, which waits for nobody but us: a deadline can rely on it. The others may wait
 * on somebody's inode or directory lock: each has one order at a time, and the rest wait here.
 */
const PAGES = 0;

/** Sends orders to the notifiers' threads; their answers come in with the mail. */
class RemoteCache implements CachePort {
  readonly #waiting = new Map<number, { thread: number; done: (result: number) => void }>();
  /** Orders for the shared threads that all have one: names first, as an unlock waits for them. */
  readonly #queue: { order: NotifierOrder; done: (result: number) => void }[] = [];
  readonly #busy = new Set<number>();
  #next = 1;
  /** The mount is gone: there are no caches any more. */
  #closed = false;

  #order(thread: number, order: NotifierOrder, done: (result: number) => void): void {
    this.#waiting.set(order.id, { thread, done });
    if (thread !== PAGES) this.#busy.add(thread);
    const { port, bell } = data.notifiers[thread] as NotifierLine;
    port.postMessage(order);
    Atomics.store(bell, 0, 1);
    Atomics.notify(bell, 0);
  }
  /** Gives an order to a shared thread that has none, so that a stuck one holds up nothing but itself. */
  #shared(order: NotifierOrder, done: (result: number) => void): void {
    if (this.#closed) {
      done(0);
      return;
    }
    for (let thread = PAGES + 1; thread < data.notifiers.length; thread++) {
      if (!this.#busy.has(thread)) {
        this.#order(thread, order, done);
        return;
      }
    }
    if (order.kind === 'names') this.#queue.unshift({ order, done });
    else this.#queue.push({ order, done });
  }
  flush(node: NodeId, done: (result: number) => void): void {
    this.#shared({ id: this.#next++, kind: 'flush', node }, done);
  }
  dropPages(nodes: readonly NodeId[], done: (failures: number) => void): void {
    if (this.#closed) done(0);
    else this.#order(PAGES, { id: this.#next++, kind: 'pages', nodes }, done);
  }
  dropNames(entries: readonly CachedName[], done: (failures: number) => void): void {
    this.#shared({ id: this.#next++, kind: 'names', entries }, done);
  }
  receive(answer: NotifierAnswer): void {
    if (answer.kind === 'thread') {
      session.notifiers.add(answer.tid);
      return;
    }
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id);
    this.#busy.delete(waiting.thread);
    const next = waiting.thread === PAGES ? undefined : this.#queue.shift();
    if (next !== undefined) this.#order(waiting.thread, next.order, next.done);
    waiting.done(answer.result);
  }
  /** Ends every wait: the mount is gone. */
  close(): void {
    this.#closed = true;
    const waiting = [...this.#waiting.values(), ...this.#queue.splice(0)];
    this.#waiting.clear();
    for (const { done } of waiting) done(0);
  }
}

const INODES = InodeTable.maximum;
// Three AEAD keys, names, binding and epoch secret a scope, one key an open file: 64 bytes each.
const memory = new SecretMemory(65_536);
const suite = suites[data.suite].make(memory);
const tree = openPath(data.tree, open.O_RDONLY | open.O_DIRECTORY);
const backing = new LibcBacking(tree);
const cache = new RemoteCache();
const core = new Core(
  {
    backing,
    executor: new InlineExecutor(backing),
    suite,
    memory,
    clock: systemClock,
    cache,
    chunkSize: data.chunkSize,
    table: sparseArrayBuffer(InodeTable.bytesFor(INODES)),
    capacity: INODES,
    unclean: data.unclean,
  },
  data.scopes,
  {
    moved: (scope, path) => tell({ kind: 'moved', scope, path }),
    expired: (receipts) => tell({ kind: 'expired', receipts }),
    recovered: (scope, path, before, after) => tell({ kind: 'recovered', scope, path, before, after }),
    writeBackFailed: (scope, path, error) => tell({ kind: 'writeBackFailed', scope, path, error }),
    wiped: () => session.wipe(),
  },
);
const session = new Session(core, data.device, {
  ready: (minor) => tell({ kind: 'ready', minor }),
});

/** Takes a copy of a secret that the main thread lends until the answer. */
function adopt(address: number): Secret {
  const secret = memory.allocate(32);
  copyMemory(secret.address, address, 32);
  return secret;
}

/** Unlocks that wait for a lock of their scope, and until when. Whoever sent one lends its secrets until the answer. */
const queued = new Map<CommandMessage, number>();
/** How long an unlock waits: somebody who stalls a lock's last step must not keep callers for ever. */
const UNLOCK_WAIT_MS = 10_000;
/** How often waiting unlocks look again: a lock's end is not one event, but its receipt and the kernel's names. */
const LOOK_AGAIN_MS = 5;

function perform(command: CommandMessage): void {
  const answer = (result: Results[keyof Results]): void =>
    tell({ kind: 'answer', id: command.id, answer: result });
  switch (command.op) {
    case 'unlock': {
      const { scope, oldest, stored } = command;
      const result = core.unlock(scope, oldest, command.secrets.map(adopt), stored);
      const isOpen = core.scope(scope)?.isOpen === true;
      if (!result.ok && result.errno === errno.EBUSY && !isOpen) {
        const now = systemClock.boottime();
        const until = queued.get(command) ?? now + UNLOCK_WAIT_MS;
        queued.set(command, until);
        if (now < until) return;
      }
      queued.delete(command);
      answer({ result });
      return;
    }
    case 'advance':
      answer({ advanced: core.advance(command.scope, command.epoch, adopt(command.secret)) });
      return;
    case 'lend':
      answer({ epoch: core.lendEpochSecret(command.scope, command.to) });
      return;
    case 'slotCopy':
      answer({ result: core.writeSlotCopy(command.scope, Buffer.from(command.bytes)) });
      return;
    case 'create':
      core.createScope(
        command.names,
        command.scope,
        command.epoch,
        adopt(command.secret),
        command.owner,
        (result, parent, path) =>
          answer({
            result,
            ...(parent === undefined ? {} : { parent }),
            ...(path === undefined ? {} : { path }),
          }),
      );
      return;
    case 'deadline':
      answer({ held: core.setDeadline(command.scope, command.lockAt, command.deadline) });
      return;
    case 'lock':
      core.lock(command.scopes, command.reason, command.deadline, (receipts) => answer({ receipts }));
      return;
    case 'status':
      answer({
        scopes: core.volume.scopes.map((scope) => ({
          id: scope.id,
          state: core.stateOf(scope),
          generation: scope.generation,
          openHandles: core.openHandles(scope),
        })),
        inodes: core.volume.table.used,
        requests: session.handled,
        longest: session.longest,
        secretMemory: memory.backing,
      });
  }
}

let lookedAt = 0;
serve(data.device, session, data.bell, data.doorbell, {
  due: () => (queued.size === 0 ? core.due : Math.min(core.due, lookedAt + LOOK_AGAIN_MS)),
  tick: (now) => {
    core.tick(now);
    lookedAt = now;
    for (const command of [...queued.keys()]) perform(command);
  },
  commands: () => {
    for (const { port } of data.notifiers) {
      for (;;) {
        const received = receiveMessageOnPort(port);
        if (received === undefined) break;
        cache.receive(received.message as NotifierAnswer);
      }
    }
    for (;;) {
      const received = receiveMessageOnPort(data.commands);
      if (received === undefined) break;
      perform(received.message as CommandMessage);
    }
  },
});

// Unmounted: nobody can reach a file any more. Write back what is open and wipe every key.
cache.close();
const all = core.volume.scopes.map((scope) => scope.id);
core.lock(all, 'unmounted', Number.POSITIVE_INFINITY, (receipts) => {
  tell({ kind: 'expired', receipts });
  tell({ kind: 'ended' });
});
