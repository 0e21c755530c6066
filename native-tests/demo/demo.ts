import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { Connection } from '../../src/store/connection.js';
import { project, run, Vault } from '../support/mounted.js';

/** `npm run demo`: the main job on real files, from an empty directory to a verified remount. About half a minute. */
const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
  colour ? styleText(style, text) : text;
const say = (text = ''): void => {
  process.stdout.write(`${text}\n`);
};
let step = 0;
const title = (text: string): void => say(`\n${paint('bold', `${++step}. ${text}`)}`);
const indent = (text: string): void => say(text.trimEnd().replaceAll(/^/gm, '   '));

function must(condition: boolean, what: string): void {
  if (!condition) throw new Error(`the demo failed: ${what}`);
  say(`   ${paint('green', 'ok')} ${what}`);
}

/** SHA-256 of every regular file below a directory, by path. */
function checksums(directory: string): Map<string, string> {
  const sums = new Map<string, string>();
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8', withFileTypes: true });
  for (const entry of names) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    sums.set(path.slice(directory.length), createHash('sha256').update(readFileSync(path)).digest('hex'));
  }
  return sums;
}

/** Copies the project's own sources and makes a git repository of them. */
function makeInput(directory: string): string {
  const source = join(directory, 'source');
  mkdirSync(source);
  for (const name of ['bin', 'src', 'native-tests', 'package.json', 'tsconfig.json', 'README.md']) {
    cpSync(join(project, name), join(source, name), { recursive: true });
  }
  const git = (...args: string[]): void => {
    const done = run('git', [
      '-C',
      source,
      '-c',
      'user.name=demo',
      '-c',
      'user.email=demo@example.org',
      ...args,
    ]);
    if (done.status !== 0) throw new Error(`git ${args[0]}: ${done.stderr}`);
  };
  git('init', '-q', '-b', 'main');
  git('add', '.');
  git('commit', '-q', '-m', 'the source of scopefs');
  return source;
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => child.stdout?.once('data', (data) => resolve(String(data).trim())));
}
function exit(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
}

function showBeside(vault: Vault): void {
  const shown = readdirSync(vault.path('alice')).sort().slice(0, 4);
  const tree = join(vault.vault, 'tree');
  const hidden: string[] = [];
  for (const outer of readdirSync(tree)) {
    if (statSync(join(tree, outer)).isDirectory()) hidden.push(...readdirSync(join(tree, outer)));
  }
  say(`   ${'in the mount'.padEnd(28)}in the vault`);
  for (const [i, name] of shown.entries()) {
    say(`   ${paint('green', `alice/${name}`.padEnd(28))}${paint('yellow', (hidden[i] ?? '').slice(0, 64))}`);
  }
}

/** Head of a file as the mount shows it, and of the largest file that the vault has. */
function showBytes(vault: Vault): void {
  const plain = readFileSync(vault.path('alice', 'repository', 'package.json')).subarray(0, 32);
  let largest = { path: '', size: 0 };
  for (const entry of readdirSync(join(vault.vault, 'tree'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, String(entry.name));
    const { size } = statSync(path);
    if (size > largest.size) largest = { path, size };
  }
  // Frames begin after the header region of 1,024 bytes.
  const sealed = readFileSync(largest.path).subarray(1024 + 28, 1024 + 28 + 32);
  const text = (bytes: Buffer): string => bytes.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '.');
  say(`   plain   ${plain.toString('hex').slice(0, 48)}  ${paint('green', text(plain))}`);
  say(`   sealed  ${sealed.toString('hex').slice(0, 48)}  ${paint('yellow', text(sealed))}`);
}

