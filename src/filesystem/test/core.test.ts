import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { errno } from '../../base/errno.js';
import { Geometry } from '../../format/file/geometry.js';
import { pinned } from '../../libc/memory.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { memory, nodeOf, Rig, ROOT_SCOPE } from './test-rig.js';

const C = 4096;
const sizes = [0, 1, C - 1, C, C + 1, 2 * C, 3 * C + 17, 300 * C + 5];

test('files of every boundary size read back, also by a fresh core', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const contents = new Map(sizes.map((size) => [`f${size}`, randomBytes(size)]));
  for (const [name, data] of contents) rig.put(ROOT_NODE, name, data);
  const geometry = new Geometry(C);
  for (const core of [rig, new Rig(disk, { fresh: false })]) {
    for (const [name, data] of contents) {
      const node = core.walk(name);
      t.same(core.get(node), data, name);
      t.equal(
        core.getattr(node).error ??
          (core.getattr(node) as never as { attributes: { size: number } }).attributes.size,
        data.length,
      );
      t.equal(geometry.plainSize(geometry.backingSize(data.length)), data.length);
    }
  }
  t.equal(disk.openHandles, 0, 'no descriptor stays open');
});

test('random writes, truncates and reopens agree with a byte array', async (t) => {
  let seed = 12345;
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return Math.floor((seed / 0x80000000) * below);
  };
  const edge = (): number => {
    const k = random(6) * C;
    return Math.max(0, k + [0, 1, -1, 7, random(C), -random(C)][random(6)]!);
  };
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const made = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  let { handle } = made;
  const { node } = made;
  let model = Buffer.alloc(0);
  for (let step = 0; step < 3000; step++) {
    const what = random(10);
    if (what < 5) {
      const offset = edge();
      const data = randomBytes(1 + random([10, 200, C, 3 * C][random(4)]!));
      t.equal((rig.write(node, handle, offset, data) as { written: number }).written, data.length);
      if (offset + data.length > model.length) {
        const bigger = Buffer.alloc(offset + data.length);
        model.copy(bigger);
        model = bigger;
      }
      data.copy(model, offset);
    } else if (what < 7) {
      const size = edge();
      rig.setattr(node, { size });
      const next = Buffer.alloc(size);
      model.copy(next);
      model = next;
    } else if (what < 8) {
      rig.release(handle);
      handle = (rig.open(node, true) as { handle: number }).handle;
    } else {
      const offset = edge();
      const length = 1 + random(2 * C);
      const answer = rig.read(node, handle, offset, length);
      const expected = model.subarray(offset, offset + length);
      if (answer.error !== undefined || !expected.equals(answer.data as Buffer)) {
        t.fail(`step ${step}: ${answer.error ?? 'wrong bytes'}`);
        return;
      }
    }
  }
  rig.release(handle);
  const fresh = new Rig(disk, { fresh: false });
  t.same(fresh.get(fresh.walk('f')), model);
  t.same(rig.get(node), model);
});

test('names of every kind: 255 bytes, not UTF-8, long and short side by side', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const names = ['a', 'x'.repeat(160), 'y'.repeat(161), 'z'.repeat(255), '\xff\xfe\x01', '+odd', 'ü'];
  for (const name of names) rig.put(ROOT_NODE, name, name);
  const fresh = new Rig(disk, { fresh: false });
  t.same(fresh.names(ROOT_NODE), [...names].sort());
  t.same(fresh.names(ROOT_NODE, 2, true), [...names].sort(), 'also with attributes');
  for (const name of names) t.same(fresh.get(fresh.walk(name)), Buffer.from(name));
  t.match(fresh.create(ROOT_NODE, 'n'.repeat(256)), { error: 'ENAMETOOLONG' });
  const long = 'z'.repeat(255);
  t.match(fresh.rename(ROOT_NODE, long, ROOT_NODE, 'w'.repeat(200)), {});
  t.match(fresh.unlink(ROOT_NODE, 'y'.repeat(161)), {});
  const left = names.filter((name) => name !== long && name !== 'y'.repeat(161));
  t.same(fresh.names(ROOT_NODE), [...left, 'w'.repeat(200)].sort());
});

