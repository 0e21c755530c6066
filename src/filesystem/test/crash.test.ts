import { randomBytes } from 'node:crypto';
import { type Test, test } from 'tap';
import type { ScopeId } from '../../base/ids.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { nodeOf, Rig, ROOT_SCOPE } from './test-rig.js';

/**
 * A power cut before each call of an operation and after its end, with every number of metadata changes that may
 * have reached the disk by then. A core that finds the vault unclean must show each object under its old or its new
 * name, whole.
 */
function images(disk: MemoryDisk, action: () => void): MemoryDisk[] {
  const found = new Map<string, MemoryDisk>();
  const look = (): number => {
    for (let n = disk.durableChanges; n <= disk.changes; n++) {
      found.set(`${disk.durableChanges}:${n}`, disk.crash(n));
    }
    return 0;
  };
  // What came before is there for good.
  disk.perform({ op: 'syncfs', descriptor: disk.root });
  disk.faults.before = look;
  action();
  disk.faults.before = () => 0;
  look();
  return [...found.values()];
}

type Tree = Record<string, string>;

/** All objects that a fresh core shows: path to content, `->target`, `/`, or the name of an error. */
function tree(disk: MemoryDisk, unclean = true): Tree {
  const rig = new Rig(disk, { fresh: false, unclean });
  const shown: Tree = {};
  const visit = (node: number, path: string): void => {
    const names = rig.names(node, 5, true);
    if (!Array.isArray(names)) {
      shown[path] = String(names.error);
      return;
    }
    for (const name of names) {
      const at = path === '' ? name : `${path}/${name}`;
      const found = rig.lookup(node, name);
      if (found.error !== undefined || found.attributes === undefined) {
        shown[at] = found.error ?? 'listed but absent';
        continue;
      }
      const child = nodeOf(found);
      const type = found.attributes.mode >> 12;
      if (type === 4) {
        shown[at] = '/';
        visit(child, at);
      } else if (type === 10) {
        const link = rig.readlink(child);
        shown[at] = link.error ?? `->${link.target}`;
      } else {
        shown[at] = String(rig.get(child));
      }
    }
  };
  visit(ROOT_NODE, '');
  return shown;
}

const text = (shown: Tree): string => JSON.stringify(shown, Object.keys(shown).sort());

/** Every image must be one of `allowed`; each allowed state must also stay itself over a clean mount. */
function judge(t: Test, found: readonly MemoryDisk[], allowed: readonly Tree[], what: string): void {
  const fine = new Set(allowed.map(text));
  const wrong = new Set<string>();
  for (const disk of found) {
    for (const unclean of [true, false]) {
      const shown = text(tree(disk, unclean));
      if (!fine.has(shown)) wrong.add(shown);
    }
  }
  t.same([...wrong], [], `${what} (${found.length} images)`);
}

/** A file that is there for good. */
function durable(rig: Rig, parent: number, name: string, content: string): number {
  const node = rig.put(parent, name, content);
  const { handle } = rig.open(node, true) as { handle: number };
  rig.fsync(node, handle);
  rig.release(handle);
  return node;
}
function stage(): { disk: MemoryDisk; rig: Rig } {
  const disk = new MemoryDisk();
  return { disk, rig: new Rig(disk) };
}

test('create, write, fsync, rename: nothing, an empty file, or all of it under one of both names', async (t) => {
  const { disk, rig } = stage();
  durable(rig, ROOT_NODE, 'neighbour', 'n');
  const found = images(disk, () => {
    durable(rig, ROOT_NODE, 'new', 'content');
    rig.rename(ROOT_NODE, 'new', ROOT_NODE, 'final');
  });
  const rest = { neighbour: 'n' };
  judge(
    t,
    found,
    [rest, { ...rest, new: '' }, { ...rest, new: 'content' }, { ...rest, final: 'content' }],
    'rename',
  );
  const { disk: other, rig: second } = stage();
  const late = images(other, () => durable(second, ROOT_NODE, 'f', 'x')).at(-1) as MemoryDisk;
  t.same(tree(late), { f: 'x' }, 'what was fsynced is there');
});

test('a rename over an existing file shows the old content or the new, never none', async (t) => {
  for (const target of ['config', 'c'.repeat(200)]) {
    const { disk, rig } = stage();
    durable(rig, ROOT_NODE, target, 'old');
    durable(rig, ROOT_NODE, 'config.new', 'new');
    const found = images(disk, () => rig.rename(ROOT_NODE, 'config.new', ROOT_NODE, target));
    const contents = found.map((image) => {
      const fresh = new Rig(image, { fresh: false, unclean: true });
      return String(fresh.get(fresh.walk(target)));
    });
    t.same(
      contents.filter((content) => content !== 'old' && content !== 'new'),
      [],
      `${found.length} images`,
    );
    if (target === 'config') {
      judge(t, found, [{ config: 'old', 'config.new': 'new' }, { config: 'new' }], 'atomic');
    }
  }
});

