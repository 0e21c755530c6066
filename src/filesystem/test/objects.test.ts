import { test } from 'tap';
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../disk/backing.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { nodeOf, Rig, user } from './test-rig.js';

type Opened = { node: number; handle: number };
const again = (disk: MemoryDisk): Rig => new Rig(disk, { fresh: false });

test('fifos, sockets and device nodes are made, seen after a remount, renamed, linked and removed', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const long = 'n'.repeat(255);
  // new_encode_dev: minor 0x12345 and major 0x678.
  const rdev = (0x12345 & 0xff) | (0x678 << 8) | ((0x12345 & ~0xff) << 12);
  for (const [name, mode] of [
    ['fifo', 0o010644],
    ['sock', 0o140755],
    [long, 0o020600],
    ['block', 0o060660],
  ] as const) {
    const made = rig.mknod(ROOT_NODE, name, mode, rdev);
    t.match(made, { attributes: { mode, rdev, uid: 1000, gid: 1000 } });
    t.equal(rig.mknod(ROOT_NODE, name, mode).error, 'EEXIST');
  }
  const fresh = again(disk);
  t.match(fresh.lookup(ROOT_NODE, long), { attributes: { mode: 0o020600, rdev } });
  t.same(fresh.rename(ROOT_NODE, 'fifo', ROOT_NODE, 'other'), {});
  t.match(fresh.link(fresh.walk('other'), ROOT_NODE, 'second'), { attributes: { nlink: 2 } });
  t.same(fresh.unlink(ROOT_NODE, long), {});
  t.same(fresh.names(ROOT_NODE), ['block', 'other', 'second', 'sock']);
  disk.faults.before = (call) => (call === 'makeNode' ? -28 : 0);
  t.equal(fresh.mknod(ROOT_NODE, 'x', 0o010644).error, 'ENOSPC');
});

test('a file without a name is written, gets one, and is bound to it; without one it is gone', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const directory = nodeOf(rig.mkdir(ROOT_NODE, 'd'));
  const { node, handle } = rig.createUnnamed(directory) as Opened;
  t.match(rig.getattr(node), { attributes: { nlink: 0, uid: 1000 } });
  rig.write(node, handle, 0, 'before');
  t.same(rig.names(directory), []);
  t.match(rig.link(node, directory, 'named'), { attributes: { nlink: 1, size: 6 } });
  rig.write(node, handle, 6, ' and after');
  t.match(rig.link(node, directory, 'twice'), { attributes: { nlink: 2 } });
  rig.release(handle);
  const empty = rig.createUnnamed(directory) as Opened;
  t.match(rig.link(empty.node, directory, 'empty'), { attributes: { nlink: 1, size: 0 } });
  rig.write(empty.node, empty.handle, 0, 'later');
  rig.release(empty.handle);
  const lost = rig.createUnnamed(directory) as Opened;
  rig.write(lost.node, lost.handle, 0, 'lost');
  rig.release(lost.handle);
  const fresh = again(disk);
  t.same(fresh.names(fresh.walk('d')), ['empty', 'named', 'twice']);
  t.same(fresh.get(fresh.walk('d', 'named')), Buffer.from('before and after'));
  t.same(fresh.get(fresh.walk('d', 'twice')), Buffer.from('before and after'));
  t.same(fresh.get(fresh.walk('d', 'empty')), Buffer.from('later'));
});

test('a file without a name whose link fails stays as it was, and its name is bound', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const { node, handle } = rig.createUnnamed(ROOT_NODE) as Opened;
  rig.write(node, handle, 0, 'bytes');
  disk.faults.before = (call) => (call === 'link' ? -28 : 0);
  t.equal(rig.link(node, ROOT_NODE, 'f').error, 'ENOSPC');
  disk.faults.before = () => 0;
  t.equal(rig.lookup(ROOT_NODE, 'f').error ?? 'none', 'none');
  t.match(rig.link(node, ROOT_NODE, 'f'), { attributes: { nlink: 1 } });
  rig.release(handle);
  const [stored] = (disk.list(disk.root) as { name: string }[]).map(({ name }) => name) as [string];
  const made = rig.create(ROOT_NODE, 'other') as Opened;
  rig.release(made.handle);
  const other = (disk.list(disk.root) as { name: string }[]).find(({ name }) => name !== stored)
    ?.name as string;
  // What an attacker could do: its bytes and binding under another file's name.
  disk.setRaw([other], Buffer.from(disk.raw([stored])));
  for (const [key, value] of disk.xattrs([stored])) disk.xattrs([other]).set(key, value);
  const fresh = again(disk);
  t.same(fresh.get(fresh.walk('f')), Buffer.from('bytes'));
  t.equal(fresh.get(fresh.walk('other')), 'EIO');
});

