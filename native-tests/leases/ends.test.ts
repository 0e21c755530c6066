import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import { SecretInput } from '../../src/libc/memory.js';
import { O, outcome, sys } from '../posix/sys.js';
import { monotonic } from '../support/board.js';
import { freezeThread } from '../support/freeze.js';
import { run } from '../support/mounted.js';
import { Rig, sleep } from '../support/probe.js';

/** Whatever a lease ends with, its scope is locked then; and what a lease allows is all that is served. */

const MIB = 1 << 20;

async function stage(t: Test): Promise<Rig> {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  mkdirSync(rig.path('a/dir'));
  writeFileSync(rig.path('a/file'), Buffer.alloc(MIB, 7));
  for (let i = 0; i < 5; i++) writeFileSync(rig.path(`a/small-${i}`), `small ${i}`);
  await rig.lock('/a');
  return rig;
}
const isOpen = (rig: Rig): boolean => {
  const fd = sys.open(rig.path('a/file'), O.RDONLY);
  if (fd >= 0) sys.close(fd);
  return fd >= 0;
};
/** Seconds until a scope does not open files any more, looked at without using it. */
async function locksWithin(rig: Rig, seconds: number): Promise<number> {
  const started = monotonic();
  while (monotonic() - started < seconds * 1000) {
    if ((await rig.state('/a')) === 'locked') return (monotonic() - started) / 1000;
    await sleep(20);
  }
  return Number.POSITIVE_INFINITY;
}
const auditOf = async (rig: Rig, event: string) =>
  (await rig.client.audit(100)).filter((row) => row.event === event);

test('idle: an open file or an operation keeps it, being looked at from outside does not', async (t) => {
  const rig = await stage(t);
  await rig.lease('/a', { idle: '1s' });
  const fd = openSync(rig.path('a/file'), 'r');
  await sleep(2_000);
  t.equal(await rig.state('/a'), 'unlocked', 'a file is open');
  closeSync(fd);
  for (let i = 0; i < 10; i++) {
    statSync(rig.path(`a/${i}`), { throwIfNoEntry: false });
    await sleep(200);
  }
  t.equal(await rig.state('/a'), 'unlocked', 'something is asked of it');
  const watch = setInterval(() => statSync(rig.path('a')), 50);
  const took = await locksWithin(rig, 10);
  clearInterval(watch);
  t.ok(took < 10, `locked after ${took} s, though its root was looked at all the time`);
  t.match(await auditOf(rig, 'lock'), [{ detail: 'asked' }, { detail: 'idle' }]);
  // Whom it is not for does not keep it open either.
  await rig.lease('/a', { idle: '1s', visible_to: 'uid:41001' });
  const knock = setInterval(() => {
    sys.open(rig.path('a/file'), O.RDONLY);
    sys.statOf(rig.path('a'));
  }, 20);
  const knocked = await locksWithin(rig, 10);
  clearInterval(knock);
  t.ok(knocked < 10, `locked after ${knocked} s in spite of others at the door`);
});

test('a process, a moment, a longest life', async (t) => {
  const rig = await stage(t);
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const bound = await rig.lease('/a', { pid: String(child.pid) });
  t.same(bound.bound_to, ['process']);
  await sleep(300);
  t.ok(isOpen(rig));
  child.kill('SIGKILL');
  t.ok((await locksWithin(rig, 5)) < 5, 'its process was killed');
  t.match(await auditOf(rig, 'lock'), [{ detail: 'asked' }, { detail: 'process ended' }]);
  await t.rejects(rig.lease('/a', { pid: String(child.pid) }), { code: 'not_found' });
  t.equal(await rig.state('/a'), 'locked', 'of a process that is gone there is no lease');
  const gone = spawn('true', { stdio: 'ignore' });
  await new Promise((resolve) => gone.once('exit', resolve));
  t.equal(
    rig.vault.cli('unlock', '/a', '--with', `file:${rig.key('/a')}`, '--pid', String(gone.pid)).status,
    4,
  );
  const until = new Date(Date.now() + 2_000).toISOString();
  const moment = await rig.lease('/a', { until });
  t.ok((moment.expires_seconds ?? 99) <= 2);
  t.ok((await locksWithin(rig, 5)) < 5, 'the moment came');
  await t.rejects(rig.lease('/a', { until: '2020-01-01T00:00:00Z' }), { code: 'usage' });
  const short = await rig.lease('/a', { ttl: '1s', max_ttl: '3s' });
  const renewed = await rig.client.changeLease(short.id, { ttl: '1h' });
  t.ok((renewed.expires_seconds ?? 99) <= 3, 'no renewal goes beyond it');
  t.ok((await locksWithin(rig, 6)) < 6);
});

