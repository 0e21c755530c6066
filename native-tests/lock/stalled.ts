import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import { MAP_PRIVATE, PAGE } from '../support/board.js';
import { type Probe, Rig } from '../support/probe.js';

/**
 * A program may make a call on a mount wait for memory that never comes: a mapping of a file on a filesystem that does
 * not answer (here another vault whose daemon is stopped; any user can do it with a FUSE mount of his own). While the
 * call waits it holds the inode's lock, so whatever the daemon asks of that inode waits as well.
 */
export const MIB = 1 << 20;
export const SCOPES = ['/a', '/b'] as const;

export interface Reader {
  scope: string;
  probe: Probe;
  fd: number;
  map: number;
}

/** Two scopes with a file each that a process has open, mapped and in the page cache; and memory that never comes. */
export async function stage(t: Test) {
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

export async function expectLocked(t: Test, rig: Rig, { scope, probe, fd, map }: Reader): Promise<void> {
  t.equal(await rig.state(scope), 'locked', `${scope} says that it is locked`);
  t.equal((await probe.call('mincore', { map })).n, 0, `${scope}: no page is cached`);
  t.equal((await probe.call('read', { fd })).n, -126, `${scope}: an old descriptor reads nothing`);
  t.equal((await probe.call('peek', { map })).signal, 'SIGBUS', `${scope}: an old mapping faults`);
}
