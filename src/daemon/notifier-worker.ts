import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Notifier } from '../fuse/notifier.js';
import { endOnThrow } from '../libc/process-end.js';
import { gettid, ring } from '../libc/system.js';
import type { NotifierAnswer, NotifierOrder, NotifierWorkerData } from './messages.js';

/** The thread that gives orders to the kernel's caches: it alone may block on them. It never returns to V8's loop. */
endOnThrow('notifier');
const { device, mountPoint, orders, orderBell, bell, doorbell } = workerData as NotifierWorkerData;
const notifier = new Notifier(device, mountPoint);

function answer(message: NotifierAnswer): void {
  orders.postMessage(message);
  Atomics.store(doorbell, 0, 1);
  ring(bell);
}

function perform(order: NotifierOrder): void {
  if (order.kind === 'flush') {
    answer({ kind: 'flushed', id: order.id, results: notifier.flush(order.nodes) });
  } else {
    const failures = notifier.invalidate(order.entries, order.nodes);
    answer({ kind: 'invalidated', id: order.id, failures });
  }
}

answer({ kind: 'thread', tid: gettid() });
for (;;) {
  Atomics.wait(orderBell, 0, 0);
  Atomics.store(orderBell, 0, 0);
  for (;;) {
    const received = receiveMessageOnPort(orders);
    if (received === undefined) break;
    perform(received.message as NotifierOrder);
  }
}
