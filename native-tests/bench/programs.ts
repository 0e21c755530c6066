import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { git, sha256 } from './fixtures.js';
import { must } from './processes.js';
import { type Site, same, type Workload } from './workload.js';

/** Workloads of programs that people run. */
const database = (site: Site): string => join(site.root, 'rows.sqlite');
const clone = (site: Site): string => join(site.root, 'clone');

/** Single-row transactions, each committed alone, as SQL for the sqlite3 program. */
function transactions(count: number): string {
  const rows = Array.from({ length: count }, (_, i) => `INSERT INTO rows VALUES(${i}, hex(randomblob(50)));`);
  return [
    'PRAGMA journal_mode=WAL;',
    'PRAGMA synchronous=FULL;',
    'CREATE TABLE rows(id INTEGER PRIMARY KEY, text TEXT);',
    ...rows,
  ].join('\n');
}

export const programs: readonly Workload[] = [
  {
    name: 'sqlite_wal',
    unit: 'tx/s',
    what: 'single-row transactions, journal_mode=WAL, synchronous=FULL (sqlite3)',
    program: 'sqlite3',
    amount: (sizes) => sizes.transactions,
    run: (site) => {
      const done = spawnSync('sqlite3', ['-bail', database(site)], {
        input: transactions(site.sizes.transactions),
        encoding: 'utf8',
      });
      if (done.status !== 0) throw new Error(`sqlite3: ${done.stderr}`);
      same('journal mode', done.stdout.split('\n')[0], 'wal');
    },
    verify: (site) => {
      const said = must('sqlite3', [database(site), 'PRAGMA integrity_check; SELECT count(*) FROM rows;']);
      same('rows', said.trim(), `ok\n${site.sizes.transactions}`);
    },
  },
  {
    name: 'git_clone',
    unit: 's',
    what: 'git clone --no-hardlinks of a local repository, no sync',
    program: 'git',
    run: (site) => {
      git(['clone', '-q', '--no-hardlinks', site.fixtures.repository, clone(site)]);
    },
    verify: (site) => {
      for (const path of git(['ls-files', '-z'], clone(site)).split('\0')) {
        if (path === '') continue;
        const original = sha256(readFileSync(join(site.fixtures.repository, path)));
        same(path, sha256(readFileSync(join(clone(site), path))), original);
      }
    },
  },
];
