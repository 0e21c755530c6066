import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { open } from '../../src/libc/files.js';
import { PAGE } from '../support/board.js';
import { Rig, within } from '../support/probe.js';

test('scope B reads right bytes without an error while A is locked and unlocked 20 times under load', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  rig.createScope('/b');
  const length = 256 * PAGE;
  writeFileSync(rig.path('a/file'), Buffer.alloc(length, 0x61));
  writeFileSync(rig.path('b/file'), Buffer.alloc(length, 0x62));
  writeFileSync(rig.path('b/small'), Buffer.alloc(1000, 0x63));
  writeFileSync(rig.path('root'), Buffer.alloc(5000, 0x72));
  const board = rig.board();
  const loop = (path: string, fill: number, size: number, word: number, reopen: boolean) =>
    rig
      .probe()
      .call('readLoop', { path: rig.path(path), length: size, fill, board: board.path, word, reopen });
  const loops = {
    'b/file': loop('b/file', 0x62, length, 1, true),
    'b/small': loop('b/small', 0x63, 1000, 2, false),
    root: loop('root', 0x72, 5000, 3, true),
    'a/file': loop('a/file', 0x61, length, 4, true),
  };
  const holder = rig.probe();
  const fd = await holder.must('open', { path: rig.path('b/file'), flags: open.O_RDWR });
  const map = await holder.must('map', { fd, length, write: true });
  const started = Date.now();
  for (let cycle = 0; cycle < 20; cycle++) {
    await holder.must('poke', { map, value: 0x62 });
    const [receipt] = await within(12_000, 'the lock', rig.lock('/a'));
    t.same(receipt?.errors, [], `cycle ${cycle}`);
    await rig.unlock('/a');
  }
  t.comment(`20 cycles took ${Date.now() - started} ms`);
  board.stop();
  for (const [path, done] of Object.entries(loops)) {
    const { n, wrong, errors, signal } = await within(10_000, path, done);
    t.equal(signal, undefined, path);
    t.equal(wrong, 0, `${path}: ${n} reads, none wrong`);
    if (path === 'a/file') {
      t.same(
        Object.keys(errors).filter((code) => code !== '-126'),
        [],
        'the scope that is locked gives ENOKEY and nothing else',
      );
    } else {
      t.same(errors, {}, `${path}: no error`);
    }
  }
  t.equal((await holder.call('read', { fd })).n, 4096, 'an open descriptor of B still works');
  t.equal((await holder.call('mincore', { map })).n, 256, 'its pages were not dropped');
  t.ok(readFileSync(rig.path('a/file')).equals(Buffer.alloc(length, 0x61)));
});
