import { mkdirSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import type { Receipt } from '../support/mounted.js';
import { type Probe, type Rig, sleep, within } from '../support/probe.js';

export const FILL = 0x61;

/** A file that the kernel has nothing of, and a process that has it open. */
export async function cold(
  rig: Rig,
  name: string,
  length: number,
  flags: number,
): Promise<{ probe: Probe; fd: number }> {
  mkdirSync(rig.path('a', name));
  writeFileSync(rig.path('a', name, 'file'), Buffer.alloc(length, FILL));
  await rig.lock('/a');
  await rig.unlock('/a');
  const probe = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a', name, 'file'), flags });
  return { probe, fd };
}

/**
 * A lock that finds calls under way for certain: they are made while the daemon is stopped, and the lock is asked for
 * before it goes on.
 */
export async function lockDuring(
  t: Test,
  rig: Rig,
  least: number,
  begin: () => Promise<unknown>,
): Promise<Receipt[]> {
  // Readahead of the controls.
  while (rig.waiting > 0) await sleep(2);
  rig.stop();
  const begun = begin();
  for (let tries = 0; rig.waiting < least && tries < 1_000; tries++) await sleep(2);
  t.ok(rig.waiting >= least, `control: ${rig.waiting} requests are under way`);
  const locking = rig.lock('/a');
  // The request has to be in the socket.
  await sleep(20);
  rig.resume();
  const receipts = await within(15_000, 'the lock', locking);
  t.same(receipts[0]?.errors, []);
  await within(10_000, 'the call that began them', begun);
  return receipts;
}
