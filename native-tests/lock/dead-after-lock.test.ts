import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { type Test, test } from 'tap';
import { errno } from '../../src/base/errno.js';
import { open } from '../../src/libc/files.js';
import { MAP_PRIVATE, PAGE } from '../support/board.js';
import { type Probe, Rig } from '../support/probe.js';

const LENGTH = 64 * PAGE;

async function scopeWithFile(t: Test): Promise<Rig> {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  mkdirSync(rig.path('a/sub'));
  writeFileSync(rig.path('a/sub/file'), Buffer.alloc(LENGTH, 0x61));
  writeFileSync(rig.path('a/top'), Buffer.alloc(LENGTH, 0x74));
  return rig;
}

/** The errno of an order, as a positive number. */
async function refusal(call: Promise<{ n: number; signal?: string }>): Promise<number | string> {
  const { n, signal } = await call;
  return signal ?? -n;
}

async function expectDead(t: Test, probe: Probe, held: Record<string, number>, when: string): Promise<void> {
  const fd = (name: string): number => held[name] as number;
  t.equal(await refusal(probe.call('read', { fd: fd('file') })), errno.ENOKEY, `read by an old fd ${when}`);
  t.equal(
    await refusal(probe.call('read', { fd: fd('top') })),
    errno.ENOKEY,
    `read of the other file ${when}`,
  );
  const write = { fd: fd('file'), offset: 0, fill: 1, length: 4096 };
  t.equal(await refusal(probe.call('write', write)), errno.ENOKEY, `write by an old fd ${when}`);
  t.equal(await refusal(probe.call('list', { fd: fd('sub') })), errno.ENOKEY, `listing by an old fd ${when}`);
  t.equal(await refusal(probe.call('list', { fd: fd('root') })), errno.ENOKEY, `listing the root ${when}`);
  const inside = { fd: fd('sub'), name: 'file' };
  t.equal(await refusal(probe.call('openat', inside)), errno.ENOKEY, `openat below an old directory ${when}`);
  const viaPath = { path: `/proc/self/fd/${fd('path')}` };
  t.equal(await refusal(probe.call('open', viaPath)), errno.ENOKEY, `opening an O_PATH descriptor ${when}`);
  t.equal(await refusal(probe.call('openat', { name: 'file' })), errno.ENOKEY, `a file in the cwd ${when}`);
  t.equal(await refusal(probe.call('openat', { name: '.' })), errno.ENOKEY, `the cwd ${when}`);
  const fresh = { name: 'fresh', flags: open.O_CREAT | open.O_RDWR };
  t.equal(await refusal(probe.call('openat', fresh)), errno.ENOKEY, `creating a file in the cwd ${when}`);
}

test('what was opened before a lock is dead after it, and after the next unlock', async (t) => {
  const rig = await scopeWithFile(t);
  const probe = rig.probe();
  await probe.must('chdir', { path: rig.path('a/sub') });
  const opened = (name: string, flags: number) => probe.must('open', { path: rig.path(name), flags });
  const held = {
    file: await opened('a/sub/file', open.O_RDWR),
    top: await opened('a/top', open.O_RDONLY),
    sub: await opened('a/sub', open.O_RDONLY | open.O_DIRECTORY),
    root: await opened('a', open.O_RDONLY | open.O_DIRECTORY),
    path: await opened('a/sub/file', open.O_PATH),
  };
  t.equal((await probe.call('read', { fd: held.file })).n, 4096, 'the probe reads while it is unlocked');
  t.equal((await probe.call('list', { fd: held.sub })).n, 1);
  t.equal((await probe.call('list', { fd: held.root })).n, 2);

  const [receipt] = await rig.lock('/a');
  t.same(receipt?.errors, []);
  t.equal(receipt?.handles_cut, 4);
  await expectDead(t, probe, held, 'while locked');
  for (const [name, flags] of [
    ['a/top', open.O_RDONLY],
    ['a/sub/file', open.O_RDONLY],
    ['a', open.O_RDONLY | open.O_DIRECTORY],
    ['a/new', open.O_CREAT | open.O_RDWR],
  ] as const) {
    const refused = await refusal(probe.call('open', { path: rig.path(name), flags }));
    t.equal(refused, errno.ENOKEY, `a new open of ${name}`);
  }
  t.throws(() => readdirSync(rig.path('a')), 'a listing by path');

  await rig.unlock('/a');
  t.equal(readFileSync(rig.path('a/sub/file'))[LENGTH - 1], 0x61, 'others read again');
  readFileSync(rig.path('a/top'));
  readdirSync(rig.path('a/sub'));
  await expectDead(t, probe, held, 'after the next unlock');
  const path = { path: rig.path('a/sub/file') };
  t.ok((await probe.call('open', path)).n >= 0, 'the same process opens it anew by path');
});

