import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { type Test, test } from 'tap';
import { alice, as, bob, type Identity, O, outcome, root, S, sys } from '../posix/sys.js';
import { cliPath, run } from '../support/mounted.js';
import { Rig, sleep, within } from '../support/probe.js';

/** Restricted leases: a scope that is open for some callers is for all others as if it were locked. */

const EVERYBODY: [string, Identity][] = [
  ['root', root],
  ['alice', alice],
  ['bob', bob],
];
const PATHS = ['a', 'a/file', 'a/dir/inner', 'a/dir', 'a/link'] as const;

/** A scope that anybody could read, were it open for them; locked. */
async function stage(t: Test): Promise<Rig> {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  chmodSync(rig.vault.directory, 0o755);
  chmodSync(rig.vault.mount, 0o777);
  rig.createScope('/a');
  chmodSync(rig.path('a'), 0o777);
  mkdirSync(rig.path('a/dir'));
  chmodSync(rig.path('a/dir'), 0o777);
  writeFileSync(rig.path('a/file'), 'content');
  chmodSync(rig.path('a/file'), 0o666);
  writeFileSync(rig.path('a/dir/inner'), 'deeper');
  chmodSync(rig.path('a/dir/inner'), 0o666);
  as(root, () => sys.symlink('file', rig.path('a/link')));
  await rig.lock('/a');
  return rig;
}

/** What reading a file brings: its text, or the error's name. */
function text(path: string): string {
  const fd = sys.open(path, O.RDONLY);
  if (fd < 0) return outcome(fd);
  const length = sys.pread(fd, 100, 0);
  const brought = length < 0 ? outcome(length) : sys.bytes(length).toString();
  sys.close(fd);
  return brought;
}
const reads = (rig: Rig, who: Identity): string => as(who, () => text(rig.path('a/file')));

test('uid and gid: who is meant reads, root is not meant', async (t) => {
  const rig = await stage(t);
  await rig.lease('/a', { visible_to: `uid:${alice.uid}` });
  t.equal(reads(rig, alice), 'content');
  t.equal(reads(rig, root), 'ENOKEY');
  t.equal(reads(rig, bob), 'ENOKEY');
  t.equal(reads(rig, alice), 'content', 'and still');
  await rig.lock('/a');
  t.equal(reads(rig, alice), 'ENOKEY', 'locked for all');
  await rig.lease('/a', { visible_to: `gid:${alice.gid}` });
  t.equal(reads(rig, alice), 'content');
  t.equal(reads(rig, bob), 'content', 'a supplementary group');
  t.equal(reads(rig, root), 'ENOKEY');
  await rig.lock('/a');
  await rig.lease('/a', { visible_to: `uid:${bob.uid},uid:0` });
  t.same(
    EVERYBODY.map(([, who]) => reads(rig, who)),
    ['content', 'ENOKEY', 'content'],
  );
  await rig.lock('/a');
  await rig.lease('/a', {});
  t.same(
    EVERYBODY.map(([, who]) => reads(rig, who)),
    ['content', 'content', 'content'],
  );
});

test('a restricted lease is exclusive; the same kind joins, and the last one locks', async (t) => {
  const rig = await stage(t);
  const first = await rig.lease('/a', { visible_to: 'uid:41001,uid:41002' });
  const second = await rig.lease('/a', { visible_to: 'uid:41002,uid:41001', ttl: '60s' });
  t.equal(first.visible_to, second.visible_to);
  for (const other of ['any', 'uid:41001', 'gid:5']) {
    await t.rejects(rig.lease('/a', { visible_to: other }), { code: 'conflict' }, other);
  }
  await t.rejects(rig.lease('/a', {}), { code: 'conflict' });
  await t.rejects(rig.lease('/a', { visible_to: first.visible_to, ro: '1' }), { code: 'conflict' });
  const refused = rig.vault.cli('unlock', '/a', '--with', `file:${rig.key('/a')}`);
  t.equal(refused.status, 8);
  t.match(refused.stderr, /unlocked for uid:41001,uid:41002, to read and write/);
  t.match(rig.vault.cli('lease', 'list').stdout, /uid:41001,uid:41002/);
  t.match(await rig.client.scope('/a'), { leases: 2, visible_to: 'uid:41001,uid:41002' });
  // A descriptor of one generation is dead in the next, whoever that is for.
  const fd = as(alice, () => sys.open(rig.path('a/file'), O.RDONLY));
  t.ok(fd >= 0);
  t.equal(sys.pread(fd, 7, 0), 7, 'passed on by somebody who may, it is honoured');
  await rig.client.endLease(first.id);
  t.equal(reads(rig, bob), 'content');
  await rig.client.endLease(second.id);
  t.equal(await rig.state('/a'), 'locked');
  await rig.lease('/a', { visible_to: 'uid:0' });
  t.equal(reads(rig, root), 'content');
  t.equal(outcome(sys.pread(fd, 7, 0)), 'ENOKEY', 'until the lock');
  t.equal(reads(rig, alice), 'ENOKEY', 'what one has warmed is not served to the other');
  sys.close(fd);
});

