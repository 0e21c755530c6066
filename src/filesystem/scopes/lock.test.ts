import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { LateExecutor, type TestCache } from '../test/test-ports.js';
import { memory, nodeOf, Rig, ROOT_SCOPE, ROOT_SECRET, secretOf, user } from '../test/test-rig.js';

interface Opened {
  node: number;
  handle: number;
}

test('the order of a lock: flush what may be dirty, drop names and pages, wipe, drop again', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const scope = rig.createScope('alice', 1);
  const alice = rig.walk('alice');
  const file = rig.create(alice, 'f') as Opened;
  rig.write(file.node, file.handle, 0, 'data');
  rig.put(alice, 'closed', 'x');
  const outside = rig.create(ROOT_NODE, 'outside') as Opened;
  rig.cache.calls.length = 0;
  const states: string[] = [];
  rig.cache.onFlush = () => states.push(rig.core.scope(scope)?.state ?? '?');
  const [receipt] = rig.lock(scope);
  t.same(
    rig.cache.calls.map(({ kind }) => kind),
    ['flush', 'names', 'pages', 'pages', 'names'],
  );
  t.same(states, ['locking'], 'flushed while it still has its key');
  t.ok(rig.cache.calls[0]?.nodes.includes(file.node));
  t.notOk(rig.cache.calls[0]?.nodes.includes(outside.node), "another scope's files are left alone");
  t.same(rig.cache.calls[1]?.entries.map(({ name }) => name).sort(), ['closed', 'f']);
  t.ok(rig.cache.calls[2]?.nodes.includes(alice), 'the root itself too');
  t.match(receipt, { scope, generation: 1, handlesCut: 1, errors: [] });
  t.equal(rig.wipes, 1);
  t.equal(rig.core.scope(scope)?.keys, undefined);
});

test('a lock gives the descriptors of open files back, whoever still holds them', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const scope = rig.createScope('alice', 1);
  const alice = rig.walk('alice');
  rig.put(alice, 'f', 'content');
  rig.lock(scope);
  rig.unlock(scope, 1);
  const before = disk.openHandles;
  const again = rig.walk('alice');
  const found = nodeOf(rig.lookup(again, 'f'));
  const { handle } = rig.open(found) as { handle: number };
  t.same((rig.read(found, handle, 0, 4) as { data: Buffer }).data, Buffer.from('cont'));
  const files = [{ node: found, handle }, ...['g', 'h'].map((name) => rig.create(again, name) as Opened)];
  t.ok(disk.openHandles >= before + 3);
  rig.lock(scope);
  t.ok(disk.openHandles <= before, `${disk.openHandles} of ${before}`);
  rig.unlock(scope, 1);
  for (const one of files) {
    t.match(rig.read(one.node, one.handle, 0, 4), { error: 'ENOKEY' });
    rig.release(one.handle);
  }
  t.equal(rig.get(nodeOf(rig.lookup(rig.walk('alice'), 'f'))).toString(), 'content');
});

