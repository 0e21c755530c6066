import { chownSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { fresh } from '../posix/suite.js';
import { project, run, Vault } from '../support/mounted.js';
import { ENGINES, fioFailure, stressFailures } from './stress.js';

/** Real programs, at length. The figures are in the room's README. */

function vaultOf(t: Test): Vault {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt('--dev', '--suid');
  return vault;
}
const POSTGRES = '/usr/lib/postgresql/15/bin';

test('PostgreSQL: initdb with checksums, pgbench with 8 clients, a restart, a crash, pg_amcheck', async (t) => {
  const vault = vaultOf(t);
  const home = vault.path('postgres');
  mkdirSync(home, { mode: 0o700 });
  const uid = Number(run('id', ['-u', 'postgres']).stdout);
  const gid = Number(run('id', ['-g', 'postgres']).stdout);
  chownSync(home, uid, gid);
  // Its socket lies on the mount as well. The vault's directory is root's alone.
  run('chmod', ['755', vault.directory]);
  const as = (command: string): ReturnType<typeof run> =>
    run('setpriv', [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', 'sh', '-c', command], home);
  const done = (what: string, command: string): string => {
    const { status, stdout, stderr } = as(command);
    t.equal(status, 0, status === 0 ? what : `${what}: ${stderr.slice(-500)}`);
    return stdout;
  };
  const data = join(home, 'data');
  const server = `${POSTGRES}/pg_ctl -D ${data} -l ${home}/log -w`;
  const options = `-o "-k ${home} -c listen_addresses= -p 5433"`;
  const client = `-h ${home} -p 5433`;
  done('initdb', `${POSTGRES}/initdb -k -D ${data} -U postgres`);
  done('start', `${server} ${options} start`);
  try {
    done('fill', `${POSTGRES}/pgbench ${client} -U postgres -i -s 5 postgres`);
    const said = done('pgbench', `${POSTGRES}/pgbench ${client} -U postgres -c 8 -j 2 -T 20 postgres`);
    t.comment(/tps = [\d.]+/.exec(said)?.[0] ?? said);
    done('restart', `${server} ${options} -m fast restart`);
    done('crash', `${server} -m immediate stop`);
    done('recovery', `${server} ${options} start`);
    const sums = done(
      'balances',
      `psql ${client} -U postgres -tAc 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)' postgres`,
    );
    t.equal(sums.trim(), 't', 'accounts and history agree');
    done(
      'amcheck',
      `${POSTGRES}/pg_amcheck ${client} -U postgres --install-missing --heapallindexed postgres`,
    );
  } finally {
    as(`${server} -m fast stop`);
  }
  done('checksums', `${POSTGRES}/pg_checksums -D ${data}`);
});

test('SQLite: four processes at once', async (t) => {
  const vault = vaultOf(t);
  const base = vault.path('db.sqlite');
  run('sqlite3', [base, 'PRAGMA journal_mode=WAL; CREATE TABLE rows(process, number);']);
  const one = (process: number): string =>
    `for i in $(seq 200); do echo "PRAGMA busy_timeout=60000; INSERT INTO rows VALUES(${process}, $i);" | sqlite3 ${base} >/dev/null || exit 1; done`;
  const all = run('sh', [
    '-c',
    `${[1, 2, 3, 4].map((n) => `(${one(n)}) & p${n}=$!`).join('\n')}\nwait $p1 && wait $p2 && wait $p3 && wait $p4`,
  ]);
  t.equal(all.status, 0, all.stderr);
  t.equal(run('sqlite3', [base, 'PRAGMA integrity_check; SELECT count(*) FROM rows;']).stdout, 'ok\n800\n');
});

test('stress-ng, every filesystem stressor: no failure that ext4 does not have', async (t) => {
  const vault = vaultOf(t);
  const options = ['--class', 'filesystem', '--sequential', '2', '-t', '10'];
  const failures = stressFailures(vault.path('stress'), options);
  if (failures.length > 0) t.same(failures, stressFailures(fresh(vault.directory, 'control'), options));
  t.pass(`${failures.length} failures`);
});

test('fio with every engine, dbench with 8 clients', async (t) => {
  const vault = vaultOf(t);
  for (const [engine, direct] of ENGINES) {
    t.equal(fioFailure(vault.path('fio'), engine, direct, 64), undefined, `${engine}, direct ${direct}`);
  }
  for (const [name, where] of [
    ['ext4', fresh(vault.directory, 'control')],
    ['mount', fresh(vault.mount, 'dbench')],
  ] as const) {
    const said = run('dbench', ['-D', where, '-t', '20', '8']);
    t.equal(said.status, 0, said.stderr);
    t.comment(`${name}: ${/Throughput.*/.exec(said.stdout)?.[0]}`);
  }
});

test('npm ci of this project, a C build, git, a mail directory', async (t) => {
  const vault = vaultOf(t);
  const clone = vault.path('scopefs');
  t.equal(run('git', ['clone', '-q', project, clone]).status, 0);
  const installed = run('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], clone);
  t.equal(installed.status, 0, installed.stderr.slice(-500));
  t.equal(run('npx', ['tsc', '-p', 'tsconfig.json'], clone).status, 0, 'it compiles there');
  t.equal(run('git', ['fsck', '--full', '--strict'], clone).status, 0);
  t.equal(run('git', ['gc', '-q', '--aggressive'], clone).status, 0);
  t.equal(run('git', ['status', '--porcelain'], clone).stdout, '');
  const source = join(project, 'node_modules/better-sqlite3/deps/sqlite3');
  cpSync(source, vault.path('sqlite'), { recursive: true });
  writeFileSync(
    vault.path('sqlite/main.c'),
    '#include "sqlite3.h"\nint main(void) { return sqlite3_threadsafe() < 0; }\n',
  );
  const built = run(
    'gcc',
    ['-O1', '-o', 'out', 'main.c', 'sqlite3.c', '-lpthread', '-ldl', '-lm'],
    vault.path('sqlite'),
  );
  t.equal(built.status, 0, built.stderr.slice(-500));
  t.equal(run('./out', [], vault.path('sqlite')).status, 0, 'and the program runs from there');
  // Maildir: written in tmp, linked or renamed into new, moved to cur by a reader.
  for (const name of ['tmp', 'new', 'cur']) mkdirSync(vault.path('mail', name), { recursive: true });
  const deliver = run('sh', [
    '-c',
    `cd ${vault.path('mail')}
     for w in 1 2 3 4; do (for i in $(seq 250); do echo "mail $w $i" > tmp/$w.$i && sync tmp/$w.$i && ln tmp/$w.$i new/$w.$i && rm tmp/$w.$i; done) & done
     while [ $(ls cur | wc -l) -lt 1000 ]; do for f in $(ls new); do mv new/$f cur/$f:2,S; done; done; wait
     cat cur/* | sort -u | wc -l; ls tmp new | grep -c mail`,
  ]);
  t.match(deliver.stdout, /^1000\n/, 'every mail once');
});
