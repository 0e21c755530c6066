import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { SecretInput } from '../../src/libc/memory.js';
import { cliPath, run, scopefs } from '../support/mounted.js';
import { Rig, sleep, within } from '../support/probe.js';

/** Leases bound to a connection, and `scopefs exec`, which has one for as long as its command runs. */

async function lockedRig(t: Test): Promise<Rig> {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  writeFileSync(rig.path('a/file'), 'content');
  await rig.lock('/a');
  return rig;
}
async function becomes(rig: Rig, state: string): Promise<boolean> {
  for (let i = 0; i < 200; i++) {
    if ((await rig.state('/a')) === state) return true;
    await sleep(20);
  }
  return false;
}
function secretOf(rig: Rig): SecretInput {
  const input = new SecretInput();
  input.append(readFileSync(rig.key('/a')));
  return input;
}
const execArgs = (rig: Rig, ...command: string[]): string[] => [
  'exec',
  '/a',
  '--with',
  `file:${rig.key('/a')}`,
  '--host',
  `unix://${rig.vault.socket}`,
  '--',
  ...command,
];

test('a held lease: open while its connection is, locked when its caller dies', async (t) => {
  const rig = await lockedRig(t);
  const input = secretOf(rig);
  const held = await rig.client.holdLease('/a', { purpose: 'request' }, input);
  t.same(held.lease.bound_to, ['connection']);
  t.equal(readFileSync(rig.path('a/file'), 'utf8'), 'content');
  // Two at once: the scope is open until the second goes.
  const other = await rig.client.holdLease('/a', {}, input);
  held.release();
  await sleep(200);
  t.equal(await rig.state('/a'), 'unlocked', 'one is left');
  t.equal((await rig.client.leases()).filter(({ path }) => path === '/a').length, 1);
  other.release();
  t.ok(await becomes(rig, 'locked'), 'the last one locks');
  t.throws(() => readFileSync(rig.path('a/file')));
  // Ended by somebody else: whoever holds it is told.
  const third = await rig.client.holdLease('/a', {}, input);
  const [receipt] = await rig.lock('/a');
  t.same(await third.ended, { ended: third.lease.id, reason: 'lock', receipt }, 'why, and with what receipt');
  const ttl = await rig.client.holdLease('/a', { ttl: '1s' }, input);
  t.match(await ttl.ended, {
    ended: ttl.lease.id,
    reason: 'ttl',
    receipt: { path: '/a', reason: 'lease ended' },
  });
  const [shorter, longer] = [
    await rig.client.holdLease('/a', { ttl: '1s' }, input),
    await rig.client.holdLease('/a', {}, input),
  ];
  t.same(await shorter.ended, { ended: shorter.lease.id, reason: 'ttl', receipt: null }, 'open for others');
  await rig.client.endLease(longer.lease.id);
  t.match(await longer.ended, { reason: 'revoked', receipt: { path: '/a' } });
  const spent = await rig.client.holdLease('/a', { budget: 'files:1,over:lock' }, input);
  for (const name of ['a/file', 'a/file', 'a/file']) {
    try {
      readFileSync(rig.path(name));
    } catch {
      // Locked in between.
    }
  }
  t.match(await spent.ended, { reason: 'budget', receipt: { path: '/a' } });
  const idle = await rig.client.holdLease('/a', { idle: '1s' }, input);
  t.match(await idle.ended, { reason: 'idle', receipt: { path: '/a' } });
  t.ok(await becomes(rig, 'locked'), 'its TTL ends it too');
  input.wipe();
  const wrong = new SecretInput();
  wrong.append(Buffer.alloc(32, 7));
  await t.rejects(rig.client.holdLease('/a', {}, wrong), { code: 'bad_key' });
  wrong.wipe();
});

/** Sends a request and is gone before its answer: `path`, and a file with the body. */
const HASTY = `
use IO::Socket::UNIX; my ($socket, $path, $file) = @ARGV;
my $s = IO::Socket::UNIX->new(Peer => $socket) or die; local $/; open F, "<", $file or die; my $body = <F>;
print $s "POST $path HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/octet-stream\\r\\ncontent-length: " . length($body) . "\\r\\n\\r\\n" . $body;
$s->flush; select(undef, undef, undef, 0.2);`;