test('after a lock everything answers ENOKEY, and stays dead after the next unlock', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const scope = rig.createScope('alice', 1);
  const alice = rig.walk('alice');
  const dir = nodeOf(rig.mkdir(alice, 'dir'));
  const file = rig.create(dir, 'f') as Opened;
  rig.write(file.node, file.handle, 0, 'data');
  const listing = rig.opendir(alice) as { handle: number };
  rig.lock(scope);
  const dead = (): void => {
    t.match(rig.read(file.node, file.handle, 0, 4), { error: 'ENOKEY' });
    t.match(rig.write(file.node, file.handle, 0, 'x'), { error: 'ENOKEY' });
    t.match(rig.open(file.node), { error: 'ENOKEY' });
    t.match(rig.getattr(file.node), { error: 'ENOKEY' });
    t.match(rig.lookup(dir, 'f'), { error: 'ENOKEY' });
    t.match(rig.fsync(file.node, file.handle), { error: 'ENOKEY' });
    const sink = { plus: false, add: () => true, addNode: () => true, fits: () => true, end: () => {} };
    const reply = rig.start((r) =>
      rig.core.readdir(alice, listing.handle, 0, { uid: 0, gid: 0, pid: 1, trusted: false }, sink, r),
    );
    t.match(reply.answers[0], { error: 'ENOKEY' });
  };
  dead();
  t.match(rig.lookup(alice, 'dir'), { error: 'ENOKEY' });
  t.match(rig.mkdir(alice, 'new'), { error: 'ENOKEY' });
  t.match(rig.names(alice), { error: 'ENOKEY' });
  t.equal(nodeOf(rig.lookup(ROOT_NODE, 'alice')), alice, 'the root of a locked scope is still there');
  t.match(rig.getattr(alice), { attributes: { nlink: 3 } });

  t.equal(rig.unlock(scope, 1), 'ok');
  dead();
  const again = rig.walk('alice', 'dir', 'f');
  t.not(again, file.node, 'a new generation has new nodes');
  t.equal(rig.walk('alice'), alice, "but the scope's root keeps its own");
  t.same(rig.get(again), Buffer.from('data'));
  t.match(rig.release(file.handle), {});
  t.equal(rig.core.scope(scope)?.generation, 2);
});

test('while locking: pages are written back and times are set, nothing else is served', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const scope = rig.createScope('alice', 1);
  const alice = rig.walk('alice');
  const file = rig.create(alice, 'f') as Opened;
  rig.cache.hold = true;
  const receipts: unknown[] = [];
  rig.core.locks.lock([scope], 'test', Number.POSITIVE_INFINITY, (got) => receipts.push(...got));
  t.equal(rig.core.scope(scope)?.state, 'locking');
  t.match(rig.read(file.node, file.handle, 0, 1), { error: 'ENOKEY' });
  t.match(rig.write(file.node, file.handle, 0, 'x'), { error: 'ENOKEY' });
  t.match(rig.open(file.node), { error: 'ENOKEY' });
  t.match(rig.setattr(file.node, { size: 0 }), { error: 'ENOKEY' });
  t.match(rig.setattr(file.node, { mtime: [5, 6] }), { attributes: { mtime: 5, mtimeNs: 6 } });
  t.match(rig.getattr(file.node), { attributes: { cacheable: false } });
  t.equal(rig.unlock(scope, 1), 'EBUSY');
  const source = { bytes: Buffer.from('late page'), address: 0 };
  const { addressOf } = await import('../../libc/ffi.js');
  source.address = addressOf(source.bytes);
  const request = { offset: 0, length: 9, buffer: source, at: 0, fromCache: true, killPrivileges: false };
  const caller = { uid: 0, gid: 0, pid: 0, trusted: false };
  const page = rig.start((r) => rig.core.files.write(file.node, file.handle, request, caller, r));
  t.match(page.answers[0], { written: 9 });
  const trusted = { ...caller, trusted: true };
  const own = rig.start((r) =>
    rig.core.files.open(file.node, { write: false, truncate: false, killPrivileges: false }, trusted, r),
  );
  t.match(own.answers[0], { handle: 1 }, "the notifier's own open is served");
  while (rig.cache.answer());
  t.match(receipts, [{ scope, bytesFlushed: 9, errors: [] }]);
  rig.cache.hold = false;
  rig.unlock(scope, 1);
  t.same(rig.get(rig.walk('alice', 'f')), Buffer.from('late page'));
});