test('directories, renames, links and symlinks', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const a = nodeOf(rig.mkdir(ROOT_NODE, 'a'));
  const b = nodeOf(rig.mkdir(a, 'b'));
  rig.put(b, 'file', 'content');
  t.match(rig.rename(a, 'b', ROOT_NODE, 'c'), {});
  t.same(rig.get(rig.walk('c', 'file')), Buffer.from('content'));
  const other = new Rig(disk, { fresh: false });
  t.same(other.get(other.walk('c', 'file')), Buffer.from('content'), 'a moved directory opens');
  t.match(rig.rename(ROOT_NODE, 'c', ROOT_NODE, 'a', 1), { error: 'EEXIST' });
  t.match(rig.rmdir(ROOT_NODE, 'c'), { error: 'ENOTEMPTY' });

  const file = rig.walk('c', 'file');
  const linked = rig.link(file, a, 'second') as { node: number; attributes: { nlink: number } };
  t.equal(linked.node, file, 'one inode, one node');
  t.equal(linked.attributes.nlink, 2);
  t.match(rig.unlink(rig.walk('c'), 'file'), {});
  t.same(rig.get(rig.walk('a', 'second')), Buffer.from('content'));
  const again = new Rig(disk, { fresh: false });
  t.same(again.get(again.walk('a', 'second')), Buffer.from('content'), 'an unbound file opens');
  t.match(again.rename(again.walk('a'), 'second', ROOT_NODE, 'third'), {});
  t.same(again.get(again.walk('third')), Buffer.from('content'));

  const target = '../some/where/\xff';
  const symlink = rig.symlink(ROOT_NODE, 's', target) as { node: number; attributes: { size: number } };
  t.equal(symlink.attributes.size, target.length);
  t.match(rig.readlink(symlink.node), { target });
  t.match(rig.symlink(ROOT_NODE, 'long', 'x'.repeat(4096)), { error: 'ENAMETOOLONG' });
  t.match(rig.rmdir(ROOT_NODE, 'c'), {});
  t.match(rig.lookup(ROOT_NODE, 'c'), { negative: true });
});

test('an unlinked file stays readable through its handle', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  rig.write(node, handle, 0, 'still here');
  rig.unlink(ROOT_NODE, 'f');
  rig.write(node, handle, 10, '!');
  t.same((rig.read(node, handle, 0, 100) as { data: Buffer }).data, Buffer.from('still here!'));
  t.equal((rig.getattr(node) as { attributes: { nlink: number } }).attributes.nlink, 0);
  t.match(rig.open(node), { handle: 1 }, 'it can be opened again through the handle that is open');
});

test('attributes: modes, owners, times in nanoseconds, set-user-id cleared by a write', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const node = rig.put(ROOT_NODE, 'f', 'x');
  t.match(rig.getattr(node), { attributes: { uid: 1000, gid: 1000, mode: 0o100644, size: 1 } });
  t.match(rig.setattr(node, { mode: 0o4755, uid: 5, gid: 6, mtime: [-5, 123456789] }), {
    attributes: { mode: 0o104755, uid: 5, gid: 6, mtime: -5, mtimeNs: 123456789 },
  });
  const handle = (rig.open(node, true) as { handle: number }).handle;
  const reply = rig.start((r) =>
    rig.core.files.write(
      node,
      handle,
      {
        offset: 0,
        length: 0,
        buffer: { bytes: Buffer.from('y'), address: 0 },
        at: 0,
        fromCache: false,
        killPrivileges: true,
      },
      { uid: 1, gid: 1, pid: 1, trusted: false },
      r,
    ),
  );
  t.match(reply.answers[0], { written: 0 });
  t.match(rig.getattr(node), { attributes: { mode: 0o100755 } });
  t.same(rig.cache.forgotten, [node], 'the kernel is told: it asks for no mode after a write');
});