test('a caller who is gone before his answer leaves no lease that nobody knows', async (t) => {
  const rig = await lockedRig(t);
  await rig.unlock('/a');
  const word = new SecretInput();
  word.append(Buffer.from('correct horse'));
  await rig.client.addSlot('/a', { slot: 'passphrase' }, word);
  await rig.lock('/a');
  const file = join(rig.vault.directory, 'word');
  writeFileSync(file, 'correct horse');
  const hasty = run('perl', ['-e', HASTY, rig.vault.socket, '/v1/leases?scope=%2Fa', file]);
  t.equal(hasty.status, 0, hasty.stderr);
  // A passphrase takes longer than he waits: unlocked for nobody, and locked at once.
  const ended = async (path: string): Promise<boolean> => {
    for (let i = 0; i < 100; i++) {
      const { entries } = { entries: await rig.client.call('audit', { limit: '20' }) };
      const mine = entries.filter((entry) => entry.path === path && entry.event === 'lock');
      if (mine.some(({ detail }) => detail === 'connection closed')) return true;
      await sleep(50);
    }
    return false;
  };
  t.ok(await ended('/a'), 'its lease ended with the connection');
  t.equal(await rig.state('/a'), 'locked');
  // A scope that is made names its lease, and takes what a lease takes.
  const made = await rig.client.createScope(
    'b',
    { slot: 'passphrase', ttl: '1h', visible_to: 'tree:self', purpose: 'p' },
    word,
  );
  const lease = await rig.client.call('lease', { lease: made.lease });
  t.match(lease, { path: '/b', purpose: 'p', visible_to: `tree:${process.pid}`, bound_to: ['process'] });
  t.ok((lease.expires_seconds as number) <= 3600);
  writeFileSync(rig.path('b/file'), 'x');
  const other = run('setpriv', ['--', 'cat', rig.path('b/file')]);
  t.equal(other.stdout, 'x', 'what we start is of our tree');
  await rig.client.endLease(made.lease);
  t.equal(await rig.state('/b'), 'locked');
  word.wipe();
});

test('a caller that dies at any moment of its request leaves no lease', async (t) => {
  const rig = await lockedRig(t);
  const body = readFileSync(rig.key('/a'));
  const ROUNDS = 30;
  let began = 0;
  // As long as one takes here, twice over.
  const started = performance.now();
  const input = secretOf(rig);
  (await rig.client.holdLease('/a', {}, input)).release();
  input.wipe();
  const span = 2 * (performance.now() - started) + 20;
  for (let round = 0; round < ROUNDS; round++) {
    const outgoing = request(
      {
        socketPath: rig.vault.socket,
        agent: false,
        method: 'POST',
        path: '/v1/leases?scope=%2Fa&hold=1',
        headers: { 'content-type': 'application/octet-stream', 'content-length': body.length },
      },
      () => {
        began++;
      },
    );
    outgoing.on('error', () => {});
    outgoing.end(body);
    await sleep((span * round) / ROUNDS);
    outgoing.destroy();
  }
  t.comment(`${began} of ${ROUNDS} had begun`);
  t.ok(began > 0 && began < ROUNDS, 'some before, some after the lease began');
  t.ok(await becomes(rig, 'locked'));
  t.same(
    (await rig.client.leases()).filter(({ path }) => path === '/a'),
    [],
  );
});

test('a caller that pipelines requests behind a held lease and dies leaves no lease', async (t) => {
  const rig = await lockedRig(t);
  const body = readFileSync(rig.key('/a'));
  const socket = connect(rig.vault.socket);
  const head = `POST /v1/leases?scope=%2Fa&hold=1 HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n`;
  socket.write(Buffer.concat([Buffer.from(`${head}content-length: ${body.length}\r\n\r\n`), body]));
  await new Promise((resolve) => socket.once('data', resolve));
  t.equal(await rig.state('/a'), 'unlocked');
  socket.on('error', () => {});
  for (let i = 0; i < 8; i++) socket.write('GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n');
  await sleep(300);
  socket.destroy();
  t.ok(await becomes(rig, 'locked'));
});

