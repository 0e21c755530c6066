import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { unmountFuse } from '../fuse/mount.js';
import { Notifier } from '../fuse/notifier.js';
import { Doorbell, word } from '../libc/doorbell.js';
import { endOnThrow } from '../libc/process-end.js';
import { gettid } from '../libc/system.js';
import type { NotifierAnswer, NotifierOrder, NotifierWorkerData } from './messages.js';

/** A thread that gives orders to the kernel's caches: such threads alone may block on them. It never returns to V8's loop. */
endOnThrow('notifier');
const { device, mountPoint, orders, orderBell, doorbell: parts } = workerData as NotifierWorkerData;
const doorbell = new Doorbell(parts);
const notifier = new Notifier(device, mountPoint);

function answer(message: NotifierAnswer): void {
  orders.postMessage(message);
  doorbell.ring(word.MAIL);
}

function perform(order: NotifierOrder): number {
  switch (order.kind) {
    case 'flush':
      return notifier.flush(order.node);
    case 'pages':
      return notifier.dropPages(order.nodes);
    case 'range':
      return notifier.dropRange(order.node, order.offset, order.length);
    case 'pagesUpTo':
      return notifier.dropPagesUpTo(order.last);
    case 'prune':
      return notifier.prune(order.nodes);
    case 'unused':
      return notifier.dropUnused(order.entries);
    case 'names':
      return notifier.dropNames(order.entries);
    case 'unmount':
      return unmountFuse(mountPoint, order.detach);
  }
}

answer({ kind: 'thread', tid: gettid() });
for (;;) {
  Atomics.wait(orderBell, 0, 0);
  Atomics.store(orderBell, 0, 0);
  for (;;) {
    const received = receiveMessageOnPort(orders);
    if (received === undefined) break;
    const order = received.message as NotifierOrder;
    answer({ kind: 'done', id: order.id, result: perform(order) });
  }
}
