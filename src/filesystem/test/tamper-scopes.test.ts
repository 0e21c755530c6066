import { test } from 'tap';
import type { ScopeId } from '../../base/ids.js';
import { XATTR, XATTR_ROOT } from '../../format/names/binding.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import type { KnownScope } from '../inodes/volume.js';
import { Rig, ROOT_SCOPE } from './test-rig.js';

/** Two scopes with the same secret: nothing of one opens in the other, whatever is done to the backing. */

interface Stage {
  readonly disk: MemoryDisk;
  readonly known: readonly KnownScope[];
  readonly paths: { readonly one: string[]; readonly two: string[] };
}

function stage(): Stage {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const ids = ['one', 'two'].map((name) => {
    const id = rig.createScope(name, 9);
    rig.put(rig.walk(name), 'f', `content of ${name}`);
    return id;
  }) as [ScopeId, ScopeId];
  const path = (name: string): string[] => {
    const { directories, table } = rig.core.volume;
    const home = directories.get(table.slot(rig.walk(name))) as never;
    return [directories.stored(directories.get(1) as never, name).name, directories.stored(home, 'f').name];
  };
  return {
    disk,
    known: [
      { id: ROOT_SCOPE, parent: undefined, path: '' },
      { id: ids[0], parent: ROOT_SCOPE, path: 'one' },
      { id: ids[1], parent: ROOT_SCOPE, path: 'two' },
    ],
    paths: { one: path('one'), two: path('two') },
  };
}

/** What a fresh core with both keys shows of a scope's file. */
function shows({ disk, known }: Stage, name: string): Buffer | string {
  const rig = new Rig(disk, { fresh: false, known });
  for (const { id } of known.slice(1)) rig.unlock(id, 9);
  try {
    return rig.get(rig.walk(name, 'f'));
  } catch (error) {
    return (error as Error).message;
  }
}

function swap(disk: MemoryDisk, a: string[], b: string[], xattr: string): void {
  const [valueA, valueB] = [disk.xattrs(a).get(xattr), disk.xattrs(b).get(xattr)] as [Buffer, Buffer];
  disk.xattrs(a).set(xattr, valueB);
  disk.xattrs(b).set(xattr, valueA);
}
function exchangeDirectories({ disk, paths }: Stage): void {
  const [one] = paths.one as [string];
  const [two] = paths.two as [string];
  disk.rename(0, one, 0, 'aside', 0);
  disk.rename(0, two, 0, one, 0);
  disk.rename(0, 'aside', 0, two, 0);
}

test('left alone, both scopes show their own', async (t) => {
  const scene = stage();
  t.same(shows(scene, 'one'), Buffer.from('content of one'));
  t.same(shows(scene, 'two'), Buffer.from('content of two'));
  t.not(scene.paths.one[1], scene.paths.two[1], 'one name, two stored names');
});

test('ciphertext of one scope does not open in another of the same secret', async (t) => {
  const scene = stage();
  const { disk, paths } = scene;
  const foreign = Buffer.from(disk.raw(paths.two));
  disk.setRaw(paths.one, foreign);
  t.equal(shows(scene, 'one'), 'EIO', 'data');
  disk.xattrs(paths.one).set(XATTR, disk.xattrs(paths.two).get(XATTR) as Buffer);
  t.equal(shows(scene, 'one'), 'EIO', 'data and xattr');
  const relabelled = Buffer.from(foreign);
  for (const copy of [0, 512]) {
    Buffer.from(scene.known[1]?.id as string, 'hex').copy(relabelled, copy + 16);
  }
  disk.setRaw(paths.one, relabelled);
  t.equal(shows(scene, 'one'), 'EIO', 'with the scope id in its header changed');
  t.same(shows(scene, 'two'), Buffer.from('content of two'));
});

test('two scopes’ directories exchanged open under neither name', async (t) => {
  const scene = stage();
  exchangeDirectories(scene);
  t.equal(shows(scene, 'one'), 'EIO');
  t.equal(shows(scene, 'two'), 'EIO');
});