/** Every call that takes a path, on the scope's root and below it. A result that is not an error is a leak. */
const ATTEMPTS: Record<string, (rig: Rig, at: string) => number> = {
  stat: (rig, at) => sys.statOf(rig.path(at)),
  access: (rig, at) => sys.access(rig.path(at), 4),
  open: (rig, at) => sys.open(rig.path(at), O.RDONLY),
  'open to write': (rig, at) => sys.open(rig.path(at), O.WRONLY),
  'open and truncate': (rig, at) => sys.open(rig.path(at), O.WRONLY | O.TRUNC),
  'open as directory': (rig, at) => sys.open(rig.path(at), O.RDONLY | O.DIRECTORY),
  tmpfile: (rig, at) => sys.open(rig.path(at), O.RDWR | O.TMPFILE, 0o600),
  create: (rig, at) => sys.open(rig.path(at, 'new'), O.WRONLY | O.CREAT, 0o600),
  mkdir: (rig, at) => sys.mkdir(rig.path(at, 'new')),
  mknod: (rig, at) => sys.mknod(rig.path(at, 'new'), S.FIFO | 0o600),
  symlink: (rig, at) => sys.symlink('x', rig.path(at, 'new')),
  unlink: (rig, at) => sys.unlink(rig.path(at)),
  rmdir: (rig, at) => sys.rmdir(rig.path(at)),
  rename: (rig, at) => sys.rename(rig.path(at), rig.path('stolen')),
  'rename within': (rig, at) => sys.rename(rig.path(at), `${rig.path(at)}-2`),
  exchange: (rig, at) => sys.rename(rig.path(at), rig.path('other'), 2),
  link: (rig, at) => sys.link(rig.path(at), rig.path('stolen')),
  readlink: (rig, at) => sys.readlinkOf(rig.path(at)),
  truncate: (rig, at) => sys.truncate(rig.path(at), 0),
  chmod: (rig, at) => sys.chmod(rig.path(at), 0o700),
  chown: (rig, at) => sys.chown(rig.path(at), 1, 1),
  utimes: (rig, at) => sys.utimes(rig.path(at), [1, 0], [1, 0]),
  chdir: (rig, at) => sys.chdir(rig.path(at)),
  getxattr: (rig, at) => sys.getxattrOf(rig.path(at), 'user.x'),
  setxattr: (rig, at) => sys.setxattr(rig.path(at), 'user.y', 'y'),
  removexattr: (rig, at) => sys.removexattr(rig.path(at), 'user.x'),
  listxattr: (rig, at) => sys.listxattrOf(rig.path(at), 100),
};

