import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { open } from '../../src/libc/files.js';
import { monotonic, PAGE } from '../support/board.js';
import { Rig, sleep, within } from '../support/probe.js';

const LENGTH = 256 * PAGE;

/** Reads by a held descriptor until that fails: when (CLOCK_MONOTONIC, ms) the last read that worked began. */
async function lastRead(rig: Rig, path: string, limit: number): Promise<{ last: number; refused: number }> {
  const probe = rig.probe();
  const fd = await probe.must('open', { path });
  let last = 0;
  const end = monotonic() + limit;
  while (monotonic() < end) {
    const { n, at } = await probe.call('read', { fd, offset: 0 });
    if (n < 0) return { last, refused: -n };
    last = at;
    await sleep(5);
  }
  return { last, refused: 0 };
}

test('a lease of 2 s ends by itself: no read after it, dirty mapped pages are kept', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  writeFileSync(rig.path('a/file'), Buffer.alloc(LENGTH, 1));
  await rig.lock('/a');
  const granted = monotonic();
  await rig.unlock('/a', '2s');
  const probe = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a/file'), flags: open.O_RDWR });
  const map = await probe.must('map', { fd, length: LENGTH, write: true });
  await probe.must('poke', { map, value: 0x64 });
  const { last, refused } = await lastRead(rig, rig.path('a/file'), 5_000);
  t.equal(refused, 126, 'then ENOKEY');
  t.ok(last - granted > 1_500, `reads work until the orderly lock begins: ${Math.round(last - granted)} ms`);
  t.ok(last - granted < 2_500, 'and not long after the deadline');
  // Refused from the beginning of the orderly lock on.
  for (let i = 0; i < 100 && (await rig.state('/a')) === 'locking'; i++) await sleep(50);
  t.equal(await rig.state('/a'), 'locked');
  await sleep(100);
  t.equal((await probe.call('mincore', { map })).n, 0, 'no page is left');
  t.equal((await probe.call('peek', { map })).signal, 'SIGBUS');
  t.same(
    (await rig.client.leases()).filter((lease) => lease.path === '/a'),
    [],
    'the lease is gone',
  );
  t.equal(rig.vault.cli('status', '/a', '-q').status, 3);
  await rig.unlock('/a');
  const kept = readFileSync(rig.path('a/file'));
  let wrong = 0;
  for (let at = 0; at < LENGTH; at += PAGE) if (kept[at] !== 0x64 || kept[at + 1] !== 1) wrong++;
  t.equal(wrong, 0, 'what was stored during the lease is there');
});

test('a writer that dirties pages without a pause does not prolong a lease by more than a second', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  const writers = [];
  const pages = 2048;
  writeFileSync(rig.path('a/seen'), Buffer.alloc(PAGE, 1));
  for (let i = 0; i < 2; i++) writeFileSync(rig.path(`a/file-${i}`), Buffer.alloc(pages * PAGE, 1));
  await rig.lock('/a');
  await rig.unlock('/a', '3s');
  const granted = monotonic();
  const counts: number[][] = [];
  for (let i = 0; i < 2; i++) {
    const probe = rig.probe();
    const fd = await probe.must('open', { path: rig.path(`a/file-${i}`), flags: open.O_RDWR });
    const map = await probe.must('map', { fd, length: pages * PAGE, write: true });
    const board = rig.board(pages + 1);
    const order = { map, board: board.path, milliseconds: 8_000 };
    writers.push({ probe, board, done: probe.call('count', order) });
  }
  const watching = lastRead(rig, rig.path('a/seen'), 6_000);
  await sleep(granted + 2_600 - monotonic());
  // The orderly lock begins 0.3 s before the end: what is stored by now must be kept.
  for (const { board } of writers) counts.push([...board.words]);
  const { last, refused } = await watching;
  t.equal(refused, 126);
  t.ok(last - granted < 4_000, `last read ${Math.round(last - granted)} ms after the unlock (ttl 3 s)`);
  await sleep(granted + 4_000 - monotonic());
  t.equal(await within(2_000, 'status', rig.state('/a')), 'locked', 'one second after the deadline');
  for (const { done } of writers) {
    t.equal((await within(6_000, 'the writer', done)).signal, 'SIGBUS', 'the writer died at its next store');
  }
  t.same(rig.stuck(), []);
  await rig.unlock('/a');
  for (const [i, before] of counts.entries()) {
    const kept = readFileSync(rig.path(`a/file-${i}`));
    let lost = 0;
    for (let page = 0; page < pages; page++) {
      if (kept.readUInt32LE(page * PAGE) < (before[page + 1] as number)) lost++;
    }
    t.ok((before[1] as number) > 2, `writer ${i} had stored ${before[1]} rounds`);
    t.equal(lost, 0, `writer ${i}: pages that lost a store made before the lock began`);
  }
});

test('the lease of a parent that ends while its child is being locked does not keep the worker busy', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/p');
  rig.createScope('/p/c');
  writeFileSync(rig.path('p/file'), 'parent');
  await rig.lock('/p');
  await rig.unlock('/p', '2s');
  await rig.unlock('/p/c', '2s');
  const { refused } = await lastRead(rig, rig.path('p/file'), 5_000);
  t.equal(refused, 126);
  await sleep(700);
  t.equal(await rig.state('/p'), 'locked');
  t.equal(await rig.state('/p/c'), 'locked');
  t.same(
    (await rig.client.leases()).map(({ path }) => path),
    ['/'],
  );
});

test('a lease that is shortened ends then, one that is prolonged lasts, and the audit says so', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  writeFileSync(rig.path('a/file'), 'kept');
  await rig.lock('/a');
  await rig.unlock('/a', '1h');
  const leaseOf = async () => (await rig.client.leases()).find((lease) => lease.path === '/a');
  const lease = await leaseOf();
  const id = lease?.id ?? '';
  t.ok((lease?.expires_seconds ?? 0) > 3_000);
  const longer = await rig.client.changeLease(id, { ttl: '2h' });
  t.ok((longer.expires_seconds ?? 0) > 7_000);
  const shorter = await rig.client.changeLease(id, { ttl: '1s' });
  t.ok((shorter.expires_seconds ?? 9) <= 1);
  for (const end = monotonic() + 4_000; monotonic() < end && (await rig.state('/a')) !== 'locked'; )
    await sleep(50);
  t.equal(await rig.state('/a'), 'locked', 'it ends a second later');
  t.equal(await leaseOf(), undefined);
  await t.rejects(rig.client.changeLease(id, { ttl: '1h' }), { code: 'not_found', hint: /lease list/ });
  const changes = (await rig.client.audit(20)).filter(({ event }) => event === 'lease_change');
  t.match(changes, [
    { lease: id, detail: 'ttl 7200 s' },
    { lease: id, detail: 'ttl 1 s' },
  ]);
});
