import fc from 'fast-check';
import { test } from 'tap';
import { XATTR_MAP } from '../../format/file/hole-map.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { LateExecutor } from './test-ports.js';
import { Rig, ROOT_SCOPE } from './test-rig.js';
import { again, C, content, MOST, sparse } from './test-sparse.js';

type Step =
  | {
      op: 'write' | 'punch' | 'zero' | 'zero+' | 'allocate' | 'read';
      at: number;
      length: number;
      fill: number;
    }
  | { op: 'truncate'; at: number }
  | { op: 'fsync' | 'reopen' | 'remount' };

/** Offsets near the edges of chunks. */
const offset = fc
  .tuple(fc.integer({ min: 0, max: 39 }), fc.constantFrom(0, 0, 1, 5, C / 2, C - 1))
  .map(([chunk, within]) => chunk * C + within);
const length = fc
  .tuple(fc.integer({ min: 0, max: 9 }), fc.constantFrom(0, 1, 7, C / 2, C - 1))
  .map(([chunks, more]) => Math.max(1, chunks * C + more));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constantFrom(
        'write',
        'write',
        'punch',
        'zero',
        'zero+',
        'allocate',
        'read',
      ) as fc.Arbitrary<'write'>,
      at: offset,
      length,
      fill: fc.integer({ min: 1, max: 255 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('truncate' as const), at: offset }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constantFrom('fsync' as const, 'reopen' as const, 'remount' as const) }),
  },
);

function play(steps: readonly Step[]): string | undefined {
  const disk = new MemoryDisk();
  const rigs = [new Rig(disk)];
  const wrong = playOn(disk, rigs, steps);
  for (const rig of rigs) rig.close();
  return wrong;
}

function playOn(disk: MemoryDisk, rigs: Rig[], steps: readonly Step[]): string | undefined {
  let rig = rigs[0] as Rig;
  const made = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  let [node, handle] = [made.node, made.handle];
  let model = Buffer.alloc(0);
  /** Bytes that a program wrote and nobody took away: no hole may be there. */
  const grow = (size: number): void => {
    if (size > model.length) model = Buffer.concat([model, Buffer.alloc(size - model.length)]);
  };
  for (const [i, what] of steps.entries()) {
    const where = `step ${i}, ${JSON.stringify(what)}`;
    let answer: { error?: string | undefined } = {};
    switch (what.op) {
      case 'write':
        answer = rig.write(node, handle, what.at, Buffer.alloc(what.length, what.fill));
        grow(what.at + what.length);
        model.fill(what.fill, what.at, what.at + what.length);
        break;
      case 'punch':
      case 'zero':
      case 'zero+': {
        const kind = what.op === 'punch' ? 'punch' : 'zero';
        const keepSize = what.op !== 'zero+';
        answer = rig.fallocate(node, handle, { kind, keepSize, offset: what.at, length: what.length });
        if (!keepSize) grow(what.at + what.length);
        model.fill(0, what.at, Math.min(model.length, what.at + what.length));
        break;
      }
      case 'allocate':
        answer = rig.fallocate(node, handle, {
          kind: 'allocate',
          keepSize: what.fill % 2 === 0,
          offset: what.at,
          length: what.length,
        });
        if (what.fill % 2 !== 0) grow(what.at + what.length);
        break;
      case 'read': {
        const got = rig.read(node, handle, what.at, what.length);
        if (got.error !== undefined) return `${where}: ${got.error}`;
        if (!got.data?.equals(model.subarray(what.at, what.at + what.length))) return `${where}: other bytes`;
        break;
      }
      case 'truncate':
        answer = rig.setattr(node, { size: what.at });
        if (what.at < model.length) model = Buffer.from(model.subarray(0, what.at));
        else grow(what.at);
        break;
      case 'fsync':
        answer = rig.fsync(node, handle);
        break;
      case 'reopen':
        rig.release(handle);
        handle = (rig.open(node, true) as { handle: number }).handle;
        break;
      case 'remount':
        rig.release(handle);
        rig = new Rig(disk, { fresh: false });
        rigs.push(rig);
        node = rig.walk('f');
        handle = (rig.open(node, true) as { handle: number }).handle;
        break;
    }
    if (answer.error !== undefined) return `${where}: ${answer.error}`;
    const size = (rig.getattr(node) as { attributes: { size: number } }).attributes.size;
    if (size !== model.length) return `${where}: size ${size}, not ${model.length}`;
  }
  for (let at = 0; at < Math.max(1, model.length); at += 8 * C) {
    const got = rig.read(node, handle, at, 8 * C);
    if (got.error !== undefined) return `at the end: ${got.error}`;
    if (!got.data?.equals(model.subarray(at, at + 8 * C))) return `at the end, ${at}: other bytes`;
  }
  return seeks(rig, node, handle, model);
}