test('20,000 attempts of those it is not for bring nothing and disturb nobody', async (t) => {
  const rig = await stage(t);
  as(root, () => sys.mkdir(rig.path('other')));
  await rig.lease('/a', { visible_to: `uid:${alice.uid}` });
  const inner = rig.path('a/dir/inner');
  // Alice stands inside, has a file open, and has all of it warm; a bind mount of her directory is elsewhere.
  as(alice, () => {
    t.equal(sys.setxattr(rig.path('a/file'), 'user.x', 'secret'), 0);
    t.equal(sys.setxattr(rig.path('a/dir'), 'user.x', 'secret'), 0);
  });
  const bind = `${rig.vault.directory}/bind`;
  mkdirSync(bind);
  const fd = as(alice, () => sys.open(inner, O.RDWR));
  t.ok(fd >= 0);
  const cwd = spawn('setpriv', [
    '--reuid',
    String(alice.uid),
    '--regid',
    String(alice.gid),
    '--clear-groups',
    'sh',
    '-c',
    `cd ${rig.path('a/dir')} && echo ready; n=0; while read line; do [ "$(pwd -P)" = ${rig.path('a/dir')} ] && [ "$(cat inner)" = deeper ] && [ "$(cat ${inner})" = deeper ] && n=$((n+1)); done; echo $n`,
  ]);
  const lines: string[] = [];
  cwd.stdout.on('data', (part) => lines.push(String(part)));
  while (lines.length === 0) await sleep(20);
  // Seen from inside her own walk: mount(2) as root, by the descriptor that she has open.
  const mounted = run('mount', ['--bind', `/proc/${cwd.pid}/cwd`, bind]);
  t.teardown(() => spawnSync('umount', ['-l', bind]));
  const names = Object.keys(ATTEMPTS);
  const denied = new Map<string, number>();
  const leaks = new Map<string, number>();
  let attempts = 0;
  let checks = 0;
  for (let round = 0; attempts < 20_000; round++) {
    for (const [who, identity] of [EVERYBODY[0], EVERYBODY[2]] as [string, Identity][]) {
      as(identity, () => {
        for (const at of PATHS) {
          for (const name of names) {
            attempts++;
            const result = (ATTEMPTS[name] as (typeof ATTEMPTS)[string])(rig, at);
            const said = outcome(result);
            if (result >= 0) {
              const key = `${who}: ${name} ${at}`;
              leaks.set(key, (leaks.get(key) ?? 0) + 1);
              if (result > 2) sys.close(result);
              if (name === 'chdir') sys.chdir('/');
            } else denied.set(said, (denied.get(said) ?? 0) + 1);
          }
        }
      });
    }
    if (round % 8 === 0) {
      cwd.stdin.write('go\n');
      checks++;
      as(alice, () => {
        if (text(inner) !== 'deeper' || sys.pread(fd, 6, 0) !== 6) leaks.set(`alice in round ${round}`, 1);
      });
    }
  }
  t.comment(`${attempts} attempts: ${JSON.stringify([...denied])}`);
  t.same([...leaks], [], 'nothing got through');
  // Where the kernel refuses for another reason it has not asked us: by type, by a name that is there, over a boundary.
  const known = ['ENOKEY', 'EBUSY', 'EXDEV', 'EISDIR', 'EPERM', 'EINVAL', 'EEXIST', 'ENOTDIR', 'EACCES'];
  t.same(
    [...denied.keys()].filter((said) => !known.includes(said)),
    [],
  );
  t.ok((denied.get('ENOKEY') ?? 0) > attempts * 0.8, 'nearly all at the door');
  cwd.stdin.end();
  await within(20_000, 'the shell inside', new Promise((resolve) => cwd.once('close', resolve)));
  t.equal(
    lines.join('').trim().split('\n').at(-1),
    String(checks),
    'getcwd and reads inside went on undisturbed',
  );
  if (mounted.status === 0) {
    t.equal(
      as(alice, () => text(`${bind}/inner`)),
      'deeper',
      'the bind mount is there still',
    );
    t.equal(
      as(bob, () => text(`${bind}/inner`)),
      'ENOKEY',
      'and opens nothing to others',
    );
    t.equal(
      as(root, () => text(`${bind}/inner`)),
      'ENOKEY',
    );
  } else t.match(mounted.stderr, /key/i, 'root may not even mount it');
  as(alice, () => {
    t.equal(sys.getxattr(rig.path('a/file'), 'user.x'), 'secret');
    t.same([text(rig.path('a/file')), text(inner)], ['content', 'deeper']);
    t.equal(sys.pread(fd, 6, 0), 6);
  });
  sys.close(fd);
});

