import { test } from 'tap';
import type { Victim } from '../contract.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { nodeOf, Rig } from '../test/test-rig.js';
import { ROOT_NODE } from './inode-table.js';

const KEPT = 50;

function many(rig: Rig, from: number, count: number): void {
  for (let i = from; i < from + count; i++) rig.put(ROOT_NODE, `f${i}`, '');
}

test('from a number of inodes on the kernel is asked for those that nobody used, and what it forgets is forgotten', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk, { keptInodes: KEPT });
  const { table } = rig.core.volume;
  /** A kernel that forgets what it is asked to: one reference each. */
  const forget = (victims: readonly Victim[]): void => {
    for (const { node } of victims) rig.core.nodes.forget(node, 1);
  };
  rig.cache.onPrune = forget;
  many(rig, 0, 40);
  t.equal(rig.cache.pruned.length, 0, 'below the limit nothing is asked');
  many(rig, 40, 1000);
  t.ok(table.used <= KEPT + 110, `${table.used} inodes are known`);
  t.same(rig.get(rig.walk('f0')), Buffer.alloc(0), 'what was forgotten is found again');
});

test('what is open, a scope root or was used lately is not asked for; a kernel that keeps all is not asked for ever', async (t) => {
  const rig = new Rig(new MemoryDisk(), { keptInodes: KEPT });
  rig.createScope('alice', 3);
  const open = rig.create(ROOT_NODE, 'open') as { node: number };
  const used = rig.put(ROOT_NODE, 'used', 'x');
  const directory = nodeOf(rig.mkdir(ROOT_NODE, 'd'));
  let asked = 0;
  rig.cache.onPrune = () => {
    asked++;
    t.equal(rig.core.volume.pruner.look(), undefined);
  };
  for (let i = 0; i < 400; i++) {
    rig.put(directory, `f${i}`, '');
    rig.getattr(used);
  }
  const nodes = new Set(rig.cache.pruned.map(({ node }) => node));
  t.ok(nodes.size > 100);
  t.notOk(nodes.has(open.node));
  t.notOk(nodes.has(used));
  t.notOk(nodes.has(rig.walk('alice')));
  t.ok(asked >= 2 && asked <= 10, `${asked} orders for 400 files that stay`);
  const named = rig.cache.pruned.find(({ name }) => name === 'f7');
  t.match(named, { parent: directory, name: 'f7' }, 'with a name for kernels that know no node ids');
});