test('with the main thread stopped, leases end all the same', async (t) => {
  const rig = await stage(t);
  const kinds: [string, () => Promise<() => void>][] = [
    [
      'ttl',
      async () => {
        await rig.unlock('/a', '2s');
        return () => {};
      },
    ],
    [
      'idle',
      async () => {
        await rig.lease('/a', { idle: '1s' });
        return () => {};
      },
    ],
    [
      'process',
      async () => {
        const child = spawn('sleep', ['60'], { stdio: 'ignore' });
        await rig.lease('/a', { pid: String(child.pid) });
        return () => void child.kill('SIGKILL');
      },
    ],
    [
      'connection',
      async () => {
        const input = new SecretInput();
        input.append(readFileSync(rig.key('/a')));
        const held = await rig.client.holdLease('/a', {}, input);
        input.wipe();
        return held.release;
      },
    ],
    [
      'budget',
      async () => {
        await rig.lease('/a', { budget: 'files:3' });
        return () => {};
      },
    ],
  ];
  for (const [kind, begin] of kinds) {
    const end = await begin();
    t.ok(isOpen(rig), `${kind}: open`);
    const letGo = freezeThread(rig.vault.pid);
    try {
      end();
      let open = true;
      // Looked at rarely: each look is a use.
      for (let i = 0; i < 3 && open; i++) {
        await sleep(1_800);
        open = isOpen(rig);
      }
      if (kind === 'budget') for (let i = 0; i < 5 && open; i++) open = isOpen(rig);
      t.notOk(open, `${kind}: locked while the main thread stood still`);
    } finally {
      letGo();
    }
    t.ok((await locksWithin(rig, 5)) < 5, `${kind}: and it says so afterwards`);
  }
});

test('read-only: everything reads, nothing changes', async (t) => {
  const rig = await stage(t);
  await rig.unlock('/a');
  sys.symlink('file', rig.path('a/link'));
  for (const name of ['dir', 'file', '']) sys.utimes(rig.path('a', name), [86_400, 0], [86_400, 0]);
  await rig.lock('/a');
  await rig.lease('/a', { ro: '1' });
  const at = (name: string): string => rig.path('a', name);
  const before = statSync(at('file'), { bigint: true });
  t.equal(readFileSync(at('small-1'), 'utf8'), 'small 1');
  t.ok(readdirSync(rig.path('a')).includes('file'));
  t.same(readdirSync(rig.path('a/dir')), []);
  readFileSync(at('file'));
  const listed = statSync(rig.path('a'), { bigint: true });
  const attempts: Record<string, number> = {
    'open to write': sys.open(at('file'), O.WRONLY),
    'open and truncate': sys.open(at('file'), O.RDONLY | O.TRUNC),
    create: sys.open(at('new'), O.WRONLY | O.CREAT, 0o600),
    tmpfile: sys.open(rig.path('a'), O.RDWR | O.TMPFILE, 0o600),
    truncate: sys.truncate(at('file'), 0),
    mkdir: sys.mkdir(at('new')),
    rmdir: sys.rmdir(at('dir')),
    unlink: sys.unlink(at('file')),
    rename: sys.rename(at('file'), at('new')),
    link: sys.link(at('file'), at('new')),
    symlink: sys.symlink('x', at('new')),
    chmod: sys.chmod(at('file'), 0o600),
    chown: sys.chown(at('file'), 1, 1),
    utimes: sys.utimes(at('file'), [1, 0], [1, 0]),
    setxattr: sys.setxattr(at('file'), 'user.x', 'y'),
    removexattr: sys.removexattr(at('file'), 'user.x'),
    'chmod of the root': sys.chmod(rig.path('a'), 0o755),
  };
  for (const [name, result] of Object.entries(attempts)) t.equal(outcome(result), 'EROFS', name);
  const create = rig.vault.cli('create', 'a/inner', '--with', `file:${rig.key('/a')}`);
  t.equal(create.status, 8);
  t.match(create.stderr, /read only/);
  t.match(await rig.client.scope('/a'), { read_only: true });
  await rig.lock('/a');
  await rig.lease('/a', {});
  const after = statSync(at('file'), { bigint: true });
  for (const field of ['mtimeNs', 'ctimeNs', 'atimeNs', 'mode', 'size', 'nlink'] as const) {
    t.equal(after[field], before[field], field);
  }
  for (const name of ['', 'dir', 'file']) {
    t.equal(statSync(at(name)).atimeMs, 86_400_000, `access time of ${name}`);
  }
  t.equal(statSync(rig.path('a'), { bigint: true }).ctimeNs, listed.ctimeNs, 'of the scope’s root too');
  writeFileSync(at('new'), 'now it goes');
});