test('exchanged with their edges put back, the root records give them away', async (t) => {
  const scene = stage();
  exchangeDirectories(scene);
  const [one, two] = [[scene.paths.one[0] as string], [scene.paths.two[0] as string]];
  swap(scene.disk, one, two, XATTR);
  const rig = new Rig(scene.disk, { fresh: false, known: scene.known });
  t.equal(rig.unlock(scene.known[1]?.id as ScopeId, 9), 'EIO');
  t.equal(rig.core.scope(scene.known[1]?.id as ScopeId)?.state, 'locked', 'and it stays locked');
  t.not(shows(scene, 'one'), 'content of two');
});

test('exchanged with edges and root records put back, no name and no content of the other opens', async (t) => {
  const scene = stage();
  exchangeDirectories(scene);
  const [one, two] = [[scene.paths.one[0] as string], [scene.paths.two[0] as string]];
  swap(scene.disk, one, two, XATTR);
  swap(scene.disk, one, two, XATTR_ROOT);
  const rig = new Rig(scene.disk, { fresh: false, known: scene.known });
  t.equal(rig.unlock(scene.known[1]?.id as ScopeId, 9), 'ok');
  t.same(rig.names(rig.walk('one')), []);
  t.match(rig.lookup(rig.walk('one'), 'f'), { negative: true });
});

test('a flipped bit in an edge or root record, or a missing one, is EIO', async (t) => {
  for (const xattr of [XATTR, XATTR_ROOT]) {
    const scene = stage();
    const place = [scene.paths.one[0] as string];
    const whole = scene.disk.xattrs(place).get(xattr) as Buffer;
    for (let byte = 0; byte < whole.length; byte += 3) {
      const flipped = Buffer.from(whole);
      flipped[byte] = (flipped[byte] as number) ^ (1 << (byte % 8));
      scene.disk.xattrs(place).set(xattr, flipped);
      const found = shows(scene, 'one');
      if (found !== (xattr === XATTR ? 'EIO' : 'ENOKEY')) t.fail(`${xattr} byte ${byte}: ${found}`);
    }
    scene.disk.xattrs(place).delete(xattr);
    t.equal(shows(scene, 'one'), xattr === XATTR ? 'EIO' : 'ENOKEY', `${xattr} missing`);
    t.same(shows(scene, 'two'), Buffer.from('content of two'), 'the other scope is as it was');
  }
});

test('the tree’s root record replaced by a scope’s, or damaged, leaves the root scope locked', async (t) => {
  const scene = stage();
  const root = scene.disk.xattrs([]);
  const whole = root.get(XATTR_ROOT) as Buffer;
  for (const value of [
    scene.disk.xattrs([scene.paths.one[0] as string]).get(XATTR_ROOT) as Buffer,
    Buffer.from(whole.map((byte, i) => (i === whole.length - 1 ? byte ^ 1 : byte))),
    Buffer.alloc(0),
  ]) {
    root.set(XATTR_ROOT, value);
    const rig = new Rig(scene.disk, { fresh: false, known: scene.known });
    t.equal(rig.core.scope(ROOT_SCOPE)?.state, 'locked');
    t.match(rig.lookup(ROOT_NODE, 'one'), { error: 'ENOKEY' });
  }
});

test('a directory of one scope moved into another, with its record, is EIO', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  rig.createScope('one', 9);
  rig.mkdir(ROOT_NODE, 'd');
  const { directories, table } = rig.core.volume;
  const home = directories.get(table.slot(rig.walk('one'))) as never;
  const inside = directories.stored(home, 'd').name;
  const outside = directories.stored(directories.get(1) as never, 'd').name;
  const place = directories.stored(directories.get(1) as never, 'one').name;
  disk.rename(0, outside, disk.openDirectory(0, place), inside, 0);
  t.match(rig.lookup(rig.walk('one'), 'd'), { error: 'EIO' });
});
