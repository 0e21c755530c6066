import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { errno } from '../../src/base/errno.js';
import { run } from '../support/mounted.js';
import { exitStatus, Rig } from '../support/probe.js';

/** As many descriptors as the daemon may have: files use up their part of them, and never the rest. */
const LIMIT = 1_200;
const MANY = 1_500;

test('open files keep nobody from locking: callers of the socket and other scopes still have descriptors', async (t) => {
  const rig = new Rig({ limit: LIMIT });
  t.teardown(() => rig.remove());
  t.match(
    run('prlimit', ['--pid', String(rig.vault.pid), '--nofile', '--output=HARD', '--noheadings']).stdout,
    LIMIT,
  );
  rig.createScope('/a');
  rig.createScope('/b');
  writeFileSync(rig.path('b/file'), 'of the other scope');
  for (let i = 0; i < MANY; i++) writeFileSync(rig.path(`a/${i}`), String(i));
  const probe = rig.probe();
  const opened: number[] = [];
  let refused = 0;
  for (let i = 0; i < MANY && refused === 0; i++) {
    const { n } = await probe.call('open', { path: rig.path(`a/${i}`) });
    if (n < 0) refused = -n;
    else opened.push(n);
    // Reading opens the backing file, if the open has not.
    if (n >= 0 && (await probe.call('read', { fd: n, length: 10 })).n < 0) break;
  }
  t.equal(refused, errno.EMFILE, `after ${opened.length} files`);
  t.ok(opened.length > LIMIT / 2, `${opened.length} files`);
  t.equal(await rig.state('/a'), 'unlocked', 'the control socket answers');
  t.throws(() => writeFileSync(rig.path('a/new'), 'x'), { code: 'EMFILE' });
  t.throws(() => readFileSync(rig.path('a/new')), { code: 'ENOENT' }, 'what could not be made is not there');
  const [receipt] = await rig.lock('/a');
  t.match(receipt, { path: '/a', errors: [] });
  t.ok((receipt?.handles_cut ?? 0) >= opened.length);
  t.equal((await probe.call('read', { fd: opened[0] as number })).n, -errno.ENOKEY);
  t.equal(readFileSync(rig.path('b/file'), 'utf8'), 'of the other scope');
  await rig.unlock('/a');
  t.equal(readFileSync(rig.path('a/7'), 'utf8'), '7');
  const second = rig.probe();
  for (let i = 0; i < opened.length / 2; i++) {
    const { n } = await second.call('open', { path: rig.path(`a/${i}`) });
    if (n < 0) t.fail(`what the first holds dead takes descriptors: ${n} at ${i}`);
    else if ((await second.call('read', { fd: n, length: 10 })).text !== String(i)) t.fail(`file ${i}`);
  }
  t.equal(await exitStatus(rig.client.lockAll({})), 0);
});