test('mappings made before a lock fault with SIGBUS, show no page in memory, and stay dead', async (t) => {
  const rig = await scopeWithFile(t);
  const kinds = [
    { name: 'shared and read', write: false, flags: 1 },
    { name: 'shared and written', write: true, flags: 1 },
    { name: 'private, not written', write: false, flags: MAP_PRIVATE },
  ];
  const rows: { kind: (typeof kinds)[number]; when: string; probe: Probe; map: number }[] = [];
  for (const kind of kinds) {
    for (const when of ['while locked', 'after the next unlock']) {
      const probe = rig.probe();
      const fd = await probe.must('open', { path: rig.path('a/sub/file'), flags: open.O_RDWR });
      const map = await probe.must('map', { fd, length: LENGTH, write: kind.write, flags: kind.flags });
      for (let at = 0; at < LENGTH; at += PAGE) await probe.must('peek', { map, offset: at });
      if (kind.write) await probe.must('poke', { map, value: 0x62 });
      t.equal((await probe.call('mincore', { map })).n, 64, 'all pages are there before');
      rows.push({ kind, when, probe, map });
    }
  }
  await rig.lock('/a');
  for (const { kind, when, probe, map } of rows) {
    t.equal((await probe.call('mincore', { map })).n, 0, `${kind.name}: no page is there ${when}`);
  }
  const touch = async (moment: string): Promise<void> => {
    for (const { kind, when, probe, map } of rows) {
      if (when !== moment) continue;
      const { signal } = await probe.call('peek', { map, offset: 17 * PAGE });
      t.equal(signal, 'SIGBUS', `${kind.name}: access ${when}`);
    }
  };
  await touch('while locked');
  await rig.unlock('/a');
  t.equal(readFileSync(rig.path('a/sub/file'))[17 * PAGE], 0x62, 'what was stored before is there');
  for (const { kind, when, probe, map } of rows) {
    if (when === 'while locked') continue;
    t.equal((await probe.call('mincore', { map })).n, 0, `${kind.name}: still no page after the unlock`);
  }
  await touch('after the next unlock');
});

test('dirty mapped pages of many files, one of them unlinked, are kept by a lock', async (t) => {
  const FILES = 300;
  const rig = await scopeWithFile(t);
  const probe = rig.probe();
  for (let i = 0; i < FILES; i++) {
    const path = rig.path('a', `many-${i}`);
    writeFileSync(path, Buffer.alloc(4 * PAGE, 1));
    const fd = await probe.must('open', { path, flags: open.O_RDWR });
    const map = await probe.must('map', { fd, length: 4 * PAGE, write: true });
    // The mapping alone keeps the file open for most of them.
    if (i % 3 !== 0) await probe.must('close', { fd });
    await probe.must('poke', { map, value: i % 251 });
  }
  unlinkSync(rig.path('a/many-7'));
  const [receipt] = await rig.lock('/a');
  t.same(receipt?.errors, [], 'no file failed');
  t.ok((receipt?.bytes_flushed ?? 0) >= (FILES - 1) * 4 * PAGE, `flushed ${receipt?.bytes_flushed}`);
  t.comment(`locked ${FILES} files with dirty pages in ${receipt?.seconds} s`);
  await rig.unlock('/a');
  let wrong = 0;
  for (let i = 0; i < FILES; i++) {
    if (i === 7) continue;
    const bytes = readFileSync(rig.path('a', `many-${i}`));
    for (let at = 0; at < 4 * PAGE; at += PAGE) if (bytes[at] !== i % 251 || bytes[at + 1] !== 1) wrong++;
  }
  t.equal(wrong, 0, 'every page that was stored to is there');
  await rig.lock('/a');
  await rig.unlock('/a');
  const fd = openSync(rig.path('a/top'), 'r+');
  fsyncSync(fd);
  closeSync(fd);
});
