import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { project } from '../support/mounted.js';
import type { Sizes } from './options.js';
import { installed, must } from './processes.js';

/** Bytes of one streaming read or write. */
export const BLOCK = 128 << 10;
/** Bytes of one page, of a random write and of a small file. */
export const PAGE = 4096;

/** A file of the tree: its path below the tree's directory and the SHA-256 of its content (hex). */
export interface TreeFile {
  readonly path: string;
  readonly hash: string;
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function walk(directory: string, prefix: string, into: { path: string; size: number }[]): void {
  const entries = readdirSync(join(directory, prefix), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory()) walk(directory, path, into);
    else if (entry.isFile()) into.push({ path, size: statSync(join(directory, path)).size });
  }
}

const LARGE = 1 << 20;
const LARGEST = 16 << 20;

/** Every so many-th small file of node_modules, then large ones in the order of their size while they fit. */
function chooseFiles(directory: string, sizes: Sizes): string[] {
  const all: { path: string; size: number }[] = [];
  walk(directory, '', all);
  const small = all.filter(({ size }, i) => size <= LARGE && i % sizes.treeStep === 0);
  const large = all.filter(({ size }) => size > LARGE && size <= LARGEST).sort((a, b) => a.size - b.size);
  const chosen: string[] = [];
  let total = 0;
  for (const { path, size } of [...small, ...large]) {
    if (total + size > sizes.tree) continue;
    total += size;
    chosen.push(path);
  }
  return chosen;
}

/** What the workloads read: made once a run, on the host's disk, and warm in its page cache. */
export class Fixtures {
  /** 4 MiB of random bytes: every block that a workload writes is cut out of it. */
  readonly pool = randomBytes(4 << 20);
  readonly tar: string;
  readonly repository: string;
  readonly tree: readonly TreeFile[];
  readonly treeBytes: number;

  constructor(directory: string, sizes: Sizes) {
    const modules = join(project, 'node_modules');
    const chosen = chooseFiles(modules, sizes);
    const list = join(directory, 'tree.list');
    writeFileSync(list, `${chosen.join('\n')}\n`);
    this.tar = join(directory, 'tree.tar');
    // Compiled packages hold hard links, whose first name the repository's part of the tree may not have.
    must('tar', ['--hard-dereference', '-cf', this.tar, '-C', modules, '-T', list]);
    readFileSync(this.tar);
    const copy = join(directory, 'tree');
    mkdirSync(copy);
    must('tar', ['-xf', this.tar, '-C', copy]);
    let bytes = 0;
    this.tree = chosen.map((path) => {
      const content = readFileSync(join(copy, path));
      bytes += content.length;
      return { path, hash: sha256(content) };
    });
    this.treeBytes = bytes;
    this.repository = join(directory, 'repository');
    if (installed('git')) makeRepository(this.repository, this.tar, chosen, directory, sizes.gitFiles);
  }

  /** `length` bytes of the pool that belong to number `i`; the first four are `i`, so that no two are alike. */
  block(i: number, length: number): Buffer {
    const from = (i * 4096 * 7) % (this.pool.length - length + 1);
    const block = Buffer.from(this.pool.subarray(from, from + length));
    block.writeUInt32LE(i >>> 0, 0);
    return block;
  }
}

/** Git with no configuration but ours. */
export function git(args: readonly string[], cwd?: string): string {
  const config = ['user.name=bench', 'user.email=bench@localhost', 'safe.directory=*', 'gc.auto=0'];
  const env = ['GIT_CONFIG_GLOBAL=/dev/null', 'GIT_CONFIG_SYSTEM=/dev/null', 'GIT_TERMINAL_PROMPT=0'];
  return must('env', [...env, 'git', ...config.flatMap((pair) => ['-c', pair]), ...args], cwd);
}

function makeRepository(
  path: string,
  tar: string,
  tree: readonly string[],
  directory: string,
  count: number,
): void {
  const list = join(directory, 'repository.list');
  const step = Math.max(1, Math.floor(tree.length / count));
  const members = tree.filter((name, i) => i % step === 0 && !name.split('/').includes('.git'));
  writeFileSync(list, `${members.slice(0, count).join('\n')}\n`);
  mkdirSync(path);
  must('tar', ['-xf', tar, '-C', path, '-T', list]);
  git(['init', '-q'], path);
  git(['add', '-A', '-f', '.'], path);
  git(['commit', '-q', '-m', 'tree'], path);
  git(['repack', '-q', '-a', '-d'], path);
}