test('set-user-id that can not be cleared stops the write', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  rig.write(node, handle, 0, 'x');
  rig.setattr(node, { mode: 0o4755 });
  disk.fchmod = () => -errno.EIO;
  const buffer = { bytes: Buffer.from('y'), address: 0 };
  const request = { offset: 0, length: 1, buffer, at: 0, fromCache: false, killPrivileges: true };
  const user = { uid: 1, gid: 1, pid: 1, trusted: false };
  const written = rig.start((r) => rig.core.files.write(node, handle, request, user, r));
  t.same(written.answers, [{ error: 'EIO' }]);
  const what = { kind: 'allocate', offset: 0, length: 10, keepSize: false } as const;
  const allocated = rig.start((r) => rig.core.space.fallocate(node, handle, what, user, r));
  t.same(allocated.answers, [{ error: 'EIO' }]);
  const truncating = { write: true, truncate: true, killPrivileges: true };
  const opened = rig.start((r) => rig.core.files.open(node, truncating, user, r));
  t.same(opened.answers, [{ error: 'EIO' }]);
  t.match(rig.getattr(node), { attributes: { size: 1 } });
});

test('times of a deleted file are accepted, as its writeback sets them; nothing else is', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  rig.release(handle);
  rig.unlink(ROOT_NODE, 'f');
  t.match(rig.setattr(node, { mtime: [1000, 5] }), { attributes: { ino: node } });
  t.match(rig.setattr(node, { mode: 0o600 }), { error: 'ESTALE' });
});

test('a header written at close leaves the modification time alone', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  rig.write(node, handle, 0, 'one');
  rig.write(node, handle, 3, 'two');
  rig.setattr(node, { mtime: [1000, 5] });
  rig.release(handle);
  t.match(rig.getattr(node), { attributes: { mtime: 1000, mtimeNs: 5 } });
});

test('holes: a growing truncate and a write beyond the end read as zeros', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  rig.setattr(node, { size: 5 * C });
  t.same((rig.read(node, handle, C, C) as { data: Buffer }).data, Buffer.alloc(C));
  rig.write(node, handle, 2 * C + 10, 'x');
  rig.release(handle);
  const expected = Buffer.alloc(5 * C);
  expected.write('x', 2 * C + 10);
  const fresh = new Rig(disk, { fresh: false });
  t.same(fresh.get(fresh.walk('f')), expected);
});

test('nothing that a person wrote is in the vault', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const secret = 'PLAINTEXTMARKER';
  const dir = nodeOf(rig.mkdir(ROOT_NODE, `${secret}-dir`));
  rig.put(dir, `${secret}-${'n'.repeat(200)}`, secret.repeat(1000));
  rig.symlink(dir, 'link', `/tmp/${secret}`);
  rig.createScope(`${secret}-scope`, 9);
  const dump = disk.dump();
  t.equal(dump.indexOf(secret), -1);
  t.ok(dump.length > 15_000);
});

test('the root scope is where everything begins', async (t) => {
  const rig = new Rig(new MemoryDisk());
  t.equal(rig.core.scope(ROOT_SCOPE)?.state, 'open');
});

test('a hard link planted in the vault does not show one file under another name', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const a = rig.put(ROOT_NODE, 'a', 'content of a');
  rig.put(ROOT_NODE, 'b', 'content of b');
  const root = rig.core.volume.directories.get(1);
  if (root === undefined) throw new Error('no root');
  const stored = (name: string): string => rig.core.volume.directories.stored(root, name).name;
  disk.unlink(disk.root, stored('b'));
  disk.link(disk.root, stored('a'), disk.root, stored('b'));
  const fresh = new Rig(disk, { fresh: false });
  t.same(fresh.get(fresh.walk('a')), Buffer.from('content of a'));
  t.equal(fresh.get(fresh.walk('b')), 'EIO');
  t.ok(a);
});

test('a name that a linked file lost does not lead to another file', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const a = rig.put(ROOT_NODE, 'a', 'first');
  rig.link(a, ROOT_NODE, 'b');
  rig.unlink(ROOT_NODE, 'b');
  rig.rename(ROOT_NODE, 'a', ROOT_NODE, 'c');
  rig.link(a, ROOT_NODE, 'd');
  rig.unlink(ROOT_NODE, 'c');
  rig.put(ROOT_NODE, 'a', 'second');
  t.same(rig.get(rig.walk('d')), Buffer.from('first'));
  t.same(rig.get(rig.walk('a')), Buffer.from('second'));
});