/** SEEK_DATA and SEEK_HOLE walk the file in turns; no hole covers a byte that is not zero. */
function seeks(rig: Rig, node: number, handle: number, model: Buffer): string | undefined {
  let at = 0;
  while (at < model.length) {
    const data = rig.seek(node, handle, at, 'data');
    const until = data.error === 'ENXIO' ? model.length : (data as { position: number }).position;
    if (until < at) return `SEEK_DATA from ${at} went back to ${until}`;
    if (!model.subarray(at, until).equals(Buffer.alloc(until - at))) return `data in the hole ${at}-${until}`;
    if (data.error !== undefined) return undefined;
    const hole = (rig.seek(node, handle, until, 'hole') as { position: number }).position;
    if (!(hole > until)) return `SEEK_HOLE from ${until} gave ${hole}`;
    at = hole;
  }
  return rig.seek(node, handle, model.length, 'data').error === 'ENXIO' ? undefined : 'SEEK_DATA at the end';
}

test('a file with holes reads as an array of bytes does', async (t) => {
  const steps = fc.array(step, { minLength: 1, maxLength: 40 });
  const result = fc.check(
    fc.property(steps, (list) => {
      const wrong = play(list);
      if (wrong !== undefined) throw new Error(wrong);
    }),
    { numRuns: 250 },
  );
  t.notOk(
    result.failed,
    `${result.errorInstance} ${JSON.stringify(result.counterexample)} seed ${result.seed}`,
  );
});

test('a hole map that was taken away, changed, or is of another file or time is EIO', async (t) => {
  const { disk, stored } = sparse([0, 9, 20]);
  const whole = content(again(disk));
  t.equal(whole.length, MOST);
  const xattrs = disk.xattrs([stored]);
  const map = xattrs.get(XATTR_MAP) as Buffer;
  t.ok(map.length < 120);
  xattrs.delete(XATTR_MAP);
  t.equal(content(again(disk)), 'EIO', 'taken away');
  const flipped = Buffer.from(map);
  flipped[70] = (flipped[70] as number) ^ 1;
  xattrs.set(XATTR_MAP, flipped);
  t.equal(content(again(disk)), 'EIO', 'changed');
  t.equal(content(again(disk, true)), 'EIO', 'changed, after an unclean stop too');
  const other = sparse([0, 9, 20]);
  xattrs.set(XATTR_MAP, other.disk.xattrs([other.stored]).get(XATTR_MAP) as Buffer);
  t.equal(content(again(disk)), 'EIO', 'of another file');
  xattrs.set(XATTR_MAP, map);
  const rig = again(disk);
  const node = rig.walk('f');
  const { handle } = rig.open(node, true) as { handle: number };
  rig.write(node, handle, 5 * C, Buffer.alloc(C, 77));
  rig.release(handle);
  disk.xattrs([stored]).set(XATTR_MAP, map);
  t.equal(content(again(disk)), 'EIO', 'the one from before a write into the hole');
});

test('zeros where the map has no hole are EIO, and bytes planted in a hole are not read', async (t) => {
  const { disk, stored } = sparse([0, 9, 20]);
  const whole = content(again(disk)) as Buffer;
  const raw = Buffer.from(disk.raw([stored]));
  const frame = (chunk: number): number => 1024 + chunk * (C + 44);
  const forged = Buffer.from(raw);
  forged.fill(0, frame(9), frame(10));
  disk.setRaw([stored], forged);
  const rig = again(disk);
  const node = rig.walk('f');
  const { handle } = rig.open(node) as { handle: number };
  t.equal(rig.read(node, handle, 9 * C, C).error, 'EIO', 'a forged hole');
  t.equal(rig.read(node, handle, 20 * C, C).error, undefined, 'its neighbour is fine');
  const planted = Buffer.from(raw);
  raw.copy(planted, frame(5), frame(9), frame(10));
  disk.setRaw([stored], planted);
  t.same(content(again(disk)), whole);
});

test('a write into a hole that a lock brings is stored by it', async (t) => {
  const { disk } = sparse([0, 9, 20]);
  const rig = again(disk);
  const node = rig.walk('f');
  const { handle } = rig.open(node, true) as { handle: number };
  t.equal(rig.read(node, handle, 0, 1).error, undefined);
  let late = true;
  disk.faults.before = (call) => {
    if (call === 'syncfs' && late) {
      late = false;
      rig.write(node, handle, 5 * C, Buffer.alloc(C, 77), true);
    }
    return 0;
  };
  const [receipt] = rig.lock(ROOT_SCOPE);
  t.same(receipt?.errors, []);
  const got = content(again(disk)) as Buffer;
  t.same(got.subarray(5 * C, 6 * C), Buffer.alloc(C, 77));
});

