import { test } from 'tap';
import { GroupSync } from './group-sync.js';

/** A disk that syncs when told to. */
class Disk {
  readonly waiting: { done: () => void; fail: (error: Error) => void }[] = [];
  readonly sync = (): Promise<void> =>
    new Promise((done, fail) => {
      this.waiting.push({ done, fail });
    });
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('callers at the same time share a sync, but never one that began before they asked', async (t) => {
  const disk = new Disk();
  const group = new GroupSync(disk.sync);
  const log: string[] = [];
  const ask = (name: string): void => void group.wait().then(() => log.push(name));
  ask('a');
  await turn();
  t.equal(disk.waiting.length, 1);
  ask('b');
  ask('c');
  await turn();
  t.equal(disk.waiting.length, 1, 'one at a time');
  disk.waiting[0]?.done();
  await turn();
  t.same(log, ['a'], 'those who came later are not told yet');
  t.equal(disk.waiting.length, 2);
  disk.waiting[1]?.done();
  await turn();
  t.same(log, ['a', 'b', 'c']);
  t.equal(group.count, 2);
});

test('a failed sync fails all who wait and all who come', async (t) => {
  const disk = new Disk();
  const group = new GroupSync(disk.sync);
  const first = group.wait();
  await turn();
  const second = group.wait();
  disk.waiting[0]?.fail(new Error('EIO'));
  await t.rejects(first, { message: 'EIO' });
  await t.rejects(second, { message: 'EIO' });
  await t.rejects(group.wait(), { message: 'EIO' });
  t.equal(group.count, 1, 'it is not tried again');
});