test('a deadline wipes although the flush hangs, answers what is under way and names the files', async (t) => {
  const disk = new MemoryDisk();
  const late = new LateExecutor(disk);
  let now = 1000;
  const setup = new Rig(disk);
  const scope = setup.createScope('alice', 1);
  setup.put(setup.walk('alice'), 'f', 'data');
  const known = [
    { id: ROOT_SCOPE, parent: undefined, path: '' },
    { id: scope, parent: ROOT_SCOPE, path: 'alice' },
  ];
  const rig = new Rig(disk, { executor: late, fresh: false, known, now: () => now });
  rig.core.scopeAccess.unlock(scope, 1, [secretOf(Buffer.alloc(32, 1))]);
  const node = rig.walk('alice', 'f');
  const { handle } = rig.open(node, true) as Opened;
  rig.cache.hold = true;
  rig.core.locks.setDeadline(scope, 5000, 6000);
  t.equal(rig.core.locks.due, 5000);
  now = 5000;
  rig.core.locks.tick(now);
  t.equal(rig.core.scope(scope)?.state, 'locking');
  t.equal(rig.core.locks.due, 6000);
  // A page comes in and its disk never answers.
  const source = { bytes: Buffer.alloc(4), address: 0 };
  const request = { offset: 0, length: 4, buffer: source, at: 0, fromCache: true, killPrivileges: false };
  const pending = rig.start((r) =>
    rig.core.files.write(node, handle, request, { uid: 0, gid: 0, pid: 0, trusted: false }, r),
  );
  t.equal(pending.answers.length, 0);
  now = 6000;
  rig.core.locks.tick(now);
  t.equal(rig.core.scope(scope)?.state, 'locked', 'the deadline is kept');
  t.match(pending.answers, [{ error: 'ENOKEY' }]);
  while (rig.cache.answer());
  t.match(rig.expired, [{ scope, reason: 'lease ended', errors: [{ file: 'f', error: 'ETIMEDOUT' }] }]);
  while (late.step());
  t.equal(pending.answers.length, 1, 'the late job does not answer a second time');
  t.equal(rig.core.locks.due, Number.POSITIVE_INFINITY);
});

test('a parent locks its children first; a child does not unlock below a locked parent', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const users = rig.createScope('users', 1);
  const alice = rig.createScope('users/alice', 2);
  const mail = rig.createScope('users/alice/mail', 3);
  rig.put(rig.walk('users', 'alice', 'mail'), 'm', 'letter');
  const receipts = rig.lock(users);
  t.same(
    receipts.map(({ scope }) => scope),
    [mail, alice, users],
  );
  t.equal(rig.unlock(mail, 3), 'ENOKEY');
  t.equal(rig.unlock(users, 1), 'ok');
  t.equal(rig.unlock(alice, 2), 'ok');
  t.equal(rig.unlock(mail, 3), 'ok');
  t.same(rig.get(rig.walk('users', 'alice', 'mail', 'm')), Buffer.from('letter'));
  const all = rig.lock(ROOT_SCOPE);
  t.equal(all.length, 4);
  t.match(rig.lookup(ROOT_NODE, 'users'), { error: 'ENOKEY' });
  t.ok(rig.core.scopeAccess.unlock(ROOT_SCOPE, 1, [secretOf(ROOT_SECRET)]).ok);
  t.equal(nodeOf(rig.lookup(ROOT_NODE, 'users')), rig.walk('users'));
});

test('scopes are apart: EXDEV between them, EBUSY for their roots, and labels follow a rename', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  nodeOf(rig.mkdir(ROOT_NODE, 'home'));
  const scope = rig.createScope('home/alice', 1);
  const alice = rig.walk('home', 'alice');
  const file = rig.put(ROOT_NODE, 'f', 'x');
  t.match(rig.rename(ROOT_NODE, 'f', alice, 'f'), { error: 'EXDEV' });
  t.match(rig.link(file, alice, 'f'), { error: 'EXDEV' });
  t.match(rig.rmdir(rig.walk('home'), 'alice'), { error: 'EBUSY' });
  const { moved } = rig;
  t.match(rig.rename(ROOT_NODE, 'home', ROOT_NODE, 'people'), {});
  t.same(moved.at(-1), [scope, 'people/alice']);
  t.match(rig.rename(rig.walk('people'), 'alice', ROOT_NODE, 'bob'), {});
  t.same(moved.at(-1), [scope, 'bob']);
  rig.put(rig.walk('bob'), 'inside', 'y');
  rig.lock(scope);
  t.match(rig.rename(ROOT_NODE, 'bob', ROOT_NODE, 'carol'), {}, 'a locked scope can be renamed');
  t.equal(rig.unlock(scope, 1), 'ok');
  t.same(rig.get(rig.walk('carol', 'inside')), Buffer.from('y'));
  const known = [
    { id: ROOT_SCOPE, parent: undefined, path: '' },
    { id: scope, parent: ROOT_SCOPE, path: 'carol' },
  ];
  const fresh = new Rig(disk, { fresh: false, known });
  t.equal(fresh.unlock(scope, 1), 'ok');
  t.same(fresh.get(fresh.walk('carol', 'inside')), Buffer.from('y'));
  t.throws(() => rig.createScope('carol', 5), /EEXIST/);
  nodeOf(rig.mkdir(ROOT_NODE, 'full'));
  rig.put(rig.walk('full'), 'f', '');
  t.throws(() => rig.createScope('full', 5), /ENOTEMPTY/);
  nodeOf(rig.mkdir(ROOT_NODE, 'empty'));
  t.ok(rig.createScope('empty', 5));
  t.throws(() => rig.createScope('none/here', 5), /ENOENT/);
});

