import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { open } from '../../src/libc/files.js';
import { monotonic } from '../support/board.js';
import { sleep } from '../support/probe.js';
import { expectLocked, MIB, type Reader, stage } from './stalled.js';

/** Ends of leases while a call waits for memory that never comes (stalled.ts). Apart from stalled.test.ts: they wait at once. */

test('a lease ends in time though a write in its scope waits for ever', async (t) => {
  const { rig, victim, memory, readers, read, stop } = await stage(t);
  await rig.lock('/a');
  const granted = monotonic();
  await rig.unlock('/a', '3s');
  const fd = await victim.must('open', { path: rig.path('a/target'), flags: open.O_RDWR });
  await read();
  stop();
  const board = rig.board();
  void victim.call('writeMap', { fd, map: memory, length: MIB, board: board.path, word: 1 });
  await sleep(granted + 4_000 - monotonic());
  t.equal(board.words[1], 1, 'the write waits');
  await expectLocked(t, rig, readers[0] as Reader);
  t.equal((await readers[1]?.probe.call('read', { fd: readers[1].fd }))?.n, 4096, 'the other scope is open');
});

/** Seconds of processor time that a process has used. */
function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

test('the lease of a parent ends in time while a lock of its child waits, and the daemon does not spin', async (t) => {
  const { rig, victim, memory, readers, read, stop } = await stage(t);
  await rig.lock('/a');
  const granted = monotonic();
  await rig.unlock('/a', '5s');
  rig.createScope('/a/c');
  writeFileSync(rig.path('a/c/target'), Buffer.alloc(MIB, 1));
  const fd = await victim.must('open', { path: rig.path('a/c/target'), flags: open.O_RDWR });
  await read();
  stop();
  const board = rig.board();
  void victim.call('writeMap', { fd, map: memory, length: MIB, board: board.path, word: 1 });
  while (board.words[1] === 0) await sleep(1);
  await sleep(100);
  const locking = rig.lock('/a/c', '30s');
  locking.catch(() => {});
  t.ok(monotonic() - granted < 4_400, 'the lock of the child begins before the lease of the parent ends');
  await sleep(granted + 4_900 - monotonic());
  const before = processorSeconds(rig.vault.pid);
  await sleep(granted + 6_000 - monotonic());
  const used = processorSeconds(rig.vault.pid) - before;
  t.ok(used < 0.5, `the daemon used ${used.toFixed(2)} s of processor time in 1.1 s of waiting`);
  await expectLocked(t, rig, readers[0] as Reader);
  t.equal(await rig.state('/a/c'), 'locked');
});
