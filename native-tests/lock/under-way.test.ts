import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { errno } from '../../src/base/errno.js';
import { open } from '../../src/libc/files.js';
import { O } from '../posix/sys.js';
import { PAGE } from '../support/board.js';
import { inBothModes } from '../support/modes.js';
import { type Probe, SOCKET, sleep, within } from '../support/probe.js';
import { cold, FILL, lockDuring } from './under-way.js';

const MIB = 1 << 20;
const BLOCKS = 32;
const BLOCK = 256 << 10;
const STORED = 0x62;

interface Ended {
  results: [number, number][];
  filled: number[];
}
/** What ended by the time the lock returned, and later: nobody may succeed later, or see bytes where it failed. */
async function expectNoneLater(t: Test, reap: (all: boolean) => Promise<Ended>): Promise<[number, number][]> {
  const first = await reap(false);
  const rest = await within(10_000, 'the rest', reap(true));
  const all = [...first.results, ...rest.results];
  t.equal(all.length, BLOCKS, 'each has a result');
  t.same(
    rest.results.filter(([, result]) => result >= 0),
    [],
    `none of the ${rest.results.length} that ended after the lock succeeded`,
  );
  t.same(
    all.filter(([, result]) => result <= 0 && result !== -errno.ENOKEY),
    [],
    'bytes, or ENOKEY',
  );
  // A buffered read is short where the lock came between its pages.
  const worked = all.filter(([, result]) => result > 0).length;
  t.comment(`${worked} of ${BLOCKS} worked, ${first.results.length} had ended at the lock's return`);
  return all;
}
function expectEmptyWhereRefused(t: Test, all: [number, number][], filled: number[]): void {
  const refused = all.filter(([, result]) => result < 0).map(([block]) => block);
  t.same(
    refused.filter((block) => filled.includes(block)),
    [],
    'no plaintext in the memory of a read that failed',
  );
}

