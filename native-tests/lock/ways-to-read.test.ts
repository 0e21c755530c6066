import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import { errno } from '../../src/base/errno.js';
import { open } from '../../src/libc/files.js';
import { O } from '../posix/sys.js';
import { MAP_PRIVATE, PAGE } from '../support/board.js';
import { inBothModes } from '../support/modes.js';
import { type Rig, SOCKET, sleep, within } from '../support/probe.js';
import type { Transfer } from '../support/transfers.js';

const PAGES = 64;
const LENGTH = PAGES * PAGE;
const FILL = 0x61;
const STORED = 0x62;

/** One process with a hold on a file of every kind that the kernel offers. */
async function hold(rig: Rig) {
  mkdirSync(rig.path('a/sub'));
  const path = rig.path('a/sub/file');
  writeFileSync(path, Buffer.alloc(LENGTH, FILL));
  writeFileSync(rig.path('a/sub/dirty'), Buffer.alloc(LENGTH, FILL));
  const probe = rig.probe();
  await probe.must('chdir', { path: rig.path('a/sub') });
  const opened = (flags: number, name = path) => probe.must('open', { path: name, flags });
  const file = await opened(open.O_RDWR);
  const dirtyFile = await opened(open.O_RDWR, rig.path('a/sub/dirty'));
  const mapped = (fd: number, order: { write?: boolean; flags?: number } = {}) =>
    probe.must('map', { fd, length: LENGTH, ...order });
  const maps = {
    shared: await mapped(file),
    'private, not stored to': await mapped(file, { flags: MAP_PRIVATE }),
    'private, one page stored to': await mapped(file, { flags: MAP_PRIVATE, write: true }),
    locked: await mapped(file),
    dirty: await mapped(dirtyFile, { write: true }),
  };
  await probe.must('mlock', { map: maps.locked });
  for (const map of Object.values(maps)) {
    for (let offset = 0; offset < LENGTH; offset += PAGE) await probe.must('look', { map, offset });
  }
  // One page: a copy of this process's own from now on.
  await probe.must('poke', { map: maps['private, one page stored to'], value: STORED, step: LENGTH });
  await probe.must('poke', { map: maps.dirty, value: STORED });
  const pipe = await probe.call('pipe', {});
  return {
    probe,
    maps,
    file,
    dirtyFile,
    direct: await opened(O.RDONLY | O.DIRECT),
    path: await opened(open.O_PATH),
    ring: await probe.must('ring', { fd: await opened(open.O_RDONLY), blocks: 4, blockBytes: PAGE }),
    pipe: { from: pipe.n, to: pipe.to },
    // On the same filesystem, as this call demands; under another key.
    outside: await opened(open.O_RDWR | open.O_CREAT, rig.path('outside')),
  };
}
type Held = Awaited<ReturnType<typeof hold>>;

interface Way {
  /** What it got: a length or a descriptor, or -errno. */
  get(held: Held): Promise<number>;
  refusal: number;
}
const moved = (how: Transfer, to: (held: Held) => number): Way => ({
  get: async (held) => (await held.probe.call('transfer', { how, from: held.file, to: to(held) })).n,
  refusal: errno.ENOKEY,
});
const looked = (name: keyof Held['maps']): Way => ({
  // The second page: the first one of the private mapping is a copy.
  get: async ({ probe, maps }) => (await probe.call('look', { map: maps[name], offset: PAGE })).n,
  refusal: errno.EIO,
});
const refused = (get: Way['get']): Way => ({ get, refusal: errno.ENOKEY });

const ways: Record<string, Way> = {
  'pread(2)': refused(async ({ probe, file }) => (await probe.call('read', { fd: file })).n),
  'pread(2) with O_DIRECT': refused(async ({ probe, direct }) => {
    // An aligned buffer is that of the queue.
    const aio = await probe.call('aio', { fd: direct, blocks: 1, blockBytes: PAGE });
    return (await probe.call('aioReap', { aio: aio.n, all: true })).results[0]?.[1] ?? aio.n;
  }),
  'a registered file of io_uring': refused(async ({ probe, ring }) => {
    await probe.must('ringSubmit', { ring, blocks: 1 });
    return (await probe.call('ringReap', { ring, all: true })).results[0]?.[1] ?? Number.NaN;
  }),
  'sendfile(2) into a pipe': moved('sendfile', ({ pipe }) => pipe.to),
  'sendfile(2) into a socket': moved('sendfile', () => SOCKET),
  'splice(2) into a pipe': moved('splice', ({ pipe }) => pipe.to),
  'copy_file_range(2) to a file of another scope': moved('copy_file_range', ({ outside }) => outside),
  'a file in the working directory': refused(
    async ({ probe }) => (await probe.call('openat', { name: 'file' })).n,
  ),
  'an O_PATH descriptor': refused(
    async ({ probe, path }) => (await probe.call('open', { path: `/proc/self/fd/${path}` })).n,
  ),
  'a shared mapping': looked('shared'),
  'a private mapping': looked('private, not stored to'),
  'the pages of a private mapping that were not stored to': looked('private, one page stored to'),
  'an mlocked mapping': looked('locked'),
  'a dirty mapping': looked('dirty'),
};