test('a process tree: children and orphans see it, others do not, and it ends with its root', async (t) => {
  const rig = await stage(t);
  const path = rig.path('a/file');
  // The root of the tree: runs what it is told.
  const tree = spawn('sh', ['-c', 'echo ready; while read line; do eval "$line"; done']);
  let said = '';
  tree.stdout.on('data', (part) => {
    said += String(part);
  });
  const says = async (line: string, words: RegExp): Promise<string> => {
    said = '';
    tree.stdin.write(`${line}\n`);
    for (let i = 0; i < 250 && !words.test(said); i++) await sleep(20);
    return said.trim();
  };
  while (said === '') await sleep(20);
  const lease = await rig.lease('/a', { visible_to: `tree:${tree.pid}` });
  t.same(lease.bound_to, ['process']);
  t.equal(await says(`cat ${path}; echo`, /\n/), 'content', 'a child');
  t.equal(await says(`sh -c 'sh -c "cat ${path}; echo"; true'`, /\n/), 'content', 'its grandchild');
  t.equal(await says(`read x < ${path}; echo $x`, /\n/), 'content', 'itself');
  t.equal(reads(rig, root), 'ENOKEY', 'its parent is not of it');
  t.match(
    await says(`setsid sh -c '(sleep 0.3; cat ${path} 2>&1; echo) & '; true`, /\n/),
    /not available|key/i,
    'an orphan left it for init',
  );
  await t.rejects(rig.lease('/a', { visible_to: 'tree:1' }), { code: 'conflict' });
  tree.kill('SIGKILL');
  for (let i = 0; i < 100 && (await rig.state('/a')) !== 'locked'; i++) await sleep(20);
  t.equal(await rig.state('/a'), 'locked', 'it ended with its root');
  await t.rejects(rig.lease('/a', { visible_to: `tree:${tree.pid}` }), { code: 'not_found' });
});

/** Runs a program as the first process of a pid namespace of its own, as a container does. */
const contained = (script: string) => spawn('unshare', ['-fp', '--mount-proc', 'sh', '-c', script]);
const said = (child: ReturnType<typeof contained>): (() => string) => {
  let all = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (part) => {
      all += String(part);
    });
  }
  return () => all;
};

test('numbers of processes count where the caller is: in a pid namespace they are translated, or refused', async (t) => {
  const rig = await stage(t);
  const path = rig.path('a/file');
  const cli = `${cliPath} --host unix://${rig.vault.socket}`;
  const key = `--with file:${rig.key('/a')}`;
  const child = contained(
    `${cli} unlock /a ${key} --visible-to tree:$$ && cat ${path} && echo && ${cli} lock /a -q && ` +
      `${cli} unlock /a ${key} --visible-to tree:self && cat ${path} && echo && read x`,
  );
  const text = said(child);
  for (let i = 0; i < 500 && text().split('content').length < 3 && child.exitCode === null; i++)
    await sleep(20);
  t.equal(text().split('content\n').length, 3, text());
  t.equal(reads(rig, root), 'ENOKEY', 'nobody else is meant, though its number is 1 there');
  const lease = (await rig.client.leases()).find(({ path: of }) => of === '/a');
  const root1 = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
  t.equal(lease?.visible_to, `tree:${root1}`, 'its number here');
  child.stdin.end('\n');
  await new Promise((resolve) => child.once('close', resolve));
  for (let i = 0; i < 100 && (await rig.state('/a')) !== 'locked'; i++) await sleep(20);
  t.equal(await rig.state('/a'), 'locked');
  for (const what of [`--visible-to tree:${process.pid}`, `--pid ${process.pid}`]) {
    const other = contained(`${cli} unlock /a ${key} ${what}; echo "[$?]"`);
    const answer = said(other);
    await new Promise((resolve) => other.once('close', resolve));
    t.match(
      answer(),
      /no process \d+ in the caller.s pid namespace[\s\S]*\[4\]/,
      `${what}: a number of ours is not theirs`,
    );
  }
  const exec = contained(`${cli} exec /a ${key} -- cat ${path}; echo "[$?]"`);
  const executed = said(exec);
  await new Promise((resolve) => exec.once('close', resolve));
  t.equal(executed(), 'content[0]\n', 'exec too');
});

test('tree:self and pid=self are who asks, and never who has his number later', async (t) => {
  const rig = await stage(t);
  const lease = await rig.lease('/a', { visible_to: 'tree:self', pid: 'self' });
  t.equal(lease.visible_to, `tree:${process.pid}`);
  t.same(lease.bound_to, ['process']);
  t.equal(reads(rig, root), 'content');
  await rig.lock('/a');
  // A connection outlives the process that made it.
  const orphan = `
use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die;
if (fork) { exit } select(undef, undef, undef, 0.5);
print $s "POST /v1/leases?scope=%2Fa&visible_to=tree:self HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/octet-stream\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n";
print <$s>;`;
  const made = run('perl', ['-e', orphan, rig.vault.socket]);
  t.match(made.stdout, /404[\s\S]*there is no process self/, made.stderr);
});

