import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import type { Failure } from '../base/failure.js';
import { adviceOf } from '../control/advice.js';
import type { ReceiptView } from '../control/schemas.js';
import { socketPath } from './host.js';
import { bytes, Output } from './output.js';
import { secretSource } from './secrets/secret-source.js';
import { parseSize } from './verbs/init.js';
import { verbNames } from './verbs.js';

const program = fileURLToPath(new URL('../../../bin/scopefs', import.meta.url));

function cli(args: string[], input = ''): { status: number | null; stdout: string; stderr: string } {
  const env = { ...process.env, SCOPEFS_HOST: 'unix:///nonexistent/socket' };
  const done = spawnSync(program, args, { input, env, encoding: 'utf8' });
  return { status: done.status, stdout: done.stdout, stderr: done.stderr };
}

test('a verb is found by its name, wherever global options stand before it; else all are there', async (t) => {
  const help = cli(['--help']).stdout;
  for (const name of verbNames) {
    t.match(help, new RegExp(`^  ${name} `, 'm'), `${name} stands in the help`);
    const own = cli(['--timeout', 'lock', '--host=unix:///lock', name, '--help']);
    t.match(own.stdout, new RegExp(`^Usage: scopefs ${name} `), `${name}: its own help`);
  }
  for (const [args, said] of [
    [['-h', 'lock'], /^Usage: scopefs \[options\] \[command\]/],
    [['help', 'lock'], /^Usage: scopefs lock /],
    [['lokc'], /Did you mean lock\?/],
    [['--bogus', 'lock'], /unknown option '--bogus'/],
  ] as const) {
    const { stdout, stderr } = cli([...args]);
    t.match(stdout + stderr, said, args.join(' '));
  }
});

const options = { confirm: false, what: 'passphrase', allowPrompt: false };

test('a source says where a secret comes from and what slot it implies', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-source-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'key');
  writeFileSync(path, 'the key\n');
  const fromFile = secretSource(`file:${path}`);
  t.equal(fromFile.impliedSlot, 'keyfile');
  const secret = await fromFile.read(options);
  t.same(Buffer.from(secret.view), Buffer.from('the key\n'), 'taken exactly');
  secret.wipe();
  const fd = openSync(path, 'r');
  const fromDescriptor = await secretSource(`fd:${fd}`).read(options);
  t.equal(fromDescriptor.length, 8);
  t.throws(() => closeSync(fd), /EBADF/, 'the descriptor is closed after use');
  fromDescriptor.wipe();
  t.equal(secretSource('prompt').impliedSlot, 'passphrase');
  t.equal(secretSource('-').impliedSlot, 'passphrase');
  await t.rejects(secretSource('prompt').read(options), { code: 'input_required', exitStatus: 5 });
  await t.rejects(secretSource('file:/nonexistent').read(options), { code: 'input_required' });
  await t.rejects(secretSource('file:/dev/null').read(options), { code: 'input_required', message: /empty/ });
  await t.rejects(secretSource('file:/dev/zero').read(options), { code: 'usage', message: /more than/ });
});

test('a credential of the service, and a Unix socket', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-source-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'root'), 'credential');
  delete process.env.CREDENTIALS_DIRECTORY;
  t.throws(() => secretSource('cred:root'), { code: 'input_required', reason: 'credential_outside_service' });
  process.env.CREDENTIALS_DIRECTORY = directory;
  const credential = await secretSource('cred:root').read(options);
  t.same(Buffer.from(credential.view), Buffer.from('credential'));
  await t.rejects(secretSource('cred:none').read(options), { code: 'input_required', message: /none/ });
  for (const name of ['', '../root', '..', 'a/b']) {
    t.throws(() => secretSource(`cred:${name}`), { code: 'usage' }, JSON.stringify(name));
  }
  const path = join(directory, 'socket');
  let answer: Buffer = Buffer.from('by socket');
  const server = createServer((socket) => {
    // Whoever has had enough hangs up.
    socket.on('error', () => {});
    socket.end(answer);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => server.close());
  const given = await secretSource(`unix:${path}`).read(options);
  t.same(Buffer.from(given.view), Buffer.from('by socket'));
  answer = Buffer.alloc(0);
  await t.rejects(secretSource(`unix:${path}`).read(options), { code: 'input_required', message: /nothing/ });
  answer = Buffer.alloc(100_000);
  await t.rejects(secretSource(`unix:${path}`).read(options), { code: 'usage', message: /more than/ });
  await t.rejects(secretSource('unix:/nonexistent').read(options), { code: 'input_required' });
});

