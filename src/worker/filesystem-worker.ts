import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { serve } from '../fuse/device.js';
import { forgetAttributes } from '../fuse/notifier.js';
import { Session } from '../fuse/session.js';
import { Doorbell, word } from '../libc/doorbell.js';
import { endOnThrow } from '../libc/process-end.js';
import { umask, unshareFs } from '../libc/system.js';
import { CoreRunner } from './core-runner.js';
import { IoExecutor } from './io-executor.js';
import { IoLine } from './io-line.js';
import type { CommandMessage, FilesystemWorkerData, NotifierAnswer, WorkerMessage } from './messages.js';
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

/** The protocol that brought FUSE_NOTIFY_PRUNE (Linux 6.18). */
const PRUNE_MINOR = 45;
const cache = new RemoteCache(
  data.notifiers,
  (index) => tell({ kind: 'notifier', index }),
  (node) => forgetAttributes(data.device, node),
);
const doorbell = new Doorbell(data.doorbell);
const runner: CoreRunner<IoExecutor> = new CoreRunner(data, {
  cache,
  executor: (backing) =>
    new IoExecutor(backing, {
      get several(): boolean {
        return session.several;
      },
      more: () => tell({ kind: 'more' }),
    }),
  tell,
  wiped: () => session.wipe(),
  statistics: () => ({ requests: session.handled, longest: session.longest }),
  addLine: (memory) => executor.add(new IoLine(memory)),
});
const { executor } = runner;
const session: Session = new Session(runner.core, data.device, data.writeback, {
  ready: (minor) => {
    cache.prunes = minor >= PRUNE_MINOR;
    tell({ kind: 'ready', minor });
  },
});

function readMail(): void {
  for (const [index, { port }] of data.notifiers.entries()) {
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) break;
      const answer = received.message as NotifierAnswer;
      if (answer.kind === 'done') {
        cache.receive(answer);
      } else {
        session.notifiers.add(answer.tid);
        cache.started(index);
      }
    }
  }
  for (;;) {
    const received = receiveMessageOnPort(data.commands);
    if (received === undefined) break;
    runner.perform(received.message as CommandMessage);
  }
}

serve(data.device, session, doorbell, {
  completions: () => executor.collect(),
  watched: runner.leaseClock.fd,
  hangups: () => runner.leaseClock.collect(),
  slice: () => executor.slice(),
  due: () => runner.due,
  tick: (now) => runner.tick(now),
  commands: readMail,
});

cache.close();
let ended = false;
runner.end(() => {
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
tell({ kind: 'ended' });