test('callers that are not there are refused by name', async (t) => {
  const rig = await stage(t);
  const thread = readdirSync('/proc/self/task')
    .map(Number)
    .find((tid) => tid !== process.pid);
  const refused: [string, { code: string; message: string }][] = [
    [`tree:${thread}`, { code: 'usage', message: `${thread} is a thread of process ${process.pid}` }],
    ['tree:4194301', { code: 'not_found', message: 'there is no process 4194301' }],
    ['unit:nowhere.service', { code: 'not_found', message: 'no unit nowhere.service is running' }],
    ['cgroup:/no/where', { code: 'not_found', message: 'there is no control group /no/where' }],
  ];
  for (const [visible_to, error] of refused)
    await t.rejects(rig.lease('/a', { visible_to }), error, visible_to);
  await t.rejects(rig.lease('/a', { pid: `${thread}` }), { code: 'usage' });
  t.equal(await rig.state('/a'), 'locked');
});

test('exec: the command and its orphans alone, on the same account as others', async (t) => {
  const rig = await stage(t);
  const path = rig.path('a/file');
  const exec = (script: string) =>
    spawn(cliPath, [
      'exec',
      '/a',
      '--with',
      `file:${rig.key('/a')}`,
      '--host',
      `unix://${rig.vault.socket}`,
      '--',
      'sh',
      '-c',
      script,
    ]);
  const child = exec(
    `cat ${path}; echo; setsid sh -c '(sleep 0.2; cat ${path}; echo) &'; read x; cat ${path}`,
  );
  let said = '';
  child.stdout.on('data', (part) => {
    said += String(part);
  });
  for (let i = 0; i < 250 && said !== 'content\ncontent\n'; i++) await sleep(20);
  t.equal(said, 'content\ncontent\n', 'the command, and what it left behind');
  t.equal(reads(rig, root), 'ENOKEY', 'the same user elsewhere');
  t.equal(run('cat', [path]).status, 1);
  child.stdin.end('\n');
  t.equal(await new Promise((resolve) => child.once('close', resolve)), 0);
  t.equal(said, 'content\ncontent\ncontent');
});

test('control groups and units', async (t) => {
  const hierarchy = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((path) =>
    existsSync(`${path}/cgroup.procs`),
  );
  if (hierarchy === undefined) {
    t.fail('no cgroup2 hierarchy: mount one at /sys/fs/cgroup/unified');
    return;
  }
  const rig = await stage(t);
  const own = readFileSync('/proc/self/cgroup', 'utf8').match(/^0::(.*)$/m)?.[1] ?? '/';
  const slice = `${hierarchy}/scopefs-test-${process.pid}.slice`;
  const unit = `scopefs-test-${process.pid}.service`;
  mkdirSync(`${slice}/${unit}/inner`, { recursive: true });
  mkdirSync(`${slice}2`);
  t.teardown(() => {
    for (const path of [`${slice}/${unit}/inner`, `${slice}/${unit}`, slice, `${slice}2`]) rmdirSync(path);
  });
  const within_ = (group: string): string =>
    run('sh', [
      '-c',
      `echo $$ > ${group}/cgroup.procs && cat ${rig.path('a/file')} 2>/dev/null || echo ENOKEY`,
    ]).stdout.trim();
  const path = slice.slice(hierarchy.length);
  for (const visible of [`cgroup:${path}/${unit}`, `unit:${unit}`]) {
    await rig.lease('/a', { visible_to: visible });
    t.equal(within_(`${slice}/${unit}`), 'content', visible);
    t.equal(within_(`${slice}/${unit}/inner`), 'content', `${visible}: below it`);
    t.equal(within_(`${slice}2`), 'ENOKEY', `${visible}: another`);
    t.equal(within_(`${hierarchy}${own}`), 'ENOKEY', `${visible}: ours`);
    await rig.lock('/a');
  }
  // Names that anybody gives who has a control group of their own are no unit's, and a unit's own are no others'.
  mkdirSync(`${slice}/user@1.service/${unit}`, { recursive: true });
  mkdirSync(`${slice}/${unit}/job.scope`);
  t.teardown(() => {
    for (const name of [`user@1.service/${unit}`, 'user@1.service', `${unit}/job.scope`])
      rmdirSync(`${slice}/${name}`);
  });
  await rig.lease('/a', { visible_to: `unit:${unit}` });
  t.equal(within_(`${slice}/user@1.service/${unit}`), 'ENOKEY', 'below a user’s manager');
  t.equal(within_(`${slice}/${unit}/job.scope`), 'content', 'what the unit delegates to itself');
  await rig.lock('/a');
  await rig.lease('/a', { visible_to: `cgroup:${path}` });
  t.equal(within_(`${slice}2`), 'ENOKEY', 'a longer name is not below it');
});

