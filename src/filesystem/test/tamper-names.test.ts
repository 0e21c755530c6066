import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { XATTR } from '../../format/names/binding.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { nodeOf, Rig } from './test-rig.js';

/** What binds content to its name, directory and scope: exchanges in the backing never show under a wrong name. */

/** The stored path of names from the root; directories on the way must be unlocked. */
function stored(rig: Rig, ...names: string[]): string[] {
  const { directories, table } = rig.core.volume;
  return names.map((name, i) => {
    const slot = table.slot(rig.walk(...names.slice(0, i)));
    return directories.stored(directories.get(slot) as never, name).name;
  });
}
/** An open directory of the disk. */
function opened(disk: MemoryDisk, path: readonly string[]): number {
  return path.reduce((dir, name) => disk.openDirectory(dir, name), 0);
}
function exchange(disk: MemoryDisk, a: readonly string[], b: readonly string[]): void {
  const [dirA, dirB] = [opened(disk, a.slice(0, -1)), opened(disk, b.slice(0, -1))];
  const [nameA, nameB] = [a.at(-1) as string, b.at(-1) as string];
  disk.rename(dirA, nameA, 0, 'aside', 0);
  disk.rename(dirB, nameB, dirA, nameA, 0);
  disk.rename(0, 'aside', dirB, nameB, 0);
}
function swapData(disk: MemoryDisk, a: readonly string[], b: readonly string[]): void {
  const [dataA, dataB] = [disk.raw(a), disk.raw(b)];
  disk.setRaw(a, dataB);
  disk.setRaw(b, dataA);
}
function swapXattr(disk: MemoryDisk, a: readonly string[], b: readonly string[]): void {
  const [valueA, valueB] = [disk.xattrs(a).get(XATTR), disk.xattrs(b).get(XATTR)] as [Buffer, Buffer];
  disk.xattrs(a).set(XATTR, valueB);
  disk.xattrs(b).set(XATTR, valueA);
}
/** What a fresh core shows of a file. */
function shows(disk: MemoryDisk, names: string[]): Buffer | string {
  const rig = new Rig(disk, { fresh: false });
  try {
    return rig.get(rig.walk(...names));
  } catch (error) {
    return (error as Error).message;
  }
}

/** Two files of one directory and one of the same name in each of two directories. */
function tree(): { disk: MemoryDisk; rig: Rig } {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  rig.put(ROOT_NODE, 'a', 'content of a');
  rig.put(ROOT_NODE, 'b', 'content of b');
  for (const name of ['d1', 'd2']) {
    const directory = nodeOf(rig.mkdir(ROOT_NODE, name));
    rig.put(directory, 'f', `content of ${name}/f`);
  }
  return { disk, rig };
}

test('two files of a directory swapped in the backing, in every way, are EIO under both names', async (t) => {
  const ways: Record<string, (disk: MemoryDisk, a: string[], b: string[]) => void> = {
    'by renames': exchange,
    'data, xattrs kept': swapData,
    'data and xattrs': (disk, a, b) => {
      swapData(disk, a, b);
      swapXattr(disk, a, b);
    },
    'xattrs alone': swapXattr,
  };
  for (const [way, swap] of Object.entries(ways)) {
    const { disk, rig } = tree();
    swap(disk, stored(rig, 'a'), stored(rig, 'b'));
    t.equal(shows(disk, ['a']), 'EIO', way);
    t.equal(shows(disk, ['b']), 'EIO', way);
    t.same(shows(disk, ['d1', 'f']), Buffer.from('content of d1/f'), 'a neighbour');
  }
});

test('files of the same name in two directories swapped are EIO', async (t) => {
  const { disk, rig } = tree();
  const [one, two] = [stored(rig, 'd1', 'f'), stored(rig, 'd2', 'f')];
  t.not(one[1], two[1], 'the stored name depends on the directory');
  exchange(disk, one, two);
  t.equal(shows(disk, ['d1', 'f']), 'EIO');
  t.equal(shows(disk, ['d2', 'f']), 'EIO');
});

test('a copy or a hard link of a file under another name is EIO there', async (t) => {
  const { disk, rig } = tree();
  const [a, b] = [stored(rig, 'a'), stored(rig, 'b')];
  disk.setRaw(b, Buffer.from(disk.raw(a)));
  disk.xattrs(b).set(XATTR, disk.xattrs(a).get(XATTR) as Buffer);
  t.same(shows(disk, ['a']), Buffer.from('content of a'));
  t.equal(shows(disk, ['b']), 'EIO', 'a copy with its xattr');
  disk.unlink(0, b[0] as string);
  disk.link(0, a[0] as string, 0, b[0] as string);
  t.same(shows(disk, ['a']), Buffer.from('content of a'));
  t.equal(shows(disk, ['b']), 'EIO', 'a hard link made in the backing');
});

