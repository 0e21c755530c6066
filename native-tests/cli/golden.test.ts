import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { project, scopefs } from '../support/mounted.js';

/**
 * What people see: a session and the help of every verb, word for word, with ids, times and paths normalised. After a
 * change that is meant: SCOPEFS_WRITE=1 node dist/native-tests/cli/golden.test.js
 */

const write = process.env.SCOPEFS_WRITE === '1';

function compare(t: Test, name: string, text: string): void {
  const path = join(project, 'native-tests/cli', name);
  if (write) writeFileSync(path, text);
  t.equal(text, readFileSync(path, 'utf8'), `${name}: SCOPEFS_WRITE=1 takes over what is meant`);
}

/** Ids and times differ each time; columns keep their places. */
function normalise(text: string, directory: string): string {
  return text
    .replaceAll(directory, 'DIR')
    .replaceAll(/\b[0-9a-f]{32}\b/g, 'ID')
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'TIME')
    .replaceAll(/pid \d+/g, 'pid PID')
    .replaceAll(/\b\d+\.\d{3} s\b/g, 'SECONDS s')
    .replaceAll(/\d+\.\d ms/g, 'MS ms')
    .replaceAll(/\d+ requests, \d+ inodes/g, 'N requests, N inodes')
    .replaceAll(/longest request: \w+/g, 'longest request: OP')
    .replaceAll(/node v?[\d.]+/g, 'node VERSION')
    .replaceAll(/for (3600|3599) s/g, 'for 3600 s')
    .replaceAll(/inodes invalidated \d+/g, 'inodes invalidated N')
    .replaceAll(/uid 0 \(.*?\)/g, 'uid 0 (COMMAND)');
}

test('a session, word for word', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-golden-'));
  const [vault, mount, socket] = ['vault', 'mount', 'socket'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  const env = { SCOPEFS_HOST: `unix://${socket}`, NO_COLOR: '1', COLUMNS: '100' };
  t.teardown(() => {
    scopefs(['unmount', mount], { env });
    rmSync(directory, { recursive: true, force: true });
  });
  mkdirSync(mount);
  // Fixed: a slot's secret is nothing that the text may depend on.
  for (const name of ['root', 'alice', 'new']) writeFileSync(join(directory, name), name.repeat(20));
  const lines: string[] = [];
  const say = (...args: string[]): void => {
    const shown = args.map((arg) => (/\s/.test(arg) ? `'${arg}'` : arg)).join(' ');
    const { status, stdout, stderr } = scopefs(args, { env });
    lines.push(`$ scopefs ${shown}`, stdout + stderr + (status === 0 ? '' : `[exit status ${status}]\n`));
  };
  const file = (name: string): string => `file:${join(directory, name)}`;
  say('version');
  say('status');
  say('init', vault, '--with', file('root'));
  say('init', vault, '--with', file('root'));
  say('mount', vault, mount, '--with', file('alice'));
  say('mount', vault, mount, '--with', file('root'));
  say('create', 'alice', '--with', file('alice'));
  say('create', 'none/bob', '--with', file('alice'));
  writeFileSync(join(mount, 'alice/letter'), 'Dear Bob');
  say('ls');
  say('status');
  say('status', 'alice');
  say('lock', 'alice');
  say('status', 'alice');
  say('unlock', 'alice', '--with', file('root'));
  say('unlock', 'alice', '--with', file('alice'), '--ttl', '1h', '--purpose', 'letters');
  say('slot', 'add', 'alice', '--new', file('new'), '--label', 'laptop');
  say('slot', 'list', 'alice');
  say('slot', 'test', 'alice', '--with', file('new'));
  say('slot', 'rm', 'alice', 'desktop');
  say('slot', 'rm', 'alice', '0');
  say('slot', 'rm', 'alice', 'laptop');
  say('unlock', 'alice', '--with', file('new'), '--visible-to', 'uid:1000', '--idle', '10m', '--ro');
  say('lock', 'alice');
  say('unlock', 'alice', '--with', file('new'), '--visible-to', 'uid:1000', '--idle', '10m', '--ro');
  say('rm', 'alice');
  say('rm', 'alice', '--shred');
  say('rm', 'alice', '--shred', '--yes=alice');
  say('ls');
  say('lock', '-a');
  say('lock', '-a');
  say('unmount', mount);
  say('unmount', mount);
  compare(t, 'session.golden.txt', normalise(lines.join('\n'), directory));
});

test('the help of every verb, word for word', async (t) => {
  const env = { NO_COLOR: '1', COLUMNS: '100' };
  const help = scopefs(['--help'], { env }).stdout;
  const verbs = [...help.matchAll(/^ {2}([a-z]+) (?:\[options\] )?/gm)].map((match) => match[1] as string);
  t.ok(verbs.includes('unlock') && verbs.length >= 12, verbs.join(' '));
  const parts = verbs
    .filter((verb) => verb !== 'help')
    .map((verb) => `$ scopefs ${verb} --help\n${scopefs([verb, '--help'], { env }).stdout}`);
  compare(t, 'help.golden.txt', normalise([`$ scopefs --help\n${help}`, ...parts].join('\n'), '\0'));
});