test('what is not a source is refused without repeating it: it may be the secret itself', async (t) => {
  try {
    secretSource('hunter2');
    t.fail('refused');
  } catch (error) {
    t.match(error, { code: 'usage' });
    t.notMatch(`${(error as Error).message} ${adviceOf(error as Failure)}`, /hunter2/);
  }
  for (const none of ['share:', 'share:parent', 'share:share:-', 'share:age:x', 'share:hunter2']) {
    t.throws(() => secretSource(none), { code: 'usage', message: /^not a source of secrets$/ }, none);
  }
});

test('wrong usage ends with status 2 and says how to go on', async (t) => {
  for (const args of [
    ['frobnicate'],
    ['init'],
    ['lock'],
    ['lock', 'a', '--all'],
    ['unlock', 'a', '--with', 'hunter2'],
    ['unlock', 'a', '--frob'],
    ['init', '/nonexistent/v', '--with', '-', '--chunk-size', '5K'],
    ['init', '/nonexistent/v', '--with', '-', '--suite', 'rot13'],
    ['init', '/nonexistent/v', '--with', '-', '--slot', 'tattoo'],
    ['status', '--host', 'tcp://here'],
    ['status', '--timeout', 'soon'],
  ]) {
    const { status, stderr, stdout } = cli(args, 'x');
    t.equal(status, 2, args.join(' '));
    t.match(stderr, /hint:|--help/, 'advice');
    t.notMatch(stderr + stdout, /hunter2/);
  }
});

test('a missing secret is status 5, no daemon is status 10, with JSON where asked', async (t) => {
  t.equal(cli(['unlock', 'a']).status, 5);
  t.equal(cli(['unlock', 'a', '--with', 'prompt']).status, 5, 'nobody can be asked off a terminal');
  t.equal(cli(['unlock', 'a', '--with', '-'], 'x').status, 10);
  const { status, stderr } = cli(['ls', '--json']);
  t.equal(status, 10);
  t.match(JSON.parse(stderr), {
    error: { code: 'unreachable', message: String, hint: String, exit_status: 10 },
  });
});

test('help lists every verb, and each has its own', async (t) => {
  const help = cli(['--help']);
  t.equal(help.status, 0);
  for (const verb of ['init', 'mount', 'unmount', 'create', 'unlock', 'lock', 'status', 'ls', 'version']) {
    t.match(help.stdout, new RegExp(`^ {2}${verb} `, 'm'));
    t.equal(cli([verb, '--help']).status, 0);
  }
  t.match(cli(['version']).stdout, /^scopefs \d+\.\d+\.\d+/);
  t.match(JSON.parse(cli(['--json', 'version']).stdout), { version: String, format: 1 });
});

test('sizes, hosts and byte counts', async (t) => {
  t.same(['512', '4K', '1M'].map(parseSize), [512, 4096, 1 << 20]);
  t.throws(() => parseSize('1G'), { code: 'usage' });
  t.equal(socketPath('unix:///run/x'), '/run/x');
  t.throws(() => socketPath('unix://x'), { code: 'usage' });
  t.same([0, 1023, 1024, 5 << 20].map(bytes), ['0 B', '1023 B', '1.0 KiB', '5.0 MiB']);
});

test('tables align, receipts read as sentences', async (t) => {
  const output = new Output({ json: false, quiet: false });
  t.equal(output.table(['A', 'LONG'], [['value', 'x']]), 'A      LONG\nvalue  x');
  const receipt: ReceiptView = {
    scope: 'id',
    path: '/alice',
    generation: 2,
    reason: 'asked',
    leases_ended: 1,
    handles_cut: 3,
    inodes_invalidated: 4,
    bytes_flushed: 2048,
    holders: [],
    errors: [{ file: 'a', error: 'EIO' }],
    locked_at: '',
    seconds: 0.0123,
  };
  const written: string[] = [];
  const capture = (stream: NodeJS.WriteStream): (() => void) => {
    const write = stream.write.bind(stream);
    stream.write = ((text: string) => written.push(text) > 0) as typeof stream.write;
    return () => {
      stream.write = write;
    };
  };
  const undo = [capture(process.stdout), capture(process.stderr)];
  output.receipts([receipt]);
  for (const restore of undo) restore();
  t.same(written, [
    'locked /alice  (generation 2, 0.012 s)\n  leases ended 1, handles cut 3, inodes invalidated 4, flushed 2.0 KiB, errors 1\n',
    'scopefs: /alice: a could not be written (EIO)\n',
  ]);
});
