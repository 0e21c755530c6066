import { test } from 'tap';
import { open } from '../../src/libc/files.js';
import { type Rig, sleep, within } from '../support/probe.js';
import { expectLocked, MIB, SCOPES, stage } from './stalled.js';

/** Locks while a call waits for memory that never comes (stalled.ts). */

/** Locks both scopes, each with 2 s to write back: which calls had returned after 6 s. */
async function lockBoth(rig: Rig) {
  const returned: string[] = [];
  const locks = SCOPES.map(async (scope, i) => {
    await sleep(i * 200);
    const receipts = await rig.lock(scope, '2s');
    returned.push(scope);
    return receipts;
  });
  const end = Date.now() + 6_000;
  while (Date.now() < end && returned.length < SCOPES.length) await sleep(50);
  return { returned: [...returned], locks: Promise.all(locks) };
}

test('a write whose source never comes delays the end of no lock, its own or another', async (t) => {
  const { rig, victim, memory, readers, read, stop, resume } = await stage(t);
  const fd = await victim.must('open', { path: rig.path('a/target'), flags: open.O_RDWR });
  await read();
  stop();
  const board = rig.board();
  const writing = victim.call('writeMap', { fd, map: memory, length: MIB, board: board.path, word: 1 });
  while (board.words[1] === 0) await sleep(1);
  await sleep(100);
  const { returned, locks } = await lockBoth(rig);
  t.ok(returned.includes('/b'), 'the other scope: lock --wait 2s returned within 6 s');
  t.ok(returned.includes('/a'), 'its own scope: lock --wait 2s returned within 6 s');
  for (const reader of readers) await expectLocked(t, rig, reader);
  resume();
  await within(10_000, 'the stalled write', writing);
  const [own, other] = await within(10_000, 'both locks', locks);
  const named = own?.[0]?.errors.map(({ file }) => file) ?? [];
  t.ok(named.includes('target'), `the receipt names the file: ${named.join(', ')}`);
  t.same(other?.[0]?.errors, [], 'nothing of the other scope was given up');
});

test('a listing into memory that never comes delays the end of no lock, its own or another', async (t) => {
  const { rig, victim, memory, readers, read, stop, resume } = await stage(t);
  const fd = await victim.must('open', { path: rig.path('a'), flags: open.O_RDONLY | open.O_DIRECTORY });
  await read();
  stop();
  const board = rig.board();
  const listing = victim.call('listMap', { fd, map: memory, length: 32_768, board: board.path, word: 1 });
  while (board.words[1] === 0) await sleep(1);
  await sleep(100);
  t.equal(board.words[1], 1, 'the listing waits');
  const { returned, locks } = await lockBoth(rig);
  t.ok(returned.includes('/b'), 'the other scope: lock --wait 2s returned within 6 s');
  t.ok(returned.includes('/a'), 'its own scope: lock --wait 2s returned within 6 s');
  for (const reader of readers) await expectLocked(t, rig, reader);
  resume();
  await within(10_000, 'the stalled listing', listing);
  await within(10_000, 'both locks', locks);
});