async function expectDead(t: Test, held: Held, when: string): Promise<void> {
  const { probe, maps } = held;
  for (const [name, { get, refusal }] of Object.entries(ways)) {
    t.equal(await get(held), -refusal, `${name} ${when}`);
  }
  for (const [name, map] of Object.entries(maps)) {
    // Not promised: a page that the process copied.
    const own = map === maps['private, one page stored to'] ? 1 : 0;
    t.equal((await probe.call('mincore', { map })).n, own, `the mapping (${name}) has ${own} pages ${when}`);
  }
}

/** A program whose text is a file of the scope, asleep. */
async function startProgram(rig: Rig) {
  const path = rig.path('a/program');
  writeFileSync(path, readFileSync('/bin/sleep'), { mode: 0o755 });
  const child = spawn(path, ['1']);
  const ended = new Promise<string | number | null>((resolve) =>
    child.on('close', (status, signal) => resolve(signal ?? status)),
  );
  const text = (): string => readlinkSync(`/proc/${child.pid}/exe`);
  while (text() !== path || !/nanosleep/.test(readFileSync(`/proc/${child.pid}/wchan`, 'utf8')))
    await sleep(5);
  return { ended };
}

inBothModes({
  'no call, mapping or program gets at a file that it held before the lock': async (t, rig) => {
    const held = await hold(rig);
    const { probe, maps, pipe } = held;
    const sink: Buffer[] = [];
    probe.socket.on('data', (part: Buffer) => sink.push(part));
    for (const [name, { get }] of Object.entries(ways))
      t.ok((await get(held)) >= 0, `control: ${name} works`);
    for (const [name, map] of Object.entries(maps)) {
      t.equal((await probe.call('mincore', { map })).n, PAGES, `control: the mapping (${name}) is in memory`);
    }
    t.ok(
      (await probe.call('cachedPages', { fd: held.file })).n >= PAGES,
      'control: cachestat(2) counts pages',
    );
    // Another time, for the pipe to have a page of the file at the lock.
    const inPipe = (await probe.call('take', { fd: pipe.from })).n;
    t.equal(inPipe, 2 * PAGE, 'control: the pipe had what sendfile and splice moved');
    await probe.must('transfer', { how: 'splice', from: held.file, to: pipe.to });
    const program = await startProgram(rig);

    const [receipt] = await within(15_000, 'the lock', rig.lock('/a'));
    t.same(receipt?.errors, []);
    // Only now: a read that is refused leaves pages without content, which this call counts too.
    for (const fd of [held.file, held.dirtyFile]) {
      t.equal((await probe.call('cachedPages', { fd })).n, 0, 'cachestat(2) counts no page');
    }
    await expectDead(t, held, 'while locked');
    t.equal(Buffer.concat(sink).length, PAGE, 'the socket got nothing more');
    t.match(
      await probe.call('take', { fd: pipe.from }),
      { n: PAGE, text: 'a'.repeat(256) },
      'not promised: what was spliced before is in the pipe',
    );
    t.equal((await probe.call('take', { fd: pipe.from })).n, -errno.EAGAIN, 'and nothing else');
    const copied = { map: maps['private, one page stored to'] };
    t.equal((await probe.call('look', copied)).byte, STORED, 'the copy has what was stored');
    t.equal(
      await within(5_000, 'the program', program.ended),
      'SIGBUS',
      'a program of the scope ends at its next step',
    );

    await rig.unlock('/a');
    t.ok(readFileSync(rig.path('a/sub/file')).equals(Buffer.alloc(LENGTH, FILL)), 'others read it again');
    const stored = Buffer.alloc(LENGTH, FILL);
    for (let at = 0; at < LENGTH; at += PAGE) stored[at] = STORED;
    t.ok(readFileSync(rig.path('a/sub/dirty')).equals(stored), 'what was stored into the mapping is there');
    await expectDead(t, held, 'after the next unlock');
    t.equal((await probe.call('peek', { map: maps.locked, offset: PAGE })).signal, 'SIGBUS');
  },
});
