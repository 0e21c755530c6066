import { test } from 'tap';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { flag, ROOT_NODE } from '../inodes/inode-table.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import { LateExecutor } from './test-ports.js';
import { Rig, user } from './test-rig.js';

/** Jobs that are still under way when their scope is locked, or that overlap others on the same file. */

const C = 4096;

function setup(content: Buffer) {
  const disk = new MemoryDisk();
  const executor = new LateExecutor(disk);
  const rig = new Rig(disk, { executor });
  const finish = (): void => {
    while (executor.step()) {}
  };
  const scope = rig.createScope('alice', 1);
  const { node, handle } = rig.create(rig.walk('alice'), 'f') as { node: number; handle: number };
  rig.startWrite(node, handle, 0, content);
  finish();
  rig.start((reply) => rig.core.files.fsync(node, handle, false, user, reply));
  finish();
  return { disk, executor, rig, finish, scope, node, handle };
}

test('a job of the locked generation is done before the next one begins', async (t) => {
  for (const what of ['truncate', 'overwrite'] as const) {
    const { disk, executor, rig, finish, scope, node, handle } = setup(Buffer.from('old data'));
    const late =
      what === 'truncate'
        ? rig.start((reply) => rig.core.attributes.setattr(node, { size: 0 }, user, reply))
        : rig.startWrite(node, handle, 0, Buffer.from('OLD'));
    t.equal(late.answers.length, 0);
    t.ok(executor.waiting.length > 0, 'its job waits for the disk');
    const receipts = rig.lock(scope, 0);
    rig.core.locks.tick(Number.MAX_SAFE_INTEGER);
    t.match(late.answers, [{ error: 'ENOKEY' }]);
    t.match(
      receipts,
      [{ errors: [{ file: 'f', error: 'ETIMEDOUT' }] }],
      `${what}: the receipt names the file`,
    );
    t.equal(rig.unlock(scope, 1), 'EBUSY', 'its disk may still change');
    finish();
    t.equal(rig.unlock(scope, 1), 'ok');
    const again = rig.walk('alice', 'f');
    const opened = rig.open(again, true) as { handle: number };
    rig.startWrite(again, opened.handle, 0, Buffer.from('IMPORTANT'));
    finish();
    rig.start((reply) => rig.core.files.release(opened.handle, reply));
    rig.start((reply) => rig.core.files.release(handle, reply));
    finish();
    const known = [
      ...rig.core.volume.scopes.map(({ id, parent, path }) => ({ id, parent: parent?.id, path })),
    ];
    const fresh = new Rig(disk, { fresh: false, known });
    t.equal(fresh.unlock(scope, 1), 'ok');
    t.same(fresh.get(fresh.walk('alice', 'f')), Buffer.from('IMPORTANT'), what);
  }
});

test('plaintext of an operation that a lock outran is gone at once', async (t) => {
  const { rig, finish, scope, node, handle } = setup(Buffer.alloc(2 * C, 'old secret '));
  const taken: IoBuffers[] = [];
  const { io } = rig.core.volume;
  const take = io.take.bind(io);
  io.take = () => {
    const buffers = take();
    taken.push(buffers);
    return buffers;
  };
  rig.startWrite(node, handle, 10, Buffer.from('new secret'));
  while (!taken.some(({ edges }) => edges.bytes.includes('new secret'))) {
    if (rig.core.nodes.files.size === 0) break;
    finish();
    rig.startWrite(node, handle, 20, Buffer.from('new secret'));
  }
  t.ok(
    taken.some(({ edges }) => edges.bytes.includes('new secret')),
    'it was there',
  );
  rig.lock(scope, 0);
  rig.core.locks.tick(Number.MAX_SAFE_INTEGER);
  t.notOk(taken.some(({ edges }) => edges.bytes.includes('secret')));
});

test('an fsync that ends while the file shrinks does not promise the old size', async (t) => {
  const disk = new MemoryDisk();
  const executor = new LateExecutor(disk);
  for (let order = 0; order < 8; order++) {
    const rig = new Rig(disk, { executor, fresh: order === 0 });
    const finish = (): void => {
      while (executor.step()) {}
    };
    const name = `f${order}`;
    const { node, handle } = rig.create(ROOT_NODE, name) as { node: number; handle: number };
    rig.startWrite(node, handle, 0, Buffer.alloc(5 * C, 'x'));
    finish();
    rig.start((reply) => rig.core.files.fsync(node, handle, false, user, reply));
    finish();
    rig.startWrite(node, handle, C, Buffer.alloc(C, 'y'));
    finish();
    rig.start((reply) => rig.core.files.fsync(node, handle, false, user, reply));
    while (executor.waiting[0]?.job?.op === 'pwrite') executor.step();
    t.equal(executor.waiting[0]?.job?.op, 'fsync');
    rig.start((reply) => rig.core.attributes.setattr(node, { size: C }, user, reply));
    // The fsync ends after so many steps of the truncate.
    for (let i = 0; i < order; i++) executor.step((waiting) => waiting - 1);
    finish();
    const slot = rig.core.volume.table.slot(node);
    t.notOk(rig.core.volume.table.has(slot, flag.DEAD));
    const header = rig.core.nodes.files.get(slot)?.header;
    t.equal(header?.size, C);
    t.ok((header?.syncedSize ?? 0) <= C, `after ${order} steps: ${header?.syncedSize}`);
    rig.start((reply) => rig.core.files.release(handle, reply));
    finish();
  }
});
