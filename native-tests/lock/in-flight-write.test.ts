import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { open } from '../../src/libc/files.js';
import { PAGE } from '../support/board.js';
import { Rig, sleep, within } from '../support/probe.js';

const MIB = 1 << 20;

test('a 64 MiB write(2) under way when the lock begins ends, and nothing it reported is lost', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  const probe = rig.probe();
  // The source is a mapping of a cold file in another scope: each page of it is read through the mount.
  writeFileSync(rig.path('source'), Buffer.alloc(64 * MIB, 0x73));
  const board = rig.board();
  for (let round = 0; round < 3; round++) {
    const name = rig.path('a', `target-${round}`);
    const source = await probe.must('open', { path: rig.path('source') });
    const fd = await probe.must('open', { path: name, flags: open.O_CREAT | open.O_RDWR });
    const map = await probe.must('map', { fd: source, length: 64 * MIB });
    board.words.fill(0);
    const order = { fd, map, length: 64 * MIB, board: board.path, word: 1 };
    const writing = probe.call('writeMap', order);
    while (board.words[1] === 0) await sleep(1);
    await sleep(20 + round * 30);
    const inFlight = board.words[1] === 1;
    const [receipt] = await within(15_000, 'the lock', rig.lock('/a'));
    t.same(receipt?.errors, []);
    const { n } = await within(10_000, 'the write', writing);
    t.same(rig.stuck(), [], 'no task is in uninterruptible sleep');
    t.ok(n > 0 || n === -126, `write(2) ${inFlight ? 'in flight' : 'was done'} returned ${n}`);
    await rig.unlock('/a');
    const kept = readFileSync(name);
    t.ok(kept.length >= Math.max(n, 0), `${kept.length} bytes are there`);
    t.ok(kept.equals(Buffer.alloc(kept.length, 0x73)), 'and they are right');
  }
});

test('of 1 MiB writes one after another, every one that succeeded before the lock is there', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  const probe = rig.probe();
  const board = rig.board();
  for (let round = 0; round < 4; round++) {
    const name = rig.path('a', `stream-${round}`);
    const fd = await probe.must('open', { path: name, flags: open.O_CREAT | open.O_RDWR });
    board.words.fill(0);
    const writing = probe.call('stream', { fd, blocks: 200, board: board.path, word: 1 });
    while ((board.words[1] as number) < 5 + round * 7) await sleep(1);
    const acknowledged = board.words[1] as number;
    const receipts = await within(15_000, 'the lock', rig.lock('/a'));
    t.same(receipts[0]?.errors, []);
    const { n } = await within(10_000, 'the writer', writing);
    t.equal(n, -126, 'the writer was stopped by ENOKEY');
    const last = board.words[1] as number;
    t.same(rig.stuck(), []);
    await rig.unlock('/a');
    const kept = readFileSync(name);
    t.ok(last >= acknowledged);
    t.ok(kept.length >= last * MIB, `${kept.length / MIB} MiB for ${last} acknowledged writes`);
    let wrong = 0;
    for (let at = 0; at < last * MIB; at += PAGE) if (kept[at] !== Math.floor(at / MIB) + 1) wrong++;
    t.equal(wrong, 0);
  }
});