test('files, directories and symlinks renamed within and across directories', async (t) => {
  for (const [to, label] of [
    ['d1', 'within'],
    ['d2', 'across'],
  ] as const) {
    const { disk, rig } = stage();
    const d1 = nodeOf(rig.mkdir(ROOT_NODE, 'd1'));
    const d2 = nodeOf(rig.mkdir(ROOT_NODE, 'd2'));
    const sub = nodeOf(rig.mkdir(d1, 'sub'));
    rig.symlink(d1, 'link', 'target');
    durable(rig, sub, 'inner', 'inside');
    durable(rig, d1, 'file', 'content');
    const before = tree(disk);
    const target = to === 'd1' ? d1 : d2;
    for (const name of ['file', 'sub', 'link']) {
      const start = tree(disk);
      const found = images(disk, () => {
        t.match(rig.rename(d1, name, target, `${name}2`), { error: undefined });
      });
      const end = Object.fromEntries(
        Object.entries(start).map(([path, content]) => [
          path.replace(new RegExp(`^d1/${name}(?=/|$)`), `${to}/${name}2`),
          content,
        ]),
      );
      judge(t, found, [start, end], `${name} ${label}`);
    }
    t.equal(Object.keys(tree(disk)).length, Object.keys(before).length);
  }
});

test('a directory renamed over an empty one, also one with leftovers of the vault’s own', async (t) => {
  for (const leftovers of [false, true]) {
    const { disk, rig } = stage();
    const from = nodeOf(rig.mkdir(ROOT_NODE, 'from'));
    const to = nodeOf(rig.mkdir(ROOT_NODE, 'to'));
    durable(rig, from, 'f', 'x');
    if (leftovers) {
      const { directories, table } = rig.core.volume;
      const handle = directories.descriptor(table.slot(to));
      disk.close(disk.createFile(handle, `+N${'a'.repeat(43)}`, 0o600));
      disk.mkdir(handle, '+tleftover', 0o700);
    }
    const start = { from: '/', 'from/f': 'x', to: '/' };
    const gone = { from: '/', 'from/f': 'x' };
    const end = { to: '/', 'to/f': 'x' };
    const found = images(disk, () => {
      t.match(rig.rename(ROOT_NODE, 'from', ROOT_NODE, 'to'), { error: undefined });
    });
    judge(t, found, leftovers ? [start, gone, end] : [start, end], `leftovers: ${leftovers}`);
  }
});

test('mkdir, rmdir, symlink, unlink and link: there or not there, never half made', async (t) => {
  const { disk, rig } = stage();
  const node = durable(rig, ROOT_NODE, 'f', 'x');
  const steps: [string, () => unknown, Tree][] = [
    ['mkdir', () => rig.mkdir(ROOT_NODE, 'd'), { d: '/' }],
    ['symlink', () => rig.symlink(ROOT_NODE, 's', 'target'), { d: '/', s: '->target' }],
    ['link', () => rig.link(node, ROOT_NODE, 'g'), { d: '/', s: '->target', g: 'x' }],
    ['rename of a link', () => rig.rename(ROOT_NODE, 'g', ROOT_NODE, 'h'), { d: '/', s: '->target', h: 'x' }],
    ['unlink of a link', () => rig.unlink(ROOT_NODE, 'h'), { d: '/', s: '->target' }],
    ['rmdir', () => rig.rmdir(ROOT_NODE, 'd'), { s: '->target' }],
    ['unlink of a symlink', () => rig.unlink(ROOT_NODE, 's'), {}],
  ];
  let start: Tree = { f: 'x' };
  for (const [what, step, then] of steps) {
    const end = { f: 'x', ...then };
    judge(t, images(disk, step), [start, end], what);
    start = end;
  }
});

test('after any crash in a rename the object can be renamed again and opens', async (t) => {
  const { disk, rig } = stage();
  const content = randomBytes(9000).toString('hex');
  const d = nodeOf(rig.mkdir(ROOT_NODE, 'd'));
  durable(rig, d, 'f', content);
  const found = images(disk, () => {
    rig.rename(d, 'f', ROOT_NODE, 'g');
    rig.rename(ROOT_NODE, 'd', ROOT_NODE, 'e');
  });
  for (const image of found) {
    const fresh = new Rig(image, { fresh: false, unclean: true });
    for (const name of fresh.names(ROOT_NODE) as string[]) {
      t.match(fresh.rename(ROOT_NODE, name, ROOT_NODE, `${name}-again`), { error: undefined });
    }
    const shown = tree(image, false);
    t.equal(Object.values(shown).filter((it) => it === content).length, 1);
    t.notOk(Object.values(shown).includes('EIO'));
  }
});

test('a scope’s directory made or renamed: a plain directory, an edge, or absent', async (t) => {
  const { disk, rig } = stage();
  rig.mkdir(ROOT_NODE, 'empty');
  let id = '' as ScopeId;
  const made = images(disk, () => {
    id = rig.createScope('empty', 9);
  });
  rig.put(rig.walk('empty'), 'f', 'x');
  const moved = images(disk, () => {
    t.match(rig.rename(ROOT_NODE, 'empty', ROOT_NODE, 'moved'), { error: undefined });
  });
  const known = [
    { id: ROOT_SCOPE, parent: undefined, path: '' },
    { id, parent: ROOT_SCOPE, path: 'empty' },
  ];
  for (const image of [...made, ...moved]) {
    const fresh = new Rig(image, { fresh: false, unclean: true, known });
    // A listing finds the scope where it is now; its label follows.
    const [name] = fresh.names(ROOT_NODE, 5, true) as [string];
    const { attributes } = fresh.lookup(ROOT_NODE, name) as { attributes?: { mode: number } };
    t.equal((attributes?.mode ?? 0) >> 12, 4);
    if (moved.includes(image)) t.equal(fresh.unlock(id, 9), 'ok', name);
  }
});
