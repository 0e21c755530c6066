import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import { open } from '../../src/libc/files.js';
import { MAP_PRIVATE, monotonic, PAGE } from '../support/board.js';
import { type Probe, Rig, sleep, within } from '../support/probe.js';

/**
 * A program may make a call on a mount wait for memory that never comes: a mapping of a file on a filesystem that does
 * not answer (here another vault whose daemon is stopped; any user can do it with a FUSE mount of his own). While the
 * call waits it holds the inode's lock, so whatever the daemon asks of that inode waits as well.
 */
const MIB = 1 << 20;
const SCOPES = ['/a', '/b'] as const;

interface Reader {
  scope: string;
  probe: Probe;
  fd: number;
  map: number;
}

/** Two scopes with a file each that a process has open, mapped and in the page cache; and memory that never comes. */
async function stage(t: Test) {
  const rig = new Rig();
  const stalled = new Rig();
  let stopped = false;
  const resume = (): void => {
    if (stopped) process.kill(stalled.vault.pid, 'SIGCONT');
  };
  t.teardown(async () => {
    resume();
    await rig.remove();
    await stalled.remove();
  });
  writeFileSync(stalled.path('source'), Buffer.alloc(MIB, 0x73));
  stalled.vault.remount();
  const victim = rig.probe();
  const source = await victim.must('open', { path: stalled.path('source') });
  const memory = await victim.must('map', { fd: source, length: MIB, write: true, flags: MAP_PRIVATE });
  const readers: Reader[] = [];
  for (const scope of SCOPES) {
    rig.createScope(scope);
    mkdirSync(rig.path(scope, 'sub'));
    writeFileSync(rig.path(scope, 'sub/file'), Buffer.alloc(16 * PAGE, 0x61));
    writeFileSync(rig.path(scope, 'target'), Buffer.alloc(MIB, 1));
  }
  const read = async (): Promise<void> => {
    for (const scope of SCOPES) {
      const probe = rig.probe();
      const fd = await probe.must('open', { path: rig.path(scope, 'sub/file') });
      const map = await probe.must('map', { fd, length: 16 * PAGE });
      await probe.must('peek', { map });
      await probe.must('read', { fd });
      readFileSync(rig.path(scope, 'sub/file'));
      readers.push({ scope, probe, fd, map });
    }
  };
  const stop = (): void => {
    stopped = true;
    process.kill(stalled.vault.pid, 'SIGSTOP');
  };
  return { rig, victim, memory, readers, read, stop, resume };
}

async function expectLocked(t: Test, rig: Rig, { scope, probe, fd, map }: Reader): Promise<void> {
  t.equal(await rig.state(scope), 'locked', `${scope} says that it is locked`);
  t.equal((await probe.call('mincore', { map })).n, 0, `${scope}: no page is cached`);
  t.equal((await probe.call('read', { fd })).n, -126, `${scope}: an old descriptor reads nothing`);
  t.equal((await probe.call('peek', { map })).signal, 'SIGBUS', `${scope}: an old mapping faults`);
}

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