/** Runs a script in a Node process of its own: what it prints. */
function node(script: string): Promise<string> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (part) => {
      said += String(part);
    });
    child.once('close', () => resolve(said.trim()));
  });
}

test('threads of a tree’s root are of it, and more groups than fit in a page admit nobody', async (t) => {
  const rig = await stage(t);
  const path = JSON.stringify(rig.path('a/file'));
  // Files are read on libuv's threads.
  const tree = spawn(
    process.execPath,
    [
      '-e',
      `process.stdin.once('data', () => require('fs').promises.readFile(${path}, 'latin1').then(console.log, (e) => console.log(e.code)))`,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  await rig.lease('/a', { visible_to: `tree:${tree.pid}` });
  const said = new Promise((resolve) => tree.stdout.once('data', (part) => resolve(String(part).trim())));
  tree.stdin.end('go');
  t.equal(await within(10_000, 'the tree', said), 'content');
  await new Promise((resolve) => tree.once('close', resolve));
  for (let i = 0; i < 100 && (await rig.state('/a')) !== 'locked'; i++) await sleep(20);
  await rig.lease('/a', { visible_to: 'gid:1000' });
  for (let padding = 0; padding < 7; padding++) {
    const groups = `Array(${padding}).fill(41003).concat(Array(4000).fill(100000))`;
    const become = `process.setgroups(${groups}); process.setgid(41002); process.setuid(41002);`;
    const read = `try { console.log(require('fs').readFileSync(${path}, 'latin1')) } catch (e) { console.log('refused') }`;
    t.equal(await node(become + read), 'refused', `${padding} of another length before them`);
  }
  t.equal(
    await node(
      `process.setgroups(Array(4000).fill(100000).concat([1000])); process.setgid(41002); process.setuid(41002); console.log(require('fs').readFileSync(${path}, 'latin1'))`,
    ),
    'content',
    'who is in the group, among 4,001',
  );
});

test('by way of somebody inside nothing is opened or changed, and no scope is made there', async (t) => {
  const rig = await stage(t);
  await rig.lease('/a', { visible_to: `uid:${alice.uid}` });
  const inside = spawn('setpriv', [
    `--reuid=${alice.uid}`,
    `--regid=${alice.gid}`,
    '--clear-groups',
    'sh',
    '-c',
    `cd ${rig.path('a')} && cat file dir/inner && echo && exec sleep 60`,
  ]);
  t.teardown(() => inside.kill('SIGKILL'));
  await new Promise((resolve) => inside.stdout.once('data', resolve));
  const at = (name: string): string => `/proc/${inside.pid}/cwd/${name}`;
  for (const [who, identity] of EVERYBODY.filter(([name]) => name !== 'alice')) {
    as(identity, () => {
      // By any user but root and Alice the kernel refuses the way in.
      const refused = (value: number): boolean => ['ENOKEY', 'EACCES'].includes(outcome(value));
      t.ok(refused(sys.open(at('file'), O.RDONLY)), `${who}: open`);
      t.ok(refused(sys.open(at('dir'), O.RDONLY | O.DIRECTORY)), `${who}: list`);
      t.ok(refused(sys.utimes(at('file'), [1, 0], [1, 0])), `${who}: times`);
      t.ok(refused(sys.chmod(at('file'), 0o600)), `${who}: mode`);
      t.ok(refused(sys.unlink(at('file'))), `${who}: unlink`);
      t.ok(refused(sys.truncate(at('file'), 0)), `${who}: truncate`);
      t.ok(refused(sys.setxattr(at('file'), 'user.x', 'x')), `${who}: attribute`);
    });
  }
  const made = rig.vault.cli('create', 'a/mine', '--with', `file:${rig.key('/a')}`);
  t.equal(made.status, 8);
  t.match(made.stderr, /some callers alone/);
  t.equal(
    rig.vault.cli('create', 'a/nowhere/mine', '--with', `file:${rig.key('/a')}`).status,
    8,
    'nor told what is there',
  );
});
