import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { errno } from '../../src/base/errno.js';
import { open } from '../../src/libc/files.js';
import { PAGE } from '../support/board.js';
import { inBothModes } from '../support/modes.js';
import { run } from '../support/mounted.js';
import { type Probe, type Rig, within } from '../support/probe.js';

const PAGES = 16;
const LENGTH = PAGES * PAGE;
const FILL = 0x61;
const STORED = 0x62;

function hostDirectory(rig: Rig, name: string): string {
  const path = join(rig.vault.directory, name);
  mkdirSync(path);
  return path;
}

interface Held {
  probe: Probe;
  /** Of the other mount: a file, its directory. */
  path: string;
  directory: string;
  file: number;
  opened: number;
  map: number;
}
/** A process that has a file of the scope open and mapped by way of another mount. */
async function hold(t: Test, probe: Probe, directory: string, write: boolean): Promise<Held> {
  const path = join(directory, 'file');
  const file = await probe.must('open', { path, flags: write ? open.O_RDWR : open.O_RDONLY });
  if (write) await probe.must('write', { fd: file, offset: 0, fill: FILL, length: LENGTH });
  const opened = await probe.must('open', { path: directory, flags: open.O_RDONLY | open.O_DIRECTORY });
  const map = await probe.must('map', { fd: file, length: LENGTH, write });
  if (write) await probe.must('poke', { map, value: STORED });
  for (let offset = 0; offset < LENGTH; offset += PAGE) await probe.must('look', { map, offset });
  t.equal((await probe.call('read', { fd: file })).n, PAGE, 'control: it reads');
  t.equal((await probe.call('mincore', { map })).n, PAGES, 'control: the mapping is in memory');
  return { probe, path, directory, file, opened, map };
}

async function expectDead(t: Test, held: Held, when: string): Promise<void> {
  const { probe, path, opened, file, map } = held;
  t.equal((await probe.call('mincore', { map })).n, 0, `no page of the mapping ${when}`);
  t.equal((await probe.call('read', { fd: file })).n, -errno.ENOKEY, `read(2) ${when}`);
  t.equal((await probe.call('look', { map })).n, -errno.EIO, `the mapping ${when}`);
  t.equal((await probe.call('openat', { fd: opened, name: 'file' })).n, -errno.ENOKEY, `openat(2) ${when}`);
  t.equal((await probe.call('open', { path })).n, -errno.ENOKEY, `open(2) by path ${when}`);
  t.equal((await probe.call('mincore', { map })).n, 0, `no page was brought ${when}`);
}

async function lockAndUnlock(t: Test, rig: Rig, held: Held): Promise<void> {
  const [receipt] = await within(15_000, 'the lock', rig.lock('/a'));
  t.same(receipt?.errors, []);
  t.equal((await held.probe.call('cachedPages', { fd: held.file })).n, 0, 'cachestat(2) counts no page');
  await expectDead(t, held, 'while locked');
  await rig.unlock('/a');
}

function overlay(t: Test, layers: string, merged: string): void {
  const mounted = run('mount', ['-t', 'overlay', 'overlay', '-o', layers, merged]);
  t.equal(mounted.status, 0, mounted.stderr);
}

inBothModes(
  {
    'an overlay with its lower layer in the scope shows nothing of it once it is locked': async (t, rig) => {
      const [upper, work, merged] = ['upper', 'work', 'merged'].map((name) => hostDirectory(rig, name)) as [
        string,
        string,
        string,
      ];
      const lower = rig.path('a/lower');
      mkdirSync(lower);
      writeFileSync(join(lower, 'file'), Buffer.alloc(LENGTH, FILL));
      const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
      overlay(t, layers, merged);
      const probe = rig.probe();
      try {
        const held = await hold(t, probe, merged, false);
        await lockAndUnlock(t, rig, held);
        readFileSync(join(lower, 'file'));
        await expectDead(t, held, 'after the next unlock');
      } finally {
        await probe.kill();
        t.equal(run('umount', [merged]).status, 0, 'it unmounts');
      }
      overlay(t, layers, merged);
      t.ok(readFileSync(join(merged, 'file')).equals(Buffer.alloc(LENGTH, FILL)), 'a new overlay reads');
      t.equal(run('umount', [merged]).status, 0);
    },

    'an overlay with its upper layer in the scope keeps what was written and shows nothing': async (
      t,
      rig,
    ) => {
      const [lower, merged] = ['lower', 'joined'].map((name) => hostDirectory(rig, name)) as [string, string];
      writeFileSync(join(lower, 'file'), 'of the lower layer');
      const upper = rig.path('a/upper');
      mkdirSync(upper);
      mkdirSync(rig.path('a/work'));
      overlay(t, `lowerdir=${lower},upperdir=${upper},workdir=${rig.path('a/work')}`, merged);
      const probe = rig.probe();
      try {
        const held = await hold(t, probe, merged, true);
        await lockAndUnlock(t, rig, held);
        const stored = Buffer.alloc(LENGTH, FILL);
        for (let at = 0; at < LENGTH; at += PAGE) stored[at] = STORED;
        t.ok(readFileSync(join(upper, 'file')).equals(stored), 'what was written and stored is there');
        await expectDead(t, held, 'after the next unlock');
      } finally {
        await probe.kill();
        t.equal(run('umount', [merged]).status, 0, 'it unmounts');
      }
    },

    'a bind mount in a mount namespace of its own shows nothing once the scope is locked': async (t, rig) => {
      const target = hostDirectory(rig, 'bound');
      const source = rig.path('a/bound');
      mkdirSync(source);
      writeFileSync(join(source, 'file'), Buffer.alloc(LENGTH, FILL));
      const script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"';
      const probe = rig.probe(['unshare', '-m', 'sh', '-c', script, 'sh', source, target]);
      const held = await hold(t, probe, target, true);
      t.throws(
        () => readFileSync(join(target, 'file')),
        { code: 'ENOENT' },
        'control: nobody else has the bind',
      );
      await lockAndUnlock(t, rig, held);
      t.equal(readFileSync(join(source, 'file'))[PAGE], STORED, 'what was stored is there');
      await expectDead(t, held, 'after the next unlock');
    },
  },
  // What an overlay leaves in its upper layer.
  '--dev',
  '--suid',
);