inBothModes({
  'O_DIRECT reads of io_submit(2) under way end before the lock or with ENOKEY': async (t, rig) => {
    const { probe, fd } = await cold(rig, 'aio-read', BLOCKS * BLOCK, O.RDONLY | O.DIRECT);
    const order = { fd, blocks: BLOCKS, blockBytes: BLOCK };
    const control = await probe.must('aio', order);
    const worked = await probe.call('aioReap', { aio: control, all: true });
    t.ok(
      worked.results.every(([, result]) => result === BLOCK) && worked.filled.length === BLOCKS,
      'control: it reads',
    );
    let aio = -1;
    await lockDuring(t, rig, BLOCKS, async () => {
      aio = await probe.must('aio', order);
    });
    const filled: number[] = [];
    const all = await expectNoneLater(t, async (rest) => {
      const ended = await probe.call('aioReap', { aio, all: rest });
      filled.push(...ended.filled);
      return ended;
    });
    expectEmptyWhereRefused(t, all, filled);
    await rig.unlock('/a');
    const again = await probe.call('aio', { ...order, blocks: 1 });
    const { results } = await probe.call('aioReap', { aio: again.n, all: true });
    t.same(results, [[0, -errno.ENOKEY]], 'the descriptor stays dead after the next unlock');
  },

  'O_DIRECT writes of io_submit(2) under way that succeed are there after the next unlock': async (
    t,
    rig,
  ) => {
    const { probe, fd } = await cold(rig, 'aio-write', BLOCKS * BLOCK, O.RDWR | O.DIRECT);
    const order = { fd, blocks: BLOCKS, blockBytes: BLOCK };
    const control = await probe.must('aio', { ...order, fill: FILL });
    const worked = await probe.call('aioReap', { aio: control, all: true });
    t.ok(
      worked.results.every(([, result]) => result === BLOCK),
      'control: it writes',
    );
    let aio = -1;
    await lockDuring(t, rig, BLOCKS, async () => {
      aio = await probe.must('aio', { ...order, fill: STORED });
    });
    const all = await expectNoneLater(t, (rest) => probe.call('aioReap', { aio, all: rest }));
    await rig.unlock('/a');
    const kept = readFileSync(rig.path('a/aio-write/file'));
    t.equal(kept.length, BLOCKS * BLOCK);
    const lost = all.filter(([block, result]) => {
      const length = Math.max(result, 0);
      const bytes = kept.subarray(block * BLOCK, block * BLOCK + length);
      return !bytes.equals(Buffer.alloc(length, STORED));
    });
    t.same(lost, [], 'what was acknowledged is there');
    t.ok(
      kept.every((byte) => byte === FILL || byte === STORED),
      'the others have old or new bytes',
    );
  },

  'reads of io_uring by a registered file under way end before the lock or with ENOKEY': async (t, rig) => {
    const { probe, fd } = await cold(rig, 'ring', BLOCKS * BLOCK, open.O_RDONLY);
    const ring = await probe.must('ring', { fd, blocks: BLOCKS, blockBytes: BLOCK });
    await probe.must('ringSubmit', { ring, blocks: 1 });
    t.match(
      await probe.call('ringReap', { ring, all: true }),
      { results: [[0, BLOCK]], filled: [0] },
      'control',
    );
    await lockDuring(t, rig, 1, () => probe.must('ringSubmit', { ring, blocks: BLOCKS }));
    const filled: number[] = [];
    const all = await expectNoneLater(t, async (rest) => {
      const ended = await probe.call('ringReap', { ring, all: rest });
      filled.push(...ended.filled);
      return ended;
    });
    expectEmptyWhereRefused(t, all, filled);
    for (const when of ['while locked', 'after the next unlock']) {
      await probe.must('ringSubmit', { ring, blocks: 1 });
      const { results } = await probe.call('ringReap', { ring, all: true });
      t.same(results, [[0, -errno.ENOKEY]], `a read that is submitted ${when}`);
      if (when === 'while locked') await rig.unlock('/a');
    }
  },

  'readahead under way leaves no page behind': async (t, rig) => {
    const length = 16 * MIB;
    const { probe, fd } = await cold(rig, 'readahead', length, open.O_RDONLY);
    const map = await probe.must('map', { fd, length });
    // The kernel takes no more than 1 MiB at once.
    const ahead = async (from: number): Promise<void> => {
      for (let offset = from; offset < length; offset += MIB) {
        await probe.call('readahead', { fd, offset, length: MIB });
      }
    };
    await probe.must('readahead', { fd, offset: 0, length: MIB });
    while ((await probe.must('mincore', { map })) === 0) await sleep(5);
    t.pass('control: readahead brings pages');
    await lockDuring(t, rig, 8, () => ahead(MIB));
    t.equal((await probe.call('mincore', { map })).n, 0, 'mincore(2) sees no page');
    // It also counts folios that a READ left which was refused: never up to date, so no page that mincore(2) would see.
    const counted = (await probe.call('cachedPages', { fd })).n;
    const seen = (await probe.call('mincore', { map })).n;
    t.ok(counted === 0 || seen === 0, `cachestat(2) counts none that has content (${counted})`);
    for (const when of ['while locked', 'after the next unlock']) {
      await ahead(0);
      t.equal((await probe.call('read', { fd })).n, -errno.ENOKEY, `read(2) ${when}`);
      t.equal((await probe.call('mincore', { map })).n, 0, `readahead brings no page ${when}`);
      if (when === 'while locked') await rig.unlock('/a');
    }
  },

  'an open(2), a read(2) and a page fault under way give nothing that outlives the lock': async (t, rig) => {
    const { probe: reader, fd } = await cold(rig, 'fault', 64 * MIB, open.O_RDONLY);
    const path = rig.path('a/fault/file');
    const [faulter, opener, watcher] = [rig.probe(), rig.probe(), rig.probe()];
    const mapped = async (probe: Probe): Promise<number> => {
      const own = await probe.must('open', { path, flags: open.O_RDONLY });
      return probe.must('map', { fd: own, length: 64 * MIB });
    };
    const [map, watched] = [await mapped(faulter), await mapped(watcher)];
    t.equal((await faulter.call('peek', { map })).n, FILL, 'control: the mapping can be read');
    // Each far from the others and from what is cached.
    const begun = [
      () => reader.call('read', { fd, offset: 20 * MIB }),
      () => faulter.call('peek', { map, offset: 40 * MIB }),
      () => opener.call('open', { path, flags: open.O_RDONLY }),
    ];
    let answers: { n: number; signal?: string }[] = [];
    await lockDuring(t, rig, begun.length, async () => {
      answers = await Promise.all(begun.map((call) => call()));
    });
    const [read, fault, opened] = answers;
    t.ok(read?.n === PAGE || read?.n === -errno.ENOKEY, `read(2) gave ${read?.n}`);
    t.ok(fault?.n === FILL || fault?.signal === 'SIGBUS', `the fault gave ${fault?.signal ?? fault?.n}`);
    t.equal((await watcher.call('mincore', { map: watched })).n, 0, 'no page is left');
    for (const when of ['while locked', 'after the next unlock']) {
      if (opened !== undefined && opened.n >= 0) {
        t.equal(
          (await opener.call('read', { fd: opened.n })).n,
          -errno.ENOKEY,
          `what was opened is dead ${when}`,
        );
      } else {
        t.equal(opened?.n, -errno.ENOKEY, 'open(2) was refused');
      }
      t.equal((await watcher.call('look', { map: watched, offset: 40 * MIB })).n, -errno.EIO, when);
      if (when === 'while locked') await rig.unlock('/a');
    }
  },

  'a sequential reader just begun gets nothing once the lock has returned': async (t, rig) => {
    const blocks = 32;
    const { probe, fd } = await cold(rig, 'sweep', blocks * MIB, open.O_RDONLY);
    const map = await probe.must('map', { fd, length: blocks * MIB });
    const board = rig.board();
    const sweeping = probe.call('sweep', { fd, blocks, board: board.path, word: 1 });
    while (board.words[1] === 0) await sleep(1);
    await within(15_000, 'the lock', rig.lock('/a'));
    board.words[2] = 1;
    const before = board.words[1] as number;
    await sleep(100);
    await rig.unlock('/a');
    await sleep(100);
    board.stop();
    const { n, late, errors } = await within(10_000, 'the reader', sweeping);
    t.ok(before > 0, `control: ${n} reads worked`);
    t.equal(late, 0, 'no read that began after the lock worked, nor after the next unlock');
    t.same(Object.keys(errors), [`-${errno.ENOKEY}`]);
    t.equal((await probe.call('mincore', { map })).n, 0);
  },

  'a sendfile(2) that waits for its socket stops at what it had read': async (t, rig) => {
    const length = 16 * MIB;
    const { probe, fd } = await cold(rig, 'sendfile', length, open.O_RDONLY);
    const sending = probe.call('transfer', { how: 'sendfile', from: fd, to: SOCKET, length });
    // Asleep with a full socket: nobody reads its other end yet.
    const state = (): string | undefined =>
      readFileSync(`/proc/${probe.process.pid}/wchan`, 'utf8').match(/sock_alloc_send|unix_stream/)?.[0];
    while (state() === undefined) await sleep(5);
    await within(15_000, 'the lock', rig.lock('/a'));
    let received = 0;
    let wrong = 0;
    probe.socket.on('data', (part: Buffer) => {
      received += part.length;
      if (part.some((byte) => byte !== FILL)) wrong++;
    });
    const { n } = await within(10_000, 'sendfile', sending);
    t.ok(n > 0 && n < MIB, `not promised: ${n} bytes were under way, of ${length}`);
    while (received < n) await sleep(5);
    t.equal(wrong, 0);
    for (const when of ['while locked', 'after the next unlock']) {
      const again = await probe.call('transfer', { how: 'sendfile', from: fd, to: SOCKET, length });
      t.equal(again.n, -errno.ENOKEY, `sendfile(2) ${when}`);
      if (when === 'while locked') await rig.unlock('/a');
    }
    t.equal(received, n, 'nothing came after it');
  },
});
