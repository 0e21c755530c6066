import { test } from 'tap';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { nodeOf, Rig, ROOT_SECRET, user } from '../test/test-rig.js';

const root = { ...user, uid: 0, gid: 0 };

test('extended attributes: set, get, list, replace, remove, and after a remount', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const file = rig.put(ROOT_NODE, 'f', 'content');
  const directory = nodeOf(rig.mkdir(ROOT_NODE, 'd'));
  for (const node of [file, directory]) {
    t.equal(rig.getxattr(node, 'user.a'), 'ENODATA');
    t.same(rig.listxattr(node), []);
    t.same(rig.setxattr(node, 'user.a', 'one'), {});
    t.same(rig.setxattr(node, 'user.empty', ''), {});
    t.same(rig.setxattr(node, `user.${'n'.repeat(250)}`, Buffer.alloc(3000, 9)), {});
    t.same(rig.setxattr(node, 'trusted.t', 'for root'), {});
    t.equal(rig.setxattr(node, 'user.a', 'two', 1).error, 'EEXIST', 'XATTR_CREATE');
    t.equal(rig.setxattr(node, 'user.b', 'two', 2).error, 'ENODATA', 'XATTR_REPLACE');
    t.same(rig.setxattr(node, 'user.a', 'two', 2), {});
    t.equal(rig.setxattr(node, 'other.a', 'x').error, 'EOPNOTSUPP');
    t.equal(rig.setxattr(node, 'system.scopefs', 'x').error, 'EOPNOTSUPP');
  }
  const fresh = new Rig(disk, { fresh: false });
  for (const node of [fresh.walk('f'), fresh.walk('d')]) {
    t.equal(fresh.getxattr(node, 'user.a'), 'two');
    t.equal(fresh.getxattr(node, 'user.empty'), '');
    t.equal(fresh.getxattr(node, `user.${'n'.repeat(250)}`), '\t'.repeat(3000));
    const names = ['trusted.t', 'user.a', 'user.empty', `user.${'n'.repeat(250)}`].sort();
    t.same(fresh.listxattr(node, root), names);
    t.same(fresh.listxattr(node), names.slice(1), 'trusted.* is for root');
    t.same(fresh.removexattr(node, 'user.a'), {});
    t.equal(fresh.removexattr(node, 'user.a').error, 'ENODATA');
    t.equal(fresh.getxattr(node, 'user.a'), 'ENODATA');
  }
});

test('names and values are sealed; symlinks and fifos keep theirs under trusted.*', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const file = rig.put(ROOT_NODE, 'f', 'content');
  rig.symlink(ROOT_NODE, 'l', 'target');
  const link = rig.walk('l');
  const fifo = nodeOf(rig.mknod(ROOT_NODE, 'p', 0o010644));
  for (const node of [file, link, fifo]) {
    t.same(rig.setxattr(node, 'trusted.MARKERNAME', 'MARKERVALUE'), {});
    t.equal(rig.getxattr(node, 'trusted.MARKERNAME'), 'MARKERVALUE');
  }
  t.equal(disk.dump().indexOf('MARKER'), -1);
  const keys = (disk.list(disk.root) as { name: string }[]).flatMap(({ name }) => [
    ...disk.xattrs([name]).keys(),
  ]);
  t.equal(keys.filter((key) => /^user\.scopefs\.x\.[\w-]{22}$/.test(key)).length, 1);
  t.equal(keys.filter((key) => /^trusted\.scopefs\.x\.[\w-]{22}$/.test(key)).length, 2);
});

