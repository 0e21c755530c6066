import { test } from 'tap';
import { errno, errnoName } from '../../base/errno.js';
import type { Backing } from '../disk/backing.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import type { Answer } from './test-reply.js';
import { nodeOf, Rig } from './test-rig.js';

/**
 * Operations on names with one failing backing call: the first, the second, ... until none is reached. The object is
 * as before or as after, never half made; the next try works; no descriptor is lost.
 */

interface Fault {
  left: number;
  number: number;
  only: RegExp;
  hit: string;
}

/** A backing whose calls fail when `fault.left` reaches zero. */
function failing(disk: MemoryDisk, fault: Fault): Backing {
  return new Proxy(disk, {
    get(target, property) {
      const value = Reflect.get(target, property, target) as unknown;
      if (typeof value !== 'function') return value;
      const call = String(property);
      return (...args: unknown[]): unknown => {
        const job = call === 'perform' ? (args[0] as { op: string }).op : call;
        if (call !== 'close' && fault.only.test(job) && --fault.left === 0) {
          fault.hit = job;
          return -fault.number;
        }
        return (value as (...all: unknown[]) => unknown).apply(target, args);
      };
    },
  });
}

type Tree = Record<string, string>;
function tree(rig: Rig): string {
  const shown: Tree = {};
  const visit = (node: number, path: string): void => {
    for (const name of rig.names(node, 7, true) as string[]) {
      const found = rig.lookup(node, name);
      const at = `${path}/${name.length > 20 ? `long-${name[0]}` : name}`;
      const mode = found.error === undefined ? (found.attributes?.mode ?? 0) >> 12 : 0;
      if (mode === 4) {
        shown[at] = '/';
        visit(nodeOf(found), at);
      } else if (mode === 10) {
        const link = rig.readlink(nodeOf(found));
        shown[at] = link.error ?? `->${link.target}`;
      } else {
        shown[at] = found.error ?? String(rig.get(nodeOf(found)));
      }
    }
  };
  visit(ROOT_NODE, '');
  return JSON.stringify(shown, Object.keys(shown).sort());
}

interface Stage {
  readonly disk: MemoryDisk;
  readonly rig: Rig;
  readonly fault: Fault;
}
/** Files `f`, `g` and one with a long name, directories `d` (with a file) and `e` (empty), a symlink `s`. */
function stage(): Stage {
  const disk = new MemoryDisk();
  const fault: Fault = { left: -1, number: 0, only: /^/, hit: '' };
  const rig = new Rig(failing(disk, fault));
  rig.put(ROOT_NODE, 'f', 'content of f');
  rig.put(ROOT_NODE, 'g', 'content of g');
  rig.put(ROOT_NODE, LONG, 'content of a long name');
  const d = nodeOf(rig.mkdir(ROOT_NODE, 'd'));
  rig.put(d, 'inner', 'content of inner');
  rig.mkdir(ROOT_NODE, 'e');
  rig.symlink(ROOT_NODE, 's', 'target');
  return { disk, rig, fault };
}

const LONG = 'l'.repeat(200);
const operations: Record<string, (rig: Rig) => Answer> = {
  create: (rig) => {
    const made = rig.create(ROOT_NODE, 'new');
    if (made.error === undefined) rig.release(made.handle as number);
    return made;
  },
  'create of a long name': (rig) => {
    const made = rig.create(ROOT_NODE, 'n'.repeat(200), 0o4755);
    if (made.error === undefined) rig.release(made.handle as number);
    return made;
  },
  mkdir: (rig) => rig.mkdir(ROOT_NODE, 'new'),
  'mkdir of a long name': (rig) => rig.mkdir(ROOT_NODE, 'n'.repeat(200)),
  symlink: (rig) => rig.symlink(ROOT_NODE, 'new', 'target'),
  link: (rig) => rig.link(rig.walk('f'), rig.walk('d'), 'new'),
  'rename of a file': (rig) => rig.rename(ROOT_NODE, 'f', rig.walk('d'), 'new'),
  'rename to a long name': (rig) => rig.rename(ROOT_NODE, 'f', ROOT_NODE, 'n'.repeat(200)),
  'rename of a long name': (rig) => rig.rename(ROOT_NODE, LONG, ROOT_NODE, 'new'),
  'rename over a file': (rig) => rig.rename(ROOT_NODE, 'f', ROOT_NODE, 'g'),
  'rename of a directory': (rig) => rig.rename(ROOT_NODE, 'd', ROOT_NODE, 'new'),
  'rename over a directory': (rig) => rig.rename(ROOT_NODE, 'd', ROOT_NODE, 'e'),
  unlink: (rig) => rig.unlink(ROOT_NODE, LONG),
  rmdir: (rig) => rig.rmdir(ROOT_NODE, 'e'),
};