test('exchange: files, directories, both kinds, over directories, long names, hard links; then a remount', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const left = nodeOf(rig.mkdir(ROOT_NODE, 'left'));
  const right = nodeOf(rig.mkdir(ROOT_NODE, 'right'));
  const long = 'L'.repeat(240);
  rig.put(left, 'a', 'aaa');
  rig.put(right, long, 'bbb');
  rig.put(nodeOf(rig.mkdir(left, 'dir')), 'inside', 'ddd');
  rig.symlink(right, 'link', 'to somewhere');
  rig.link(rig.walk('left', 'a'), ROOT_NODE, 'alias');
  t.equal(rig.rename(left, 'a', right, 'none', RENAME_EXCHANGE).error, 'ENOENT');
  t.equal(rig.rename(left, 'none', right, long, RENAME_EXCHANGE).error, 'ENOENT');
  t.same(rig.rename(left, 'a', right, long, RENAME_EXCHANGE), {});
  t.same(rig.rename(left, 'dir', right, 'link', RENAME_EXCHANGE), {});
  const check = (now: Rig): void => {
    t.same(now.get(now.walk('left', 'a')), Buffer.from('bbb'));
    t.same(now.get(now.walk('right', long)), Buffer.from('aaa'));
    t.same(now.get(now.walk('alias')), Buffer.from('aaa'));
    t.same(now.get(now.walk('right', 'link', 'inside')), Buffer.from('ddd'));
    t.match(now.readlink(now.walk('left', 'dir')), { target: 'to somewhere' });
    t.same(now.names(now.walk('left')), ['a', 'dir']);
    t.same(now.names(now.walk('right')), [long, 'link'].sort());
  };
  check(rig);
  t.same(rig.unlink(left, 'a'), {});
  t.same(rig.put(left, 'a', 'bbb') > 0, true);
  check(again(disk));
  const flags = [RENAME_EXCHANGE | RENAME_NOREPLACE, RENAME_EXCHANGE | RENAME_WHITEOUT, 8];
  for (const flag of flags) t.equal(rig.rename(left, 'a', right, long, flag).error, 'EINVAL');
});

test('an exchange that the disk refuses leaves both where they were', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  rig.put(ROOT_NODE, 'a', 'aaa');
  rig.put(ROOT_NODE, 'b', 'bbb');
  disk.faults.before = (call) => (call === 'rename' ? -5 : 0);
  t.equal(rig.rename(ROOT_NODE, 'a', ROOT_NODE, 'b', RENAME_EXCHANGE).error, 'EIO');
  disk.faults.before = () => 0;
  for (const now of [rig, again(disk)]) {
    t.same(now.get(now.walk('a')), Buffer.from('aaa'));
    t.same(now.get(now.walk('b')), Buffer.from('bbb'));
  }
});

test('power cuts in an exchange: each name opens, as one file or the other', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  for (const name of ['a', 'b']) {
    const { node, handle } = rig.create(ROOT_NODE, name) as Opened;
    rig.write(node, handle, 0, name.repeat(3));
    rig.fsync(node, handle);
    rig.release(handle);
  }
  const before = disk.changes;
  rig.rename(ROOT_NODE, 'a', ROOT_NODE, 'b', RENAME_EXCHANGE);
  const seen = new Set<string>();
  for (let changes = before; changes <= disk.changes; changes++) {
    const now = new Rig(disk.crash(changes), { fresh: false, unclean: true });
    seen.add(`${now.get(now.walk('a'))} ${now.get(now.walk('b'))}`);
  }
  t.same([...seen].sort(), ['aaa bbb', 'bbb aaa']);
});

test('exchanging directories with scopes in them: the labels follow', async (t) => {
  const rig = new Rig(new MemoryDisk());
  rig.mkdir(ROOT_NODE, 'one');
  rig.mkdir(ROOT_NODE, 'two');
  const first = rig.createScope('one/alice', 3);
  const second = rig.createScope('two/bob', 4);
  t.same(rig.rename(ROOT_NODE, 'one', ROOT_NODE, 'two', RENAME_EXCHANGE), {});
  t.equal(rig.core.scope(first)?.path, 'two/alice');
  t.equal(rig.core.scope(second)?.path, 'one/bob');
  t.same(
    rig.moved.map(([id, path]) => [id === first, path]),
    [
      [true, 'two/alice'],
      [false, 'one/bob'],
    ],
  );
});

test('a symlink with a long target is whole or not there; its end moves with it and is authenticated', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const target = 't'.repeat(4095);
  for (const call of ['symlink', 'setxattr', 'rename']) {
    disk.faults.before = (now) => (now === call ? -28 : 0);
    t.equal(rig.symlink(ROOT_NODE, 'l', target).error, 'ENOSPC', call);
    t.same((disk.list(disk.root) as unknown[]).length, 0, 'nothing is left');
  }
  disk.faults.before = () => 0;
  t.match(rig.symlink(ROOT_NODE, 'l', target), { attributes: { size: 4095 } });
  const directory = nodeOf(rig.mkdir(ROOT_NODE, 'd'));
  rig.rename(ROOT_NODE, 'l', directory, 'm');
  const fresh = again(disk);
  t.match(fresh.lookup(fresh.walk('d'), 'm'), { attributes: { size: 4095 } });
  t.match(fresh.readlink(fresh.walk('d', 'm')), { target });
  t.same(fresh.listxattr(fresh.walk('d', 'm'), { ...user, uid: 0 }), [], 'and nobody sees how');
  const [home] = (disk.list(disk.root) as { name: string }[]).map(({ name }) => name) as [string];
  const inside = disk.list(disk.openDirectory(disk.root, home)) as { name: string }[];
  const xattrs = disk.xattrs([home, inside[0]?.name as string]);
  const rest = xattrs.get('trusted.scopefs.target') as Buffer;
  xattrs.set('trusted.scopefs.target', rest.subarray(1));
  t.equal(fresh.readlink(fresh.walk('d', 'm')).error, 'EIO');
  xattrs.delete('trusted.scopefs.target');
  t.equal(fresh.readlink(fresh.walk('d', 'm')).error, 'EIO');
});