test('a changed value, one moved to another name or to another directory: EIO, not listed, can be replaced', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const one = nodeOf(rig.mkdir(ROOT_NODE, 'one'));
  const two = nodeOf(rig.mkdir(ROOT_NODE, 'two'));
  rig.setxattr(one, 'user.a', 'AAAA');
  rig.setxattr(one, 'user.b', 'BBBB');
  rig.setxattr(two, 'user.a', 'CCCC');
  const stores = (disk.list(disk.root) as { name: string }[]).map(({ name }) => disk.xattrs([name]));
  const sealed = (at: number): string[] =>
    [...(stores[at] as Map<string, Buffer>).keys()].filter((key) => key.includes('.x.'));
  const many = stores.findIndex((_, at) => sealed(at).length === 2);
  const store = stores[many] as Map<string, Buffer>;
  const [first, second] = sealed(many) as [string, string];
  const whole = store.get(first) as Buffer;
  store.set(first, store.get(second) as Buffer);
  t.equal(rig.getxattr(one, 'user.a'), 'EIO', 'another name');
  const foreign = stores.find((_, at) => sealed(at).length === 1) as Map<string, Buffer>;
  store.set(first, [...foreign].find(([key]) => key.includes('.x.'))?.[1] as Buffer);
  t.equal(rig.getxattr(one, 'user.a'), 'EIO', 'another directory');
  const flipped = Buffer.from(whole);
  flipped[30] = (flipped[30] as number) ^ 1;
  store.set(first, flipped);
  t.equal(rig.getxattr(one, 'user.a'), 'EIO', 'changed');
  t.same(rig.listxattr(one), ['user.b']);
  t.equal(rig.getxattr(one, 'user.b'), 'BBBB', 'its neighbour is fine');
  t.same(rig.removexattr(one, 'user.a'), {}, 'it can be got rid of');
  t.same(rig.setxattr(one, 'user.a', 'DDDD'), {});
  t.equal(rig.getxattr(one, 'user.a'), 'DDDD');
});

test('an attribute from before a slot was removed is found, replaced and removed under the next epoch', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const file = rig.put(ROOT_NODE, 'f', 'content');
  rig.setxattr(file, 'user.a', 'old');
  rig.setxattr(file, 'user.b', 'old');
  const next = Buffer.alloc(32, 8);
  const fresh = new Rig(disk, { fresh: false, secrets: [ROOT_SECRET, next] });
  const node = fresh.walk('f');
  t.equal(fresh.getxattr(node, 'user.a'), 'old');
  t.same(fresh.setxattr(node, 'user.a', 'new'), {});
  t.equal(fresh.getxattr(node, 'user.a'), 'new');
  t.same(fresh.listxattr(node), ['user.a', 'user.b'], 'once each');
  t.same(fresh.removexattr(node, 'user.a'), {});
  t.equal(fresh.getxattr(node, 'user.a'), 'ENODATA', 'the old one does not come back');
  t.same(fresh.removexattr(node, 'user.b'), {});
  t.same(fresh.listxattr(node), []);
});

test('a disk without room for an attribute says ENOSPC and keeps the old value', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const file = rig.put(ROOT_NODE, 'f', 'content');
  rig.setxattr(file, 'user.a', 'old');
  for (const [number, name] of [
    [28, 'ENOSPC'],
    [7, 'ENOSPC'],
    [34, 'ENOSPC'],
    [122, 'EDQUOT'],
  ] as const) {
    disk.faults.before = (call) => (call === 'setxattr' ? -number : 0);
    t.equal(rig.setxattr(file, 'user.a', 'new').error, name);
  }
  disk.faults.before = () => 0;
  t.equal(rig.getxattr(file, 'user.a'), 'old');
  t.equal(rig.setxattr(file, 'user.a', Buffer.alloc(65536)).error, 'ENOSPC', 'beyond what a record holds');
});

test('a locked scope tells nothing of its attributes', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const scope = rig.createScope('alice', 3);
  const file = rig.put(rig.walk('alice'), 'f', 'content');
  rig.setxattr(file, 'user.a', 'one');
  rig.lock(scope);
  t.equal(rig.getxattr(file, 'user.a'), 'ENOKEY');
  t.equal(rig.setxattr(file, 'user.a', 'two').error, 'ENOKEY');
  t.equal(rig.removexattr(file, 'user.a').error, 'ENOKEY');
});

test("the mount's root: an ACL by its owner outside of its group takes set-group-id away, and nothing else", async (t) => {
  const rig = new Rig(new MemoryDisk());
  rig.setattr(ROOT_NODE, { mode: 0o2775, uid: user.uid, gid: 2000 });
  const change = {
    name: 'system.posix_acl_access',
    value: Buffer.alloc(44),
    flags: 0,
    killSgid: true,
  };
  const answer = rig.start((reply) => rig.core.xattrs.set(ROOT_NODE, change, user, reply)).answers[0];
  t.equal(answer?.error, undefined);
  t.match(rig.getattr(ROOT_NODE), { attributes: { mode: 0o40775 } });
});
