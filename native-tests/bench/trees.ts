import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE, sha256 } from './fixtures.js';
import { must } from './processes.js';
import { type Site, same, type Workload } from './workload.js';

/** Workloads on many files. */
const tree = (site: Site): string => join(site.root, 'tree');

const PER_DIRECTORY = 100;
const smallDirectory = (site: Site, i: number): string =>
  join(site.root, 'small', `directory-${Math.floor(i / PER_DIRECTORY)}`);
const smallPath = (site: Site, i: number): string => join(smallDirectory(site, i), `file-${i}`);

/** Makes the tree: mkdir and tar x. */
export function makeTree(site: Site): void {
  mkdirSync(tree(site));
  must('tar', ['-xf', site.fixtures.tar, '-C', tree(site)]);
}

/** Makes the small files. */
export function makeSmall(site: Site): void {
  mkdirSync(join(site.root, 'small'));
  for (let i = 0; i < site.sizes.small; i++) {
    if (i % PER_DIRECTORY === 0) mkdirSync(smallDirectory(site, i));
    const file = openSync(smallPath(site, i), 'wx');
    writeSync(file, site.fixtures.block(i, PAGE));
    closeSync(file);
  }
}

/** readdir, then lstat of each entry, depth first, as `ls -lR` does: how many entries there are. */
function listRecursively(directory: string): number {
  let count = 0;
  const below: string[] = [];
  for (const name of readdirSync(directory).sort()) {
    const path = `${directory}/${name}`;
    if (lstatSync(path).isDirectory()) below.push(path);
    count++;
  }
  for (const path of below) count += listRecursively(path);
  return count;
}

export const trees: readonly Workload[] = [
  {
    name: 'untar',
    unit: 's',
    what: 'tar x of a tree cut out of node_modules, no sync',
    makes: 'tree',
    run: makeTree,
  },
  {
    name: 'sha256_cold',
    unit: 's',
    what: 'open, read, hash each file of the tree (and compare)',
    cold: true,
    needs: 'tree',
    run: (site) => {
      for (const { path, hash } of site.fixtures.tree) {
        same(`SHA-256 of ${path}`, sha256(readFileSync(join(tree(site), path))), hash);
      }
    },
  },
  {
    name: 'ls_lr_cold',
    unit: 's',
    what: 'readdir and lstat of each entry of the tree (ls -lR)',
    cold: true,
    needs: 'tree',
    run: (site) => {
      const entries = listRecursively(tree(site));
      if (entries < site.fixtures.tree.length) throw new Error(`only ${entries} entries in the tree`);
    },
  },
  {
    name: 'rm_rf',
    unit: 's',
    what: 'rm -rf of the tree, no sync',
    needs: 'tree',
    removes: 'tree',
    run: (site) => {
      must('rm', ['-rf', tree(site)]);
    },
  },
  {
    name: 'create_small',
    unit: 'files/s',
    what: 'create files of 4 KiB, 100 to a directory, no sync',
    makes: 'small',
    amount: (sizes) => sizes.small,
    run: makeSmall,
    verify: (site) => {
      for (let i = 0; i < site.sizes.small; i++) {
        same(smallPath(site, i), readFileSync(smallPath(site, i)).equals(site.fixtures.block(i, PAGE)), true);
      }
    },
  },
  {
    name: 'stat_cold',
    unit: 'files/s',
    what: 'lstat of each of them by name',
    cold: true,
    needs: 'small',
    amount: (sizes) => sizes.small,
    run: (site) => {
      for (let i = 0; i < site.sizes.small; i++) same('size', lstatSync(smallPath(site, i)).size, PAGE);
    },
  },
];
