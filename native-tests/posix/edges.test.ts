import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { errnoName } from '../../src/base/errno.js';
import { libcFunction, result } from '../../src/libc/ffi.js';
import { pinned } from '../../src/libc/memory.js';
import { Rig, sleep } from '../support/probe.js';
import { Random } from '../support/seeded.js';
import { manyNames } from './many-names.js';
import { get, sys } from './sys.js';

/** What is about one mount, without ext4 beside it: callers that die, file handles, many names. */

const WORK = `
my $i = 0; my $d = $ARGV[0];
while (1) { $i++; open(my $f, ">", "$d/$$.$i") or next; syswrite($f, "z" x 200000); rename("$d/$$.$i", "$d/$$");
  open(my $g, "<", "$d/$$"); sysread($g, my $got, 200000); opendir(my $h, $d); my @n = readdir($h); unlink("$d/$$"); }
`;

test('callers that are killed in the middle leave no handle, no hang and no stuck process', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  const random = new Random(4);
  const KILLED = 36;
  for (let round = 0; round < KILLED / 6; round++) {
    const some = Array.from({ length: 6 }, () => spawn('perl', ['-e', WORK, rig.path('a')]));
    const gone = some.map((child) => new Promise((resolve) => child.on('close', resolve)));
    for (const child of some) {
      await sleep(10 + random.below(50));
      child.kill('SIGKILL');
    }
    await Promise.all(gone);
  }
  t.same(rig.stuck(), []);
  writeFileSync(rig.path('a/f'), 'still here');
  t.equal(readFileSync(rig.path('a/f'), 'utf8'), 'still here');
  // Releases follow the death of their processes by a moment.
  let handles = -1;
  for (let i = 0; i < 100 && handles !== 0; i++) {
    handles = (await rig.client.scope('/a')).open_handles;
    await sleep(20);
  }
  t.equal(handles, 0, 'no handle is left');
  const [receipt] = await rig.lock('/a');
  t.same(receipt?.errors, []);
});

const toHandle = libcFunction('name_to_handle_at', 'i', 'ipppi');
const byHandle = libcFunction('open_by_handle_at', 'i', 'ipi');
const handle = pinned(160);
const mountId = pinned(8);
const pathBytes = pinned(4096);

test('a file handle opens while its file is known, and never after a lock', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  writeFileSync(rig.path('a/f'), 'content');
  pathBytes.bytes[pathBytes.bytes.write(rig.path('a/f'), 0, 'latin1')] = 0;
  handle.bytes.writeUInt32LE(128, 0);
  t.equal(result(toHandle(-100, pathBytes.address, handle.address, mountId.address, 0)), 0);
  const base = openSync(rig.vault.mount, 'r');
  const opened = (): string => {
    const fd = result(byHandle(base, handle.address, 0));
    if (fd < 0) return errnoName(-fd);
    const length = sys.read(fd, 100);
    sys.close(fd);
    return length < 0 ? errnoName(-length) : sys.bytes(length).toString();
  };
  t.equal(opened(), 'content');
  await rig.lock('/a');
  t.match(opened(), /^(ENOKEY|ESTALE)$/, 'locked');
  await rig.unlock('/a');
  t.equal(get(rig.path('a/f')), 'content');
  t.match(opened(), /^(ENOKEY|ESTALE)$/, 'another generation');
  closeSync(base);
});

test('20,000 names in a directory: each is listed once, found, and goes', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  manyNames(t, rig.path('many'), 20_000);
});