test('a scope opens with its own secret only, and a wrong one changes nothing', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const scope = rig.createScope('alice', 1);
  rig.put(rig.walk('alice'), 'f', 'x');
  rig.lock(scope);
  t.equal(rig.unlock(scope, 2), 'EIO', 'its root record does not open');
  t.equal(rig.core.scope(scope)?.state, 'locked');
  t.equal(rig.unlock(scope, 1), 'ok');
});

test('two locks at once: both get a receipt, and the nearer deadline counts', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const scope = rig.createScope('alice', 1);
  (rig.cache as TestCache).hold = true;
  const done: string[] = [];
  rig.core.locks.lock([scope], 'first', 9000, (receipts) => done.push(`first ${receipts.length}`));
  rig.core.locks.lock([scope], 'second', 8000, (receipts) => done.push(`second ${receipts.length}`));
  t.same(done, []);
  t.equal(rig.core.locks.due, 8000);
  while (rig.cache.answer());
  t.same(done, ['first 1', 'second 1']);
  t.equal(rig.core.scope(scope)?.state, 'locked');
});

test('secret memory: a locked scope gives every slot back', async (t) => {
  const before = memory.used;
  const rig = new Rig(new MemoryDisk());
  const withRoot = memory.used;
  const scope = rig.createScope('alice', 1);
  const file = rig.create(rig.walk('alice'), 'f') as Opened;
  rig.write(file.node, file.handle, 0, randomBytes(100));
  t.ok(memory.used > withRoot);
  rig.lock(scope);
  t.equal(memory.used, withRoot);
  rig.lock(ROOT_SCOPE);
  t.equal(memory.used, before);
});

test("a lease's own deadline holds while a longer lock is under way", async (t) => {
  let now = 0;
  const rig = new Rig(new MemoryDisk(), { now: () => now });
  const scope = rig.createScope('alice', 1);
  rig.create(rig.walk('alice'), 'f');
  rig.core.locks.setDeadline(scope, 900, 1000);
  rig.cache.hold = true;
  rig.core.locks.lock([scope], 'manual', 9000, () => {});
  t.equal(rig.core.locks.due, 1000);
  now = 1000;
  rig.core.locks.tick(now);
  t.equal(rig.core.scope(scope)?.state, 'locked');
});

test('a lease that ends while its scope is being locked leaves the lock no longer than the leases that are left', async (t) => {
  let now = 0;
  const rig = new Rig(new MemoryDisk(), { now: () => now });
  const scope = rig.createScope('alice', 1);
  rig.create(rig.walk('alice'), 'f');
  rig.cache.hold = true;
  rig.core.locks.lock([scope], 'manual', 9000, () => {});
  t.equal(rig.core.locks.due, 9000);
  t.equal(rig.core.locks.setDeadline(scope, 900, 1000), false);
  t.equal(rig.core.locks.due, 1000);
  now = 1000;
  rig.core.locks.tick(now);
  t.equal(rig.core.scope(scope)?.state, 'locked');
});