test('a name moved to another directory of the backing is no name there', async (t) => {
  const { disk, rig } = tree();
  const [name] = stored(rig, 'a') as [string];
  disk.rename(0, name, opened(disk, stored(rig, 'd1')), name, 0);
  const fresh = new Rig(disk, { fresh: false });
  t.same(fresh.names(ROOT_NODE), ['b', 'd1', 'd2']);
  t.same(fresh.names(fresh.walk('d1')), ['f']);
  t.match(fresh.lookup(fresh.walk('d1'), 'a'), { negative: true });
});

test('a removed, emptied or flipped xattr is EIO; an empty file needs none', async (t) => {
  const { disk, rig } = tree();
  rig.put(ROOT_NODE, 'empty', '');
  const a = stored(rig, 'a');
  const whole = disk.xattrs(a).get(XATTR) as Buffer;
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const flipped = Buffer.from(whole);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    disk.xattrs(a).set(XATTR, flipped);
    if (rig.get(rig.walk('a')) !== 'EIO') t.fail(`bit ${bit}`);
  }
  disk.xattrs(a).set(XATTR, Buffer.alloc(0));
  t.equal(shows(disk, ['a']), 'EIO', 'emptied');
  disk.xattrs(a).delete(XATTR);
  t.equal(shows(disk, ['a']), 'EIO', 'removed');
  const fresh = new Rig(disk, { fresh: false });
  t.match(fresh.rename(ROOT_NODE, 'a', ROOT_NODE, 'c'), { error: 'EIO' }, 'a rename does not bind it anew');
  t.match(fresh.link(fresh.walk('a'), ROOT_NODE, 'c'), { error: 'EIO' }, 'nor does a link');
  t.same(fresh.get(fresh.walk('empty')), Buffer.alloc(0));
});

test('a rename or link does not launder content that was swapped in', async (t) => {
  const { disk, rig } = tree();
  swapData(disk, stored(rig, 'a'), stored(rig, 'b'));
  const fresh = new Rig(disk, { fresh: false });
  fresh.rename(ROOT_NODE, 'a', ROOT_NODE, 'c');
  fresh.link(fresh.walk('b'), ROOT_NODE, 'd');
  for (const name of fresh.names(ROOT_NODE) as string[]) {
    if (name.startsWith('d1') || name.startsWith('d2')) continue;
    t.equal(shows(disk, [name]), 'EIO', name);
  }
});

test('directories exchanged, and their records exchanged or removed, are EIO', async (t) => {
  const ways: Record<string, (disk: MemoryDisk, a: string[], b: string[]) => void> = {
    'by renames': exchange,
    'records alone': swapXattr,
    'record removed': (disk, a, b) => {
      disk.xattrs(a).delete(XATTR);
      disk.xattrs(b).set(XATTR, randomBytes(144));
    },
  };
  for (const [way, change] of Object.entries(ways)) {
    const { disk, rig } = tree();
    change(disk, stored(rig, 'd1'), stored(rig, 'd2'));
    t.equal(shows(disk, ['d1', 'f']), 'EIO', way);
    t.equal(shows(disk, ['d2', 'f']), 'EIO', way);
    const fresh = new Rig(disk, { fresh: false });
    t.same(fresh.names(ROOT_NODE, 2, true), ['a', 'b', 'd1', 'd2'], 'the listing stands');
  }
});

test('an object of another kind in a file’s place is never its content', async (t) => {
  const { disk, rig } = tree();
  const [a] = stored(rig, 'a') as [string];
  const [b] = stored(rig, 'b') as [string];
  rig.symlink(ROOT_NODE, 's', 'target');
  const [s] = stored(rig, 's') as [string];
  disk.unlink(0, a);
  disk.symlink('/etc/passwd', 0, a);
  disk.unlink(0, b);
  disk.mkdir(0, b, 0o755);
  disk.unlink(0, s);
  disk.close(disk.createFile(0, s, 0o644));
  disk.setRaw([s], Buffer.from('/etc/passwd'));
  const fresh = new Rig(disk, { fresh: false });
  t.match(fresh.readlink(fresh.walk('a')), { error: 'EIO' }, 'a symlink of the attacker’s');
  t.match(fresh.open(fresh.walk('a')), { error: 'ELOOP' }, 'and it is not followed');
  t.match(fresh.lookup(ROOT_NODE, 'b'), { error: 'EIO' }, 'a directory without a record');
  t.equal(fresh.get(fresh.walk('s')), 'EIO', 'a file where a symlink was');
});
