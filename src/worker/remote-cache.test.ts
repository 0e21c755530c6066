import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { test } from 'tap';
import { RemoteCache } from './remote-cache.js';

const victims = [
  { node: 7, parent: 1, name: 'file', directory: false },
  { node: 8, parent: 1, name: 'directory', directory: true },
];

test('prune: by node ids where the kernel can, else by names, but none of a directory', async (t) => {
  const channels = [new MessageChannel(), new MessageChannel()] as const;
  t.teardown(() => {
    for (const { port1 } of channels) port1.close();
  });
  const lines = channels.map(({ port1 }) => ({
    port: port1,
    bell: new Int32Array(new SharedArrayBuffer(4)),
  }));
  const cache = new RemoteCache(
    lines,
    () => t.fail('nothing waits'),
    () => {},
  );
  const ordered = (): unknown => receiveMessageOnPort(channels[1].port2)?.message;
  let done = 0;
  cache.prunes = true;
  cache.prune(victims, () => done++);
  t.match(ordered(), { kind: 'prune', nodes: [7, 8] });
  cache.receive({ kind: 'done', id: 1, result: 0 });
  t.equal(done, 1);
  cache.prunes = false;
  cache.prune(victims, () => done++);
  t.match(ordered(), { kind: 'unused', entries: [{ parent: 1, name: 'file' }] });
  t.equal(
    channels[0].port2 && receiveMessageOnPort(channels[0].port2),
    undefined,
    'pages are not in its way',
  );
  cache.close();
  t.equal(done, 2, 'a mount that is gone ends every wait');
});

test('a thread that is missing is asked for when orders wait, one at a time, and takes what waits by then', async (t) => {
  const channels = Array.from({ length: 4 }, () => new MessageChannel());
  t.teardown(() => {
    for (const { port1 } of channels) port1.close();
  });
  const bell = (): Int32Array<SharedArrayBuffer> => new Int32Array(new SharedArrayBuffer(4));
  const asked: number[] = [];
  const cache = new RemoteCache(
    channels.map(({ port1 }) => ({ port: port1, bell: bell() })),
    (index) => asked.push(index),
    () => {},
  );
  const orderOf = (thread: number): { id: number; kind: string; node?: number } | undefined =>
    receiveMessageOnPort((channels[thread] as MessageChannel).port2)?.message;
  const done: number[] = [];
  for (const node of [11, 12, 13, 14]) cache.flush(node, () => done.push(node));
  t.match(orderOf(1), { kind: 'flush', node: 11 });
  t.same(asked, [2], 'one that is on its way is not asked for again');
  t.equal(orderOf(2), undefined, 'no order waits for a thread that has to start');
  cache.receive({ kind: 'done', id: 1, result: 0 });
  t.match(orderOf(1), { node: 12 }, 'who is there goes on meanwhile');
  cache.started(2);
  t.match(orderOf(2), { node: 13 });
  t.same(asked, [2, 3], 'and still one waits');
  cache.dropNames([{ parent: 1, name: 'a' }], () => done.push(0));
  cache.started(3);
  t.match(orderOf(3), { kind: 'names' }, 'names first: an unlock waits for them');
  t.same(asked, [2, 3], 'there are no more lines');
  cache.close();
  t.same(done.sort(), [0, 11, 12, 13, 14].sort());
});