test('three locks that overlap: each receipt once for each who asked', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const child = rig.createScope('alice', 1);
  rig.cache.hold = true;
  const got: string[][] = [];
  for (const ids of [[child], [ROOT_SCOPE], [ROOT_SCOPE]]) {
    rig.core.locks.lock(ids, 'test', Number.POSITIVE_INFINITY, (receipts) =>
      got.push(receipts.map((r) => r.scope)),
    );
  }
  while (rig.cache.answer());
  t.same(got, [[child], [child, ROOT_SCOPE], [child, ROOT_SCOPE]]);
});

test('pages are enough for a receipt; names are for the next unlock', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const scope = rig.createScope('alice', 1);
  rig.put(rig.walk('alice'), 'f', 'x');
  rig.cache.hold = true;
  let receipts = 0;
  rig.core.locks.lock([scope], 'test', Number.POSITIVE_INFINITY, (got) => {
    receipts += got.length;
  });
  // Names and pages before the wipe, then pages once more.
  t.ok(rig.cache.answer('names'));
  t.ok(rig.cache.answer('pages'));
  t.ok(rig.cache.answer('pages'));
  t.equal(receipts, 1);
  t.equal(rig.unlock(scope, 1), 'EBUSY', 'the kernel still has names of the old generation');
  t.ok(rig.cache.answer('names'));
  t.equal(rig.unlock(scope, 1), 'ok');
});

test('a deadline before the header was written: what was fsynced is there after the next unlock, and the next mount', async (t) => {
  const C = 4096;
  for (const sparse of [false, true]) {
    const disk = new MemoryDisk();
    const executor = new LateExecutor(disk);
    const rig = new Rig(disk, { executor });
    const settle = (): void => {
      while (executor.step());
    };
    const { node, handle } = rig.create(ROOT_NODE, 'f') as Opened;
    const write = (offset: number, fill: number): void => {
      const reply = rig.startWrite(node, handle, offset, Buffer.alloc(C, fill));
      settle();
      t.match(reply.answers, [{ written: C }]);
    };
    write(0, 1);
    if (sparse) write(5 * C, 2);
    const synced = rig.start((reply) => rig.core.files.fsync(node, handle, false, user, reply));
    settle();
    t.same(synced.answers, [{}]);
    write((sparse ? 9 : 1) * C, 3);
    // Somebody stalls the flush until the lease's end.
    (rig.cache as TestCache).hold = true;
    rig.core.locks.lock([ROOT_SCOPE], 'stalled', 1, () => {});
    rig.core.locks.tick(Number.MAX_SAFE_INTEGER);
    (rig.cache as TestCache).hold = false;
    while (rig.cache.answer());
    settle();
    t.equal(rig.core.volume.leftBehind.size, 1, 'the volume knows');
    const left = [...rig.core.volume.leftBehind];
    const read = (now: Rig): Buffer => {
      const opened = now.start((reply) =>
        now.core.files.open(
          now.walk('f'),
          { write: false, truncate: false, killPrivileges: false },
          user,
          reply,
        ),
      );
      settle();
      const { handle: number } = opened.answers[0] as Opened;
      const got = now.start((reply) =>
        now.core.files.read(now.walk('f'), number, { offset: 0, length: 16 * C }, user, reply),
      );
      settle();
      now.start((reply) => now.core.files.release(number, reply));
      settle();
      return (got.answers[0] as { data: Buffer }).data;
    };
    const check = (now: Rig, where: string): void => {
      const data = read(now);
      t.same(data.subarray(0, C), Buffer.alloc(C, 1), where);
      if (sparse) t.same(data.subarray(5 * C, 6 * C), Buffer.alloc(C, 2), where);
      if (sparse) t.same(data.subarray(2 * C, 3 * C), Buffer.alloc(C), where);
    };
    check(new Rig(disk, { fresh: false, unclean: true, executor }), 'the next mount');
    const again = new Rig(disk, { fresh: false, executor });
    for (const ino of left) again.core.volume.leftBehind.add(ino);
    check(again, 'the next unlock');
    t.equal(again.core.volume.leftBehind.size, 0, 'and it is repaired');
    check(new Rig(disk, { fresh: false, executor }), 'for good');
  }
});
