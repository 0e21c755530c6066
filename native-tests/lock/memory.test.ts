import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { type Test, test } from 'tap';
import { open } from '../../src/libc/files.js';
import { sys } from '../posix/sys.js';
import { PAGE } from '../support/board.js';
import { scan } from '../support/memory-scan.js';
import { Rig } from '../support/probe.js';

const marker = (): Buffer => randomBytes(32);
const filled = (mark: Buffer, length: number): Buffer => Buffer.alloc(length, mark);

async function rigFor(t: Test): Promise<Rig> {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  rig.createScope('/b');
  return rig;
}

test('after a lock no content of the scope is in the memory of the daemon', async (t) => {
  const rig = await rigFor(t);
  const marks = {
    'written at once, 1 MiB': marker(),
    'a small file, read': marker(),
    'mapped and stored': marker(),
    'appended in small pieces': marker(),
    'of a chunk written in part': marker(),
    'in a file held open': marker(),
    'a value of an extended attribute': marker(),
  };
  const list = Object.values(marks);
  const [big, small, mapped, appended, partial, held, value] = list as [
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
  ];
  mkdirSync(rig.path('a/sub'));
  writeFileSync(rig.path('a/big'), filled(big, 1 << 20));
  writeFileSync(rig.path('a/small'), filled(small, 320));
  writeFileSync(rig.path('a/mapped'), filled(mapped, 16 * PAGE));
  for (let i = 0; i < 40; i++) writeFileSync(rig.path('a/appended'), appended, { flag: 'a' });
  writeFileSync(rig.path('a/sub/partial'), filled(partial, 100_000));
  writeFileSync(rig.path('a/held'), filled(held, 30_000));
  sys.setxattr(rig.path('a/small'), 'user.value', filled(value, 320));
  // Fresh caches: the daemon must decrypt again what is read now.
  await rig.lock('/a');
  await rig.unlock('/a');
  const probe = rig.probe();
  const fd = await probe.must('open', { path: rig.path('a/held'), flags: open.O_RDWR });
  await probe.must('read', { fd, offset: 20_000, length: 100 });
  const mapFd = await probe.must('open', { path: rig.path('a/mapped'), flags: open.O_RDWR });
  const map = await probe.must('map', { fd: mapFd, length: 16 * PAGE, write: true });
  await probe.must('poke', { map, value: mapped[0] as number });
  for (const name of ['big', 'small', 'appended', 'sub/partial']) readFileSync(rig.path('a', name));
  t.equal(sys.getxattrOf(rig.path('a/small'), 'user.value'), 320);
  t.equal(sys.setxattr(rig.path('a/held'), 'user.value', filled(value, 640)), 0);
  const part = openSync(rig.path('a/sub/partial'), 'r+');
  writeSync(part, partial, 0, 32, 50_016);
  writeFileSync(rig.path('a/appended'), appended, { flag: 'a' });

  const before = scan(rig.vault.pid, list);
  t.comment(`while unlocked: ${JSON.stringify(before)} copies`);
  t.ok(before.reduce((a, b) => a + b, 0) > 0, 'positive control: the scan finds content while unlocked');
  const [receipt] = await rig.lock('/a');
  t.same(receipt?.errors, []);
  closeSync(part);
  const after = scan(rig.vault.pid, list);
  Object.keys(marks).forEach((what, i) => {
    t.equal(after[i], 0, `${what}: ${before[i]} copies before, ${after[i]} after`);
  });
});

test('content is not left behind in a chunk cache entry that a file of another scope took over', async (t) => {
  const rig = await rigFor(t);
  const secret = marker();
  const probe = rig.probe();
  // Enough files for every entry of the cache (4 MiB of 16 KiB chunks), each held open with a chunk in it.
  const FILES = 270;
  for (let i = 0; i < FILES; i++) {
    writeFileSync(rig.path('a', `file-${i}`), filled(secret, 12_000));
    writeFileSync(rig.path('b', `file-${i}`), Buffer.alloc(50, 0x62));
  }
  await rig.lock('/a');
  await rig.unlock('/a');
  for (const scope of ['a', 'b']) {
    for (let i = 0; i < FILES; i++) {
      const fd = await probe.must('open', { path: rig.path(scope, `file-${i}`), flags: open.O_RDWR });
      await probe.must('write', { fd, offset: 40, fill: 0x62, length: 8 });
    }
  }
  const [before] = scan(rig.vault.pid, [secret]);
  t.ok((before as number) > 0, `positive control: ${before} copies while unlocked`);
  await rig.lock('/a');
  const [after] = scan(rig.vault.pid, [secret]);
  t.equal(after, 0, `copies after the lock of a, while b stays open`);
  await rig.lock('/b');
  t.equal(scan(rig.vault.pid, [secret])[0], 0, 'and after the lock of b');
});

test('a symlink target of a locked scope is not in the memory of the daemon', async (t) => {
  const rig = await rigFor(t);
  const target = Buffer.from(marker().toString('hex'), 'latin1');
  symlinkSync(target.toString(), rig.path('a/link'));
  readlinkSync(rig.path('a/link'));
  await rig.lock('/a');
  const [after] = scan(rig.vault.pid, [target]);
  // Names may linger as strings (PRODUCT.md, "Not promised"); a target is one. Reported, not judged.
  t.comment(`copies of a symlink target after the lock: ${after}`);
  t.ok(after !== undefined);
});