for (const [what, operation] of Object.entries(operations)) {
  test(`${what}: any backing call may fail`, async (t) => {
    const sane = stage();
    const before = tree(sane.rig);
    t.match(operation(sane.rig), { error: undefined });
    const after = tree(sane.rig);
    for (const [number, only] of [
      [errno.EIO, /^/],
      [errno.ENOSPC, /^(setxattr|fsetxattr|pwrite|mkdir|createFile|symlink|link|rename)$/],
      [errno.EMFILE, /^(openFile|openDirectory|createFile)$/],
    ] as const) {
      for (let nth = 1; ; nth++) {
        const { disk, rig, fault } = stage();
        Object.assign(fault, { left: nth, number, only, hit: '' });
        let answer: Answer;
        try {
          answer = operation(rig);
        } catch (error) {
          // A lookup on the way failed: nothing was begun.
          answer = { error: (error as Error).message };
        }
        fault.left = -1;
        if (fault.hit === '') break;
        const label = `${fault.hit} fails with ${errnoName(number)}`;
        const shown = tree(new Rig(disk, { fresh: false }));
        if (answer.error === undefined) {
          t.equal(shown, after, `${label}: it says that it was done`);
        } else {
          t.equal(shown, before, `${label}: ${answer.error}, so nothing changed`);
        }
        t.equal(tree(rig), shown, `${label}: the running core agrees`);
        if (answer.error !== undefined) {
          t.match(operation(rig), { error: undefined }, `${label}: and works the next time`);
          t.equal(tree(new Rig(disk, { fresh: false })), after);
        }
      }
    }
  });
}

test('setxattr that fails at a file’s first byte: the write fails, the file stays empty and usable', async (t) => {
  const { disk, rig, fault } = stage();
  const { node, handle } = rig.create(ROOT_NODE, 'new') as { node: number; handle: number };
  Object.assign(fault, { left: 1, number: errno.ENOSPC, only: /setxattr/ });
  t.match(rig.write(node, handle, 0, 'first'), { error: 'ENOSPC' });
  t.match(rig.read(node, handle, 0, 10), { data: Buffer.alloc(0) });
  t.match(rig.getattr(node), { attributes: { size: 0 } });
  t.match(rig.write(node, handle, 0, 'second'), { written: 6 });
  rig.release(handle);
  const fresh = new Rig(disk, { fresh: false });
  t.same(fresh.get(fresh.walk('new')), Buffer.from('second'));
});

test('a full inode table refuses new objects with ENOMEM and leaves none behind', async (t) => {
  const { disk, rig } = stage();
  let count = 0;
  let answer: Answer = {};
  while (answer.error === undefined && count < 5000) {
    answer = rig.create(ROOT_NODE, `file${++count}`);
    if (answer.error === undefined) rig.release(answer.handle as number);
  }
  t.match(answer, { error: 'ENOMEM' });
  t.match(rig.mkdir(ROOT_NODE, 'directory'), { error: 'ENOMEM' });
  t.match(rig.symlink(ROOT_NODE, 'symlink', 'target'), { error: 'ENOMEM' });
  const names = new Set(new Rig(disk, { fresh: false }).names(ROOT_NODE, 100) as string[]);
  t.notOk(names.has(`file${count}`), 'no file');
  t.notOk(names.has('directory'), 'no directory');
  t.notOk(names.has('symlink'), 'no symlink');
});