test('a held lease that others outlive ends at its time, and its holder is told', async (t) => {
  const rig = await lockedRig(t);
  await rig.unlock('/a', '60s');
  const input = secretOf(rig);
  const held = await rig.client.holdLease('/a', { ttl: '1s' }, input);
  input.wipe();
  await held.ended;
  t.equal((await rig.client.leases()).filter(({ path }) => path === '/a').length, 1);
  const again = secretOf(rig);
  const shortened = await rig.client.holdLease('/a', { ttl: '1h' }, again);
  again.wipe();
  await rig.client.changeLease(shortened.lease.id, { ttl: '1s' });
  await within(5_000, 'the end of a shortened lease', shortened.ended);
  t.equal(await rig.state('/a'), 'unlocked');
});

test('exec: the command reads, its status is ours, and the scope is locked after it', async (t) => {
  const rig = await lockedRig(t);
  const read = scopefs(execArgs(rig, 'cat', rig.path('a/file')));
  t.equal(read.stdout, 'content');
  t.equal(read.status, 0);
  t.ok(await becomes(rig, 'locked'));
  const leases = scopefs(
    execArgs(rig, cliPath, 'lease', 'list', '--json', '--host', `unix://${rig.vault.socket}`),
  );
  t.match(leases.stdout, /"bound_to": \[\s*"connection",\s*"process"\s*\]/);
  t.match(leases.stdout, `"purpose": "exec ${cliPath}"`);
  for (const [command, status] of [
    [['sh', '-c', 'exit 42'], 42],
    [['sh', '-c', 'kill -TERM $$'], 128 + 15],
    [['no-such-command'], 127],
    [[rig.vault.keyFile], 126],
    [['/etc/passwd/x'], 126],
    [[''], 127],
  ] as const) {
    t.equal(scopefs(execArgs(rig, ...command)).status, status, command.join(' '));
  }
  const wrongKey = execArgs(rig, 'true').map((arg) => (arg.startsWith('file:') ? 'file:/bin/true' : arg));
  t.equal(scopefs(wrongKey).status, 125, 'what fails in scopefs is 125');
  t.equal(scopefs(execArgs(rig).slice(0, -1)).status, 125, 'no command');
  const arguments_ = scopefs(execArgs(rig, 'printf', '%s|', 'a b', '--', '--json', '-x'));
  t.equal(arguments_.stdout, 'a b|--|--json|-x|', 'arguments are passed as they are');
  const piped = scopefs(execArgs(rig, 'cat'), { input: 'through standard input' });
  t.equal(piped.stdout, 'through standard input');
  // On a terminal the command keeps it (a prompt of ssh or gpg needs that).
  const onTerminal = execArgs(rig, 'sh', '-c', 'echo hello > /dev/tty').map((arg) => `'${arg}'`);
  const terminal = run('script', ['-qec', `${cliPath} ${onTerminal.join(' ')}`, '/dev/null']);
  t.equal(terminal.status, 0, terminal.stdout);
  t.match(terminal.stdout, 'hello');
  t.ok(await becomes(rig, 'locked'));
});

test('exec: signals reach the command, and whoever is killed leaves nothing open', async (t) => {
  const rig = await lockedRig(t);
  const start = async (...command: string[]) => {
    const child = spawn(cliPath, execArgs(rig, ...command), { stdio: ['ignore', 'pipe', 'ignore'] });
    const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    return { child, ended };
  };
  const trapped = await start('sh', '-c', 'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done');
  t.equal(await rig.state('/a'), 'unlocked');
  trapped.child.kill('SIGTERM');
  t.equal(await trapped.ended, 9, 'SIGTERM was passed on, its status came back');
  t.ok(await becomes(rig, 'locked'));
  // Killed itself: nobody is there to end the lease but the kernel, which closes the socket.
  const killed = await start('sh', '-c', 'echo ready; exec sleep 5');
  t.equal(await rig.state('/a'), 'unlocked');
  killed.child.kill('SIGKILL');
  t.ok(await becomes(rig, 'locked'), 'kill -9 of scopefs exec');
  // Locked meanwhile: the command goes on, without the data.
  const goesOn = await start('sh', '-c', `echo ready; sleep 1; cat ${rig.path('a/file')}; exit 3`);
  await rig.lock('/a');
  t.equal(await goesOn.ended, 3);
});
