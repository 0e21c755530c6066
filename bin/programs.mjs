// Programs that this project uses beside Node, each with its Debian package: one table for the install (bin/run.mjs), the
// test runner (native-tests/support/run-tests.ts) and .ci/run. `tests`: the test files that fail without it.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';

const posix = ['native-tests/posix/posix', 'native-tests/transport/fuse-native'];

/** `package` may name several: the first that this distribution has. */
export const programs = [
  { program: 'git', package: ['git'], tests: ['native-tests/applications/applications'], needed: true },
  // better-sqlite3 is compiled where no prebuilt one can be downloaded.
  {
    program: 'python3',
    package: ['python3'],
    tests: [
      'src/libc/notify',
      'native-tests/cli/prompt',
      'native-tests/daemon/service',
      'native-tests/daemon/which-daemon',
      ...posix,
    ],
    compiles: true,
  },
  { program: 'make', package: ['make'], tests: [], compiles: true },
  { program: 'g++', package: ['g++'], tests: [], compiles: true },
  { program: 'perl', package: ['perl'], tests: ['native-tests/posix/edges', ...posix] },
  {
    program: 'tar',
    package: ['tar'],
    tests: ['native-tests/applications/applications', 'native-tests/applications/copies'],
  },
  { program: 'rsync', package: ['rsync'], tests: ['native-tests/applications/copies'] },
  { program: 'getfattr', package: ['attr'], tests: ['native-tests/applications/copies'] },
  { program: 'setfacl', package: ['acl'], tests: ['native-tests/applications/copies'] },
  { program: 'stress-ng', package: ['stress-ng'], tests: ['native-tests/applications/stress'] },
  { program: 'fio', package: ['fio'], tests: ['native-tests/applications/stress'] },
  { program: 'sqlite3', package: ['sqlite3'], tests: ['native-tests/slots/killed-daemon'] },
  {
    program: 'mkfs.ext4',
    package: ['e2fsprogs'],
    tests: [
      'native-tests/daemon/full-disk',
      'native-tests/daemon/in-use',
      'native-tests/daemon/read-only',
      'native-tests/posix/full-disk',
    ],
  },
  {
    program: 'losetup',
    package: ['mount'],
    tests: [
      'native-tests/daemon/full-disk',
      'native-tests/daemon/in-use',
      'native-tests/daemon/read-only',
      'native-tests/posix/full-disk',
    ],
  },
  { program: 'systemd-analyze', package: ['systemd'], tests: ['native-tests/daemon/service'] },
  { program: 'pgrep', package: ['procps'], tests: ['native-tests/daemon/mount-sources'] },
  { program: 'ps', package: ['procps'], tests: ['native-tests/lock'] },
  { program: 'script', package: ['bsdutils'], tests: ['native-tests/leases/exec'] },
  { program: 'prlimit', package: ['util-linux'], tests: ['native-tests/lock/exhausted'] },
  {
    program: 'setpriv',
    package: ['util-linux'],
    tests: ['native-tests/leases/visibility', 'native-tests/cli/errors'],
  },
  {
    program: 'unshare',
    package: ['util-linux'],
    tests: ['native-tests/lock/stacked', 'native-tests/transport'],
  },
  {
    program: 'flock',
    package: ['util-linux'],
    tests: ['native-tests/daemon/mount-sources', 'native-tests/cli/errors'],
  },
  // Its name changed with the 64-bit times.
  {
    program: 'libfuse.so.2',
    package: ['libfuse2t64', 'libfuse2'],
    tests: ['native-tests/transport'],
    library: true,
  },
];

/** Whether a program, or a library, is there. */
export function isThere({ program, library }) {
  if (library === true) {
    const known = spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
    return (known.stdout ?? '').includes(`${program} `);
  }
  // root's own directories, also where a user asks.
  const places = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return places.some((place) => {
    try {
      accessSync(`${place}/${program}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const known = (name) => spawnSync('apt-cache', ['show', '-q', name], { stdio: 'ignore' }).status === 0;

/** The packages of these rows, each once. */
export function packagesOf(rows) {
  return [...new Set(rows.map(({ package: names }) => names.find(known) ?? names.at(-1)))];
}

/** What of the table is missing. */
export const missingPrograms = () => programs.filter((row) => !isThere(row));
