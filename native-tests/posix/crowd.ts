import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  content,
  DIRECTORIES,
  isContent,
  PROCESSES,
  record,
  STABLE,
  STRIPE,
  STRIPES,
  stripe,
  type Tally,
} from './crowd-content.js';
import { fresh } from './suite.js';

/** Several processes in the same directories, then a check of the tree against what they say that they did. */

const program = fileURLToPath(new URL('./crowd-child.js', import.meta.url));

function child(directory: string, seed: number, index: number, steps: number): Promise<Tally> {
  const process_ = spawn(process.execPath, [program, directory, `${seed}`, `${index}`, `${steps}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  process_.stdout.on('data', (part) => {
    said += String(part);
  });
  return new Promise((resolve, reject) => {
    process_.on('close', (status) =>
      status === 0 ? resolve(JSON.parse(said) as Tally) : reject(new Error(`a process ended with ${status}`)),
    );
  });
}

interface Found {
  readonly path: string;
  readonly kind: 'directory' | 'symlink' | 'file';
  readonly ino: number;
  readonly nlink: number;
  readonly text: string;
}
function walk(base: string, below = ''): Found[] {
  return readdirSync(join(base, below)).flatMap((name): Found[] => {
    const path = join(below, name);
    const full = join(base, path);
    const stat = lstatSync(full);
    const { ino, nlink } = stat;
    const kind = stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'file';
    if (kind === 'directory') return [{ path, kind, ino, nlink, text: '' }, ...walk(base, path)];
    const text = kind === 'symlink' ? readlinkSync(full) : readFileSync(full, 'latin1');
    return [{ path, kind, ino, nlink, text }];
  });
}

/** Everything that a tree is, as one hash: for comparing it with itself after a lock or a remount. */
export function treeHash(base: string): string {
  const hash = createHash('sha256');
  for (const { path, kind, nlink, text } of walk(base).sort((a, b) => (a.path < b.path ? -1 : 1))) {
    hash.update(JSON.stringify([path, kind, nlink, text]));
  }
  return hash.digest('hex');
}

/** How often each operation was done, and what is not as it must be after `steps` operations of each process in an empty directory. */
export async function crowd(
  base: string,
  seed: number,
  steps: number,
): Promise<{ wrong: string[]; done: Record<string, number> }> {
  for (let i = 0; i < DIRECTORIES; i++) {
    fresh(base, `d${i}`);
    for (let s = 0; s < STABLE; s++) writeFileSync(join(base, `d${i}`, `stable${s}`), content(9, s, 50));
  }
  writeFileSync(join(base, 'log'), '');
  writeFileSync(join(base, 'stripes'), Buffer.alloc(STRIPE * STRIPES));
  const tallies = await Promise.all(
    Array.from({ length: PROCESSES }, (_, index) => child(base, seed, index, steps)),
  );
  const wrong = tallies.flatMap((tally, index) => tally.wrong.map((what) => `process ${index}: ${what}`));
  const claim = (holds: boolean, what: string): void => {
    if (!holds) wrong.push(what);
  };
  const tree = walk(base);
  const shared = tree.filter(({ path }) => /^d\d\//.test(path) && !path.includes('stable'));
  const expected = tallies.reduce((sum, { names }) => sum + names, 0);
  claim(shared.length === expected, `${shared.length} names, ${expected} by what was done`);
  const names = new Map<number, number>();
  for (const { kind, ino } of shared) if (kind !== 'directory') names.set(ino, (names.get(ino) ?? 0) + 1);
  for (const { path, kind, ino, nlink, text } of shared) {
    if (kind === 'directory') {
      const inside = tree.filter((entry) => entry.kind === 'directory' && within(path, entry.path)).length;
      claim(nlink === 2 + inside, `${path}: ${nlink} links, ${inside} directories in it`);
    } else {
      claim(nlink === names.get(ino), `${path}: ${nlink} links, ${names.get(ino)} names`);
    }
    if (kind === 'file') claim(isContent(text, true), `${path}: not what was written`);
    if (kind === 'symlink') claim(text === '../target', `${path}: points to ${text}`);
  }
  const log = readFileSync(join(base, 'log'), 'latin1');
  tallies.forEach(({ records, replaced, stripes }, index) => {
    const mine = log.split('\n').filter((line) => line.startsWith(`<${index} `));
    const wanted = Array.from({ length: records }, (_, i) => record(index, i + 1).trimEnd());
    claim(mine.join() === wanted.join(), `the log has ${mine.length} records of ${records} of ${index}`);
    if (replaced > 0) {
      const text = readFileSync(join(base, `whole${index}`), 'latin1');
      claim(
        isContent(text, true) && text.startsWith(`${index} ${replaced} `),
        `whole${index} is not the last`,
      );
    }
    const bytes = readFileSync(join(base, 'stripes'));
    for (const [at, number] of Object.entries(stripes)) {
      const from = Number(at) * STRIPE;
      const held = bytes.subarray(from, from + STRIPE);
      claim(held.equals(stripe(index, Number(at), number)), `stripe ${at} lost its last write`);
    }
  });
  const lines = log.split('\n').length - 1;
  claim(lines === tallies.reduce((sum, { records }) => sum + records, 0), 'the log has torn lines');
  const done: Record<string, number> = {};
  for (const tally of tallies)
    for (const [kind, count] of Object.entries(tally.done)) done[kind] = (done[kind] ?? 0) + count;
  return { wrong, done };
}

function within(parent: string, path: string): boolean {
  return path.startsWith(`${parent}/`) && !path.slice(parent.length + 1).includes('/');
}
