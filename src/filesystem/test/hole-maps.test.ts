import { test } from 'tap';
import { XATTR_MAP } from '../../format/file/hole-map.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { Rig } from './test-rig.js';
import { again, C, content, sparse } from './test-sparse.js';

/** Where hole maps lie, and what becomes of them. */

test('more holes than an xattr has room for: the map has a file of its own, which goes with the file', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  const chunks = Array.from({ length: 1500 }, (_, i) => i * 3);
  const last = chunks.at(-1) as number;
  rig.setattr(node, { size: last * C + 1 });
  for (const chunk of chunks) rig.write(node, handle, chunk * C, Buffer.from([1 + (chunk % 255)]));
  t.same(rig.fsync(node, handle), {});
  rig.release(handle);
  rig.close();
  const entries = (): string[] => (disk.list(disk.root) as { name: string }[]).map(({ name }) => name);
  const filed = entries().find((name) => name.startsWith('+M')) as string;
  const stored = entries().find((name) => !name.startsWith('+')) as string;
  t.notOk(disk.xattrs([stored]).has(XATTR_MAP));
  const check = (fresh: Rig): number => {
    const opened = fresh.walk('f');
    const reading = (fresh.open(opened) as { handle: number }).handle;
    let wrong = 0;
    for (const chunk of chunks) {
      const { data } = fresh.read(opened, reading, chunk * C, 1) as { data?: Buffer };
      if (data?.[0] !== 1 + (chunk % 255)) wrong++;
      const next = fresh.read(opened, reading, (chunk + 1) * C, 1) as { data?: Buffer };
      if (chunk !== last && next.data?.[0] !== 0) wrong++;
    }
    return wrong;
  };
  const whole = Buffer.from(disk.raw([filed]));
  const fresh = again(disk);
  t.equal(check(fresh), 0);
  t.same(fresh.names(ROOT_NODE), ['f'], 'nobody sees it');
  // Fewer again: it fits the xattr.
  const node2 = fresh.walk('f');
  const writing = (fresh.open(node2, true) as { handle: number }).handle;
  fresh.fallocate(node2, writing, { kind: 'punch', keepSize: true, offset: 9 * C, length: 4400 * C });
  fresh.release(writing);
  t.notOk(entries().some((name) => name.startsWith('+M')));
  t.ok(disk.xattrs([stored]).has(XATTR_MAP));
  fresh.close();
  disk.close(disk.createFile(disk.root, filed, 0o600));
  disk.setRaw([filed], whole);
  const other = again(disk);
  t.same(
    (other.get(other.walk('f')) as Buffer).subarray(9 * C, 10 * C),
    Buffer.alloc(C),
    'an older file is not looked at',
  );
  other.close();
  disk.xattrs([stored]).delete(XATTR_MAP);
  t.equal(content(again(disk)), 'EIO', 'nor without the newer map');
});

test('the file of a map goes when its file goes, also while that is open', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const maps = (): number =>
    (disk.list(disk.root) as { name: string }[]).filter(({ name }) => name.startsWith('+M')).length;
  const make = (name: string): { node: number; handle: number } => {
    const made = rig.create(ROOT_NODE, name) as { node: number; handle: number };
    rig.setattr(made.node, { size: 4000 * C });
    for (let chunk = 0; chunk < 3000; chunk += 2) rig.write(made.node, made.handle, chunk * C, 'x');
    rig.fsync(made.node, made.handle);
    return made;
  };
  const open = make('open');
  t.equal(maps(), 1);
  t.same(rig.unlink(ROOT_NODE, 'open'), {});
  rig.release(open.handle);
  t.equal(maps(), 0);
  rig.release(make('closed').handle);
  t.equal(maps(), 1);
  t.same(rig.unlink(ROOT_NODE, 'closed'), {});
  t.equal(maps(), 0);
  rig.release(make('over').handle);
  rig.put(ROOT_NODE, 'new', 'x');
  t.same(rig.rename(ROOT_NODE, 'new', ROOT_NODE, 'over'), {});
  t.equal(maps(), 0);
});

test('a map that can not be stored: the failure is told, what was written stays readable, and is stored later', async (t) => {
  for (const [call, number, name] of [
    ['setxattr', 5, 'EIO'],
    ['setxattr', 122, 'EDQUOT'],
    ['pwrite', 28, 'ENOSPC'],
  ] as const) {
    const disk = new MemoryDisk();
    const rig = new Rig(disk);
    const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
    rig.write(node, handle, 0, Buffer.alloc(C, 1));
    rig.write(node, handle, 9 * C, Buffer.alloc(C, 2));
    disk.faults.before = (now) => (now === call ? -number : 0);
    t.same(rig.release(handle), {}, 'close(2) is told nothing');
    t.same(rig.failed, [['f', name]], 'the log is');
    const expected = Buffer.concat([Buffer.alloc(C, 1), Buffer.alloc(8 * C), Buffer.alloc(C, 2)]);
    t.same(rig.get(node), expected, 'it reads back meanwhile');
    disk.faults.before = () => 0;
    t.same(rig.get(node), expected);
    rig.close();
    t.same(content(again(disk)), expected, `${call}: and was stored by the next close`);
    t.equal(disk.openHandles, 0);
  }
});

test('after an unclean stop only files of that session are forgiven, and only once', async (t) => {
  const { disk, stored } = sparse([0, 9, 20]);
  const raw = disk.raw([stored]);
  const at = 1024 + 9 * (C + 44) + 100;
  raw[at] = (raw[at] as number) ^ 1;
  const clean = new Rig(disk, { fresh: false, unclean: true, cleanSessions: true });
  t.equal(content(clean), 'EIO', 'a file of another session: a flipped bit is one');
  const lenient = new Rig(disk, { fresh: false, unclean: true });
  t.same((content(lenient) as Buffer).subarray(9 * C, 10 * C), Buffer.alloc(C), 'never synced: a hole again');
});
