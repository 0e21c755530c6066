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
  const cache = new RemoteCache(lines);
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