test('linked symlinks and a file whose count fell to one are one inode', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const symlink = nodeOf(rig.symlink(ROOT_NODE, 'p', 'target'));
  t.equal(nodeOf(rig.link(symlink, ROOT_NODE, 'q')), symlink);
  rig.unlink(ROOT_NODE, 'p');
  t.match(rig.readlink(rig.walk('q')), { target: 'target' });
  const disk = new MemoryDisk();
  const first = new Rig(disk);
  first.link(first.put(ROOT_NODE, 'x', 'data'), ROOT_NODE, 'y');
  const fresh = new Rig(disk, { fresh: false });
  const x = fresh.walk('x');
  const { handle } = fresh.open(x, true) as { handle: number };
  fresh.unlink(ROOT_NODE, 'x');
  t.equal(fresh.walk('y'), x);
  t.match(fresh.write(x, handle, 0, 'DATA'), { written: 4 });
  fresh.release(handle);
  t.same(fresh.get(fresh.walk('y')), Buffer.from('DATA'));
});

test('times beyond what a number holds are kept at its end, not thrown at', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const node = rig.put(ROOT_NODE, 'f', '');
  t.match(rig.setattr(node, { mtime: [Number.MAX_SAFE_INTEGER, 0] }), {
    attributes: { mtime: Number.MAX_SAFE_INTEGER },
  });
});

test('a failed repair keeps no secret and no descriptor, however often it is tried', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  rig.write(node, handle, 0, randomBytes(3 * C));
  rig.fsync(node, handle);
  rig.release(handle);
  const root = rig.core.volume.directories.get(1);
  if (root === undefined) throw new Error('no root');
  const { name } = rig.core.volume.directories.stored(root, 'f');
  disk.setRaw([name], disk.raw([name]).subarray(0, new Geometry(C).backingSize(C)));
  const again = new Rig(disk, { fresh: false, unclean: true });
  const before = memory.used;
  for (let i = 0; i < 20; i++) t.equal(again.get(again.walk('f')), 'EIO');
  t.equal(memory.used, before);
  t.equal(disk.openHandles, 0);
});

test('a direct write is answered when pages of its part are gone, where there may be any', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  const user = { uid: 1, gid: 1, pid: 1, trusted: false };
  const buffer = pinned(2 * C);
  const write = (offset: number, direct: boolean) => {
    const request = { offset, length: C, buffer, at: 0, fromCache: false, killPrivileges: false, direct };
    return rig.start((r) => rig.core.files.write(node, handle, request, user, r)).answers;
  };
  const read = (direct: boolean) =>
    rig.start((r) => rig.core.files.read(node, handle, { offset: 0, length: 9, direct }, user, r)).answers;
  t.match(write(0, true), [{ written: C }]);
  read(true);
  t.match(write(C, true), [{ written: C }]);
  t.same(rig.cache.ranges, [], 'nobody has read by the cache: no order');
  read(false);
  rig.cache.hold = true;
  const answers = write(C, true);
  t.same(rig.cache.ranges, [{ node, offset: C, length: C }]);
  t.same(answers, [], 'not before its pages are gone');
  t.ok(rig.cache.answer('range'));
  t.match(answers, [{ written: C }]);
  t.match(write(0, false), [{ written: C }]);
  t.equal(rig.cache.ranges.length, 1, 'the kernel keeps its own pages in order');
  for (let i = 0; i < 30; i++) write(C, true);
  t.equal(rig.cache.ranges.length, 31);
  while (rig.cache.answer('range'));
  write(C, true);
  const last = write(C, true);
  t.same(rig.cache.ranges.at(-1), { node, offset: 0, length: -1 }, 'nobody reads any more: all pages, once');
  t.equal(rig.cache.ranges.length, 33);
  t.match(write(C, true), [], 'one that comes meanwhile waits for its own');
  while (rig.cache.answer('range'));
  t.match(last, [{ written: C }]);
  t.match(write(C, true), [{ written: C }]);
  t.equal(rig.cache.ranges.length, 34, 'and then none');
  read(false);
  write(C, true);
  t.equal(rig.cache.ranges.length, 35, 'until somebody does');
});
