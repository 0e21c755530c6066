import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { errno } from '../base/errno.js';
import { suites } from '../crypto/suites.js';
import { Core } from '../filesystem/core.js';
import { InodeTable } from '../filesystem/inode-table.js';
import { LibcBacking } from '../filesystem/libc-backing.js';
import { serve } from '../fuse/device.js';
import { Session } from '../fuse/session.js';
import { Doorbell, word } from '../libc/doorbell.js';
import { open, openPath } from '../libc/files.js';
import { copyMemory, type Secret, SecretMemory, sparseArrayBuffer } from '../libc/memory.js';
import { endOnThrow } from '../libc/process-end.js';
import { systemClock, umask, unshareFs } from '../libc/system.js';
import { IoExecutor } from './io-executor.js';
import { IoLine } from './io-line.js';
import type {
  CommandMessage,
  FilesystemWorkerData,
  NotifierAnswer,
  Results,
  WorkerMessage,
} from './messages.js';
import { RemoteCache } from './remote-cache.js';

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

const INODES = InodeTable.maximum;
/** The protocol that brought FUSE_NOTIFY_PRUNE (Linux 6.18). */
const PRUNE_MINOR = 45;
// Three AEAD keys, names, binding and epoch secret a scope, one key an open file: 64 bytes each.
const memory = new SecretMemory(65_536);
const suite = suites[data.suite].make(memory);
const tree = openPath(data.tree, open.O_RDONLY | open.O_DIRECTORY);
const backing = new LibcBacking(tree);
const cache = new RemoteCache(data.notifiers);
const doorbell = new Doorbell(data.doorbell);
const executor = new IoExecutor(backing, {
  get several(): boolean {
    return session.several;
  },
  more: () => tell({ kind: 'more' }),
});
const core = new Core(
  {
    backing,
    executor,
    suite,
    memory,
    clock: systemClock,
    cache,
    chunkSize: data.chunkSize,
    table: sparseArrayBuffer(InodeTable.bytesFor(INODES)),
    capacity: INODES,
    unclean: data.unclean,
    session: Buffer.from(data.session),
    uncleanSessions: new Set(data.uncleanSessions),
  },
  data.scopes,
  {
    moved: (scope, path) => tell({ kind: 'moved', scope, path }),
    expired: (receipts) => tell({ kind: 'expired', receipts }),
    recovered: (scope, path, before, after) => tell({ kind: 'recovered', scope, path, before, after }),
    writeBackFailed: (scope, path, error) => tell({ kind: 'writeBackFailed', scope, path, error }),
    wiped: () => {
      session.wipe();
      tellBehind();
    },
  },
);
const session = new Session(core, data.device, data.writeback, {
  ready: (minor) => {
    cache.prunes = minor >= PRUNE_MINOR;
    tell({ kind: 'ready', minor });
  },
});

function tellBehind(): void {
  tell({ kind: 'behind', behind: core.volume.leftBehind.size > 0 });
}

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
      const result = core.access.unlock(scope, oldest, command.secrets.map(adopt), stored);
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
      answer({ advanced: core.access.advance(command.scope, command.epoch, adopt(command.secret)) });
      return;
    case 'lend':
      answer({ epoch: core.access.lendEpochSecret(command.scope, command.to) });
      return;
    case 'slotCopy':
      answer({ result: core.access.writeSlotCopy(command.scope, Buffer.from(command.bytes)) });
      return;
    case 'create':
      core.creation.create(
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
      answer({ held: core.locks.setDeadline(command.scope, command.lockAt, command.deadline) });
      return;
    case 'lock':
      core.locks.lock(command.scopes, command.reason, command.deadline, (receipts) => answer({ receipts }));
      return;
    case 'line':
      executor.add(new IoLine(command.memory));
      answer({});
      return;
    case 'status':
      answer({
        scopes: core.volume.scopes.map((scope) => ({
          id: scope.id,
          state: core.locks.stateOf(scope),
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

function readMail(): void {
  for (const { port } of data.notifiers) {
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) break;
      const answer = received.message as NotifierAnswer;
      if (answer.kind === 'thread') session.notifiers.add(answer.tid);
      else cache.receive(answer);
    }
  }
  for (;;) {
    const received = receiveMessageOnPort(data.commands);
    if (received === undefined) break;
    perform(received.message as CommandMessage);
  }
}

let lookedAt = 0;
serve(data.device, session, doorbell, {
  completions: () => executor.collect(),
  slice: () => executor.slice(),
  due: () => (queued.size === 0 ? core.locks.due : Math.min(core.locks.due, lookedAt + LOOK_AGAIN_MS)),
  tick: (now) => {
    core.locks.tick(now);
    lookedAt = now;
    for (const command of [...queued.keys()]) perform(command);
  },
  commands: readMail,
});

// Unmounted: nobody can reach a file any more. Write back what is open and wipe every key.
cache.close();
const all = core.volume.scopes.map((scope) => scope.id);
let ended = false;
core.locks.lock(all, 'unmounted', Number.POSITIVE_INFINITY, (receipts) => {
  tell({ kind: 'expired', receipts });
  ended = true;
});
// Also what is not of a scope any more, as the blocks of deleted files.
while (!ended || executor.outstanding > 0) {
  if (executor.slice()) continue;
  doorbell.wait();
  if (doorbell.take(word.JOBS)) executor.collect();
  // A thread that was asked for may be among it.
  if (doorbell.take(word.MAIL)) readMail();
}
tellBehind();
tell({ kind: 'ended' });