test('a punch whose map can not be written changes nothing', async (t) => {
  const { disk } = sparse([0, 1, 2, 3], 4 * C);
  const rig = again(disk);
  const node = rig.walk('f');
  const { handle } = rig.open(node, true) as { handle: number };
  t.equal(rig.read(node, handle, 0, 1).error, undefined);
  disk.faults.before = (call) => (call === 'setxattr' ? -5 : 0);
  const punch = { kind: 'punch', keepSize: true, offset: C, length: 2 * C } as const;
  t.equal(rig.fallocate(node, handle, punch).error, 'EIO');
  const { data } = rig.read(node, handle, C, 2 * C) as { data: Buffer };
  t.equal(data[0], 2);
  t.equal(data[C], 3);
});

test('allocating beyond what the disk has is ENOSPC, and nothing changed', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  rig.write(node, handle, 0, 'abc');
  disk.faults.capacity = 10 * C;
  const room = { kind: 'allocate', keepSize: false, offset: 0, length: 20 * C } as const;
  t.equal(rig.fallocate(node, handle, room).error, 'ENOSPC');
  t.match(rig.getattr(node), { attributes: { size: 3 } });
  t.same(rig.fallocate(node, handle, { ...room, length: 5 * C }), {});
  t.match(rig.getattr(node), { attributes: { size: 5 * C } });
  t.equal(rig.fallocate(node, handle, { ...room, offset: 2 ** 52, length: 1 }).error, 'EFBIG');
  t.match((rig.read(node, handle, 0, 4) as { data: Buffer }).data, Buffer.from('abc\0'));
});

test('power cuts: what was fsynced of a sparse file reads back, the rest is old, new or a hole, never EIO', async (t) => {
  let cuts = 0;
  for (let seed = 0; seed < 60; seed++) {
    const disk = new MemoryDisk();
    const rig = new Rig(disk);
    const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
    const random = (n: number): number => {
      state = (state * 1103515245 + 12345) % 2 ** 31;
      return Math.floor((state / 2 ** 31) * n);
    };
    let state = seed * 7919 + 1;
    const some = (fill: number): void => {
      const chunk = random(30);
      const pick = random(4);
      if (pick === 0) {
        const length = (1 + random(4)) * C;
        rig.fallocate(node, handle, { kind: 'punch', keepSize: true, offset: chunk * C, length });
      } else {
        rig.write(node, handle, chunk * C + random(3) * 100, Buffer.alloc(C, fill));
      }
    };
    for (let i = 0; i < 5; i++) some(10 + i);
    rig.setattr(node, { size: 40 * C });
    rig.fsync(node, handle);
    const synced = rig.get(node) as Buffer;
    const before = disk.changes;
    // Only new chunks and holes: overwriting in place is for the journal.
    const written = new Set<number>();
    for (let i = 0; i < 6; i++) {
      const chunk = random(40);
      const hole = rig.seek(node, handle, chunk * C, 'hole') as { position: number };
      if (hole.position !== chunk * C) continue;
      rig.write(node, handle, chunk * C, Buffer.alloc(C, 200 + i));
      written.add(chunk);
      if (random(3) === 0) rig.release((rig.open(node, true) as { handle: number }).handle);
    }
    rig.release(handle);
    rig.close();
    for (let changes = before; changes <= disk.changes; changes++) {
      cuts++;
      const after = again(disk.crash(changes), true);
      const got = content(after);
      if (typeof got === 'string') {
        t.fail(`seed ${seed}, ${changes} changes: ${got}`);
        continue;
      }
      for (let chunk = 0; chunk < 40; chunk++) {
        const now = got.subarray(chunk * C, (chunk + 1) * C);
        const old = synced.subarray(chunk * C, (chunk + 1) * C);
        if (!now.equals(old) && !written.has(chunk)) t.fail(`seed ${seed}: chunk ${chunk} changed`);
      }
    }
  }
  t.ok(cuts > 100, `${cuts} cuts`);
});

test('a lock between the steps of a punch leaves a file that opens', async (t) => {
  for (let steps = 0; steps < 6; steps++) {
    const { disk } = sparse([0, 1, 2, 3, 4, 5], 6 * C);
    const executor = new LateExecutor(disk);
    const rig = new Rig(disk, { fresh: false, executor });
    const settle = (): void => {
      while (executor.step());
    };
    const node = rig.walk('f');
    const opened = rig.start((reply) =>
      rig.core.files.open(node, { write: true, truncate: false, killPrivileges: false }, caller, reply),
    );
    settle();
    const { handle } = opened.answers[0] as { handle: number };
    const what = { kind: 'punch', keepSize: true, offset: C + 10, length: 3 * C } as const;
    const reply = rig.start((to) => rig.core.space.fallocate(node, handle, what, caller, to));
    for (let i = 0; i < steps; i++) executor.step();
    rig.close();
    settle();
    t.equal(reply.answers.length, 1, 'one answer');
    const got = content(again(disk, true));
    t.equal(typeof got === 'string' ? got : got.length, 6 * C, `after ${steps} steps`);
  }
});
const caller = { uid: 0, gid: 0, pid: 1, trusted: false };