test('budgets: what is over is refused, or locks; the audit says so', async (t) => {
  const rig = await stage(t);
  const deny = await rig.lease('/a', { budget: 'bytes:256K,files:3,over:deny' });
  t.match(deny.budget, { bytes: 256 << 10, files: 3, per: 'lease', over: 'deny', used_bytes: 0 });
  const fd = openSync(rig.path('a/file'), 'r');
  let got = 0;
  let last = 1;
  while (last > 0) {
    last = sys.pread(fd, 4096, got);
    got += Math.max(0, last);
  }
  t.equal(outcome(last), 'EDQUOT');
  t.ok(got > 0 && got <= 256 << 10, `${got} bytes were served`);
  closeSync(fd);
  const opens = ['a/small-0', 'a/small-1', 'a/small-2'].map((name) => sys.open(rig.path(name), O.RDONLY));
  t.ok((opens[0] as number) >= 0 && (opens[1] as number) >= 0, 'three files with that one');
  t.equal(outcome(opens[2] as number), 'EDQUOT', 'no fourth');
  t.equal(await rig.state('/a'), 'unlocked');
  const [used] = (await rig.client.leases()).filter(({ path }) => path === '/a');
  t.ok((used?.budget?.used_bytes ?? 0) > 0 && used?.budget?.used_files === 3);
  t.match(rig.vault.cli('lease', 'show', deny.id).stdout, /\/a/);
  await rig.lock('/a');

  await rig.lease('/a', { budget: 'bytes:200K,per:hour' });
  const thief = run('cat', [rig.path('a/file')]);
  t.equal(thief.status, 1);
  t.ok(thief.stdout.length <= 200 << 10, `${thief.stdout.length} bytes were served`);
  t.ok((await locksWithin(rig, 5)) < 5, 'the tripwire locked it');
  t.match((await auditOf(rig, 'budget'))[0], { result: 'forbidden', path: '/a', lease: deny.id });
  t.ok((await auditOf(rig, 'budget')).length < 6, 'told once, not for each refusal');
  t.match((await auditOf(rig, 'lock')).at(-1), { detail: 'budget spent' });
  // What is decrypted beside content counts too.
  await rig.unlock('/a');
  sys.setxattr(rig.path('a/file'), 'user.x', 'x'.repeat(3000));
  sys.symlink('y'.repeat(2000), rig.path('a/link'));
  await rig.lock('/a');
  await rig.lease('/a', { budget: 'bytes:1K,over:deny' });
  t.equal(sys.getxattr(rig.path('a/file'), 'user.x'), 'EDQUOT');
  t.equal(sys.readlink(rig.path('a/link')), 'EDQUOT');
  await rig.lock('/a');
  // Two leases: all that is taken out counts for each.
  await rig.lease('/a', { budget: 'files:4' });
  await rig.lease('/a', {});
  for (let i = 0; i < 4; i++) readFileSync(rig.path(`a/small-${i}`));
  t.equal(outcome(sys.open(rig.path('a/small-4'), O.RDONLY)), 'ENOKEY');
  t.ok((await locksWithin(rig, 5)) < 5, 'the other lease does not keep it open');
});