async function demo(vault: Vault): Promise<void> {
  title('A vault, mounted, with two scopes');
  vault.mountIt();
  say(`   vault ${vault.vault}, mount ${vault.mount}`);
  const aliceKey = vault.createScope('alice');
  vault.createScope('bob');
  indent(vault.cli('ls').stdout);

  title('Real work: git clone, SQLite and tar, on the mount');
  const source = makeInput(vault.directory);
  const clone = run('git', ['clone', '-q', '--no-hardlinks', source, vault.path('alice', 'repository')]);
  must(clone.status === 0, 'git clone of the project into scope alice');
  const fsck = run('git', ['-C', vault.path('alice', 'repository'), 'fsck', '--full']);
  must(fsck.status === 0, 'git fsck of the clone');
  const db = new Connection(vault.path('alice', 'data.sqlite'));
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT)');
  const insert = db.prepare('INSERT INTO entries (text) VALUES (?)');
  db.transaction(() => {
    for (let i = 0; i < 5000; i++) insert.run(`entry ${i}`);
  });
  must(db.pragmaValue('integrity_check') === 'ok', 'SQLite: 5,000 rows in WAL mode, integrity_check');
  db.close();
  const tar = run('tar', ['-C', source, '-cf', vault.path('alice', 'source.tar'), '.']);
  must(tar.status === 0, 'tar of the source into scope alice');
  cpSync(join(source, 'src'), vault.path('bob', 'src'), { recursive: true });
  const alice = checksums(vault.path('alice'));
  const bob = checksums(vault.path('bob'));
  must(alice.size > 100, `${alice.size} files in alice, ${bob.size} in bob, checksums taken`);

  title('What the disk has');
  showBeside(vault);
  showBytes(vault);

  title('Lock alice while one reader holds a file open and another has one mapped');
  const fd = openSync(vault.path('alice', 'source.tar'), 'r');
  const page = Buffer.alloc(4096);
  readSync(fd, page, 0, 4096, 0);
  const script = fileURLToPath(new URL('../support/mapper.js', import.meta.url));
  const mapper = spawn(process.execPath, [script, vault.path('alice', 'source.tar')], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  try {
    await firstLine(mapper);
    const lock = vault.expect(vault.cli('lock', 'alice', '--reason', 'demo'), 'lock');
    indent(lock.stdout);
    let refused = '';
    try {
      readSync(fd, page, 0, 4096, 0);
    } catch (error) {
      // Node has no name for ENOKEY (126).
      refused = String((error as NodeJS.ErrnoException).errno);
    }
    must(refused === '-126', 'read through the open descriptor: ENOKEY');
    const ended = exit(mapper);
    mapper.stdin?.write('\n');
    must((await ended).signal === 'SIGBUS', 'access through the mapping: SIGBUS');
  } finally {
    closeSync(fd);
    mapper.kill('SIGKILL');
  }
  must(run('ls', [vault.path('alice')]).status !== 0, 'ls alice: Required key not available');
  const bobNow = checksums(vault.path('bob'));
  must(
    [...bob].every(([path, sum]) => bobNow.get(path) === sum),
    'bob is untouched: every checksum right',
  );
  must(
    vault.cli('unlock', 'alice', '--with', `file:${vault.keyFile}`).status === 5,
    'a wrong key: exit status 5',
  );

  title('Unmount, mount again, unlock, verify');
  vault.remount();
  vault.unlock('alice', aliceKey);
  vault.unlock('bob', join(vault.directory, 'key-bob'));
  const again = checksums(vault.path('alice'));
  must(
    again.size === alice.size && [...alice].every(([path, sum]) => again.get(path) === sum),
    `${again.size} checksums in alice`,
  );
  const bobAgain = checksums(vault.path('bob'));
  must(
    [...bob].every(([path, sum]) => bobAgain.get(path) === sum),
    `${bobAgain.size} checksums in bob`,
  );
  must(
    run('git', ['-C', vault.path('alice', 'repository'), 'status', '--porcelain']).stdout === '',
    'git status: clean',
  );
  const check = new Connection(vault.path('alice', 'data.sqlite'), { readonly: true });
  must(check.pragmaValue('integrity_check') === 'ok', 'SQLite integrity_check');
  check.close();
  indent(vault.cli('status').stdout);
}

const started = Date.now();
const vault = new Vault({ mount: false });
const stop = (): void => {
  vault.remove();
  process.exit(130);
};
process.once('SIGINT', stop);
process.once('SIGTERM', stop);
try {
  await demo(vault);
  say(
    `\n${paint('green', 'The demo worked')} (${((Date.now() - started) / 1000).toFixed(1)} s). Everything is removed again.`,
  );
} catch (error) {
  say(`\n${paint('red', String(error instanceof Error ? error.message : error))}`);
  process.exitCode = 1;
} finally {
  vault.remove();
}
