import { readFileSync, writeFileSync } from 'node:fs';
import { errno } from '../../src/base/errno.js';
import { open } from '../../src/libc/files.js';
import { PAGE } from '../support/board.js';
import { inBothModes } from '../support/modes.js';
import { sleep, within } from '../support/probe.js';

const MIB = 1 << 20;
const WRITERS = 8;
/** More than any of them gets to write before the lock. */
const BLOCKS = 1_000;
/** How many blocks each has written when the lock is asked for. */
const BEFORE = 3;

inBothModes({
  'of 8 writers at once each is stopped by the lock, and what they were told is written is there': async (
    t,
    rig,
  ) => {
    const board = rig.board();
    const writers = await Promise.all(
      Array.from({ length: WRITERS }, async (_, i) => {
        const path = rig.path('a', `stream-${i}`);
        writeFileSync(path, Buffer.alloc(PAGE, 0xff));
        const probe = rig.probe();
        const fd = await probe.must('open', { path, flags: open.O_RDWR });
        const map = await probe.must('map', { fd, length: PAGE });
        await probe.must('peek', { map });
        return { path, probe, fd, map, word: i + 1 };
      }),
    );
    const blocks = (word: number): number => board.words[word] as number;
    const streams = writers.map(({ probe, fd, word }) =>
      probe.call('stream', { fd, blocks: BLOCKS, board: board.path, word }),
    );
    while (writers.some(({ word }) => blocks(word) < BEFORE)) await sleep(2);
    const before = writers.map(({ word }) => blocks(word));
    const [receipt] = await within(20_000, 'the lock', rig.lock('/a'));
    t.same(receipt?.errors, []);
    t.same(await rig.leftStuck(), [], 'no task is in uninterruptible sleep');
    for (const [i, stream] of streams.entries()) {
      const { n } = await within(10_000, 'the writer', stream);
      t.equal(n, -errno.ENOKEY, `writer ${i} was stopped by ENOKEY`);
    }
    const refused = async (when: string): Promise<void> => {
      for (const [i, { probe, fd, map }] of writers.entries()) {
        t.equal((await probe.call('mincore', { map })).n, 0, `writer ${i} has no page ${when}`);
        if (when === 'while locked')
          t.equal((await probe.call('cachedPages', { fd })).n, 0, 'nor the kernel');
        t.equal((await probe.call('read', { fd })).n, -errno.ENOKEY, `writer ${i} reads nothing ${when}`);
      }
    };
    await refused('while locked');
    await rig.unlock('/a');
    await refused('after the next unlock');
    const told = writers.map(({ word }) => blocks(word));
    t.ok(
      told.every((count, i) => count >= (before[i] as number) && count < BLOCKS),
      `control: they wrote ${told.join(', ')} MiB`,
    );
    for (const [i, { path }] of writers.entries()) {
      const kept = readFileSync(path);
      const count = told[i] as number;
      t.ok(kept.length >= count * MIB, `writer ${i}: ${kept.length} bytes for ${count} MiB`);
      let wrong = 0;
      for (let block = 0; block < count; block++) {
        const expected = Buffer.alloc(MIB, block + 1);
        if (!kept.subarray(block * MIB, (block + 1) * MIB).equals(expected)) wrong++;
      }
      t.equal(wrong, 0, `writer ${i}: blocks that are not what was written`);
    }
  },

  'a 64 MiB write(2) under way when the lock begins ends, and what it reported is there': async (t, rig) => {
    const length = 64 * MIB;
    // Each page of the source comes through the mount: this takes a while.
    rig.createScope('/source');
    writeFileSync(rig.path('source/file'), Buffer.alloc(length, 0x73));
    await rig.lock('/source');
    await rig.unlock('/source');
    const board = rig.board();
    const probe = rig.probe();
    const path = rig.path('a/target');
    const fd = await probe.must('open', { path, flags: open.O_CREAT | open.O_RDWR });
    const source = await probe.must('open', { path: rig.path('source/file') });
    const map = await probe.must('map', { fd: source, length });
    const writing = probe.call('writeMap', { fd, map, length, board: board.path, word: 1 });
    while (board.words[1] === 0) await sleep(1);
    await sleep(10);
    // For certain in its middle: its source's pages come no more.
    rig.stop();
    t.equal(board.words[1], 1, 'control: it is under way');
    const locking = rig.lock('/a');
    // The request has to be in the socket.
    await sleep(20);
    rig.resume();
    const [receipt] = await within(15_000, 'the lock', locking);
    t.same(receipt?.errors, []);
    const { n } = await within(10_000, 'the write', writing);
    t.ok(n > 0 || n === -errno.ENOKEY, `write(2) returned ${n}`);
    t.equal((await probe.call('cachedPages', { fd })).n, 0, 'no page of the file is cached');
    t.equal((await probe.call('read', { fd })).n, -errno.ENOKEY);
    await rig.unlock('/a');
    t.equal((await probe.call('read', { fd })).n, -errno.ENOKEY);
    const kept = readFileSync(path);
    t.ok(kept.length >= n, `${kept.length} bytes are there`);
    t.ok(kept.equals(Buffer.alloc(kept.length, 0x73)), 'and they are right');
  },
});
