import { test } from 'tap';
import { flag, InodeTable, NO_SLOT } from './inode-table.js';

const make = (capacity: number): InodeTable =>
  new InodeTable(new ArrayBuffer(InodeTable.bytesFor(capacity)), capacity);

test('a node id is never given twice, however often its slot is used', async (t) => {
  const table = make(4);
  const seen = new Set<number>();
  for (let round = 0; round < 50; round++) {
    const slot = table.allocate(0, 1, 'n');
    table.lookups[slot] = 1;
    const node = table.node(slot);
    t.notOk(seen.has(node));
    seen.add(node);
    t.equal(table.slot(node), slot);
    table.release(slot);
    t.equal(table.slot(node), NO_SLOT, 'a released node is unknown');
  }
});

test('the first slot is the root with node id 1; a full table says so', async (t) => {
  const table = make(4);
  const slots = [1, 2, 3].map(() => table.allocate(0, 0, ''));
  t.same(slots, [1, 2, 3]);
  t.equal(table.node(1), 1);
  t.equal(table.allocate(0, 0, ''), NO_SLOT);
  t.equal(table.used, 3);
  table.release(2);
  t.equal(table.allocate(0, 0, ''), 2);
});

test('ids that nobody gave are unknown: out of range, not a number, no reference', async (t) => {
  const table = make(4);
  const slot = table.allocate(0, 0, '');
  t.equal(table.slot(table.node(slot)), NO_SLOT, 'no lookup reference');
  for (const node of [0, 5, 2 ** 40, Number.NaN, Number.MAX_SAFE_INTEGER]) {
    t.equal(table.slot(node), NO_SLOT, String(node));
  }
});

test('flags are set and cleared one by one, and a reused slot has none', async (t) => {
  const table = make(3);
  const slot = table.allocate(0, 0, '');
  table.set(slot, flag.STALE | flag.PAGES);
  table.clear(slot, flag.STALE);
  t.ok(table.has(slot, flag.PAGES));
  t.notOk(table.has(slot, flag.STALE));
  table.release(slot);
  t.ok(table.has(slot, flag.FREE));
  const other = table.allocate(0, 0, '');
  const again = table.allocate(0, 0, '');
  t.equal(table.flags[other], 0);
  t.equal(table.flags[again], 0);
});
