import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Test, test } from 'tap';
import { type CliResult, run, scopefs, Vault } from '../support/mounted.js';

/** Which daemon a command talks to, and what becomes of one whose mount or socket is taken away. */

const RUN = '/run/scopefs';

/** A vault, and a copy of it: one volume id, so one name in the run directory. Mounted side by side without `--host`. */
class Copies extends Vault {
  readonly copy = join(this.directory, 'copy');
  readonly second = join(this.directory, 'second');
  constructor() {
    super({ mount: false });
    run('cp', ['-a', this.vault, this.copy]);
    mkdirSync(this.second);
  }
  mountOne(vault: string, mount: string, ...more: string[]): { pid: number; socket: string; stderr: string } {
    const done = scopefs(['mount', vault, mount, '--with', `file:${this.keyFile}`, '--json', ...more]);
    const { pid, socket } = JSON.parse(this.expect(done, 'mount').stdout) as { pid: number; socket: string };
    return { pid, socket, stderr: done.stderr };
  }
  both(): void {
    this.mountOne(this.vault, this.mount);
    this.mountOne(this.copy, this.second);
    writeFileSync(join(this.mount, 'which'), 'original');
    writeFileSync(join(this.second, 'which'), 'copy');
  }
  override remove(): void {
    for (const mount of [this.mount, this.second]) if (isMounted(mount)) scopefs(['unmount', mount]);
    for (const mount of [this.mount, this.second]) if (isMounted(mount)) run('umount', ['-l', mount]);
    super.remove();
  }
}
const isMounted = (mount: string): boolean =>
  readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${mount} `);
/** One that nobody has waited for yet has closed all it had. */
const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
const parsed = <T>(done: CliResult): T => JSON.parse(done.stdout) as T;

function copies(t: Test): Copies {
  const found = new Copies();
  t.teardown(() => found.remove());
  return found;
}
async function becomes(condition: () => boolean): Promise<boolean> {
  for (let i = 0; i < 200 && !condition(); i++) await sleep(50);
  return condition();
}

test('a copy is mounted beside its original, and who is named by path is who is unmounted', async (t) => {
  const vault = copies(t);
  vault.both();
  const done = scopefs(['unmount', vault.second]);
  t.equal(done.status, 0, done.stderr);
  t.match(done.stdout, `unmounted ${vault.second}`);
  t.notOk(isMounted(vault.second));
  t.equal(readFileSync(join(vault.mount, 'which'), 'utf8'), 'original', 'the other is there');
  t.equal(scopefs(['unmount', vault.second]).status, 4, 'it is mounted no more');
  vault.mountOne(vault.copy, vault.second);
  t.equal(scopefs(['unmount', vault.vault]).status, 0, 'a vault, too');
  t.notOk(isMounted(vault.mount));
  t.equal(readFileSync(join(vault.second, 'which'), 'utf8'), 'copy');
});

test('--host takes a mount point, by symlink too, and is refused where it is of another mount', async (t) => {
  const vault = copies(t);
  vault.both();
  const link = join(vault.directory, 'link');
  symlinkSync(vault.second, link);
  for (const host of [vault.second, link, vault.copy]) {
    const done = scopefs(['status', '--json', '--host', host]);
    t.match(parsed(done), { mount: vault.second, vault: vault.copy, detached: false }, host);
  }
  const other = scopefs(['unmount', vault.mount, '--host', vault.second, '--json']);
  t.equal(other.status, 8);
  t.match(JSON.parse(other.stderr), { error: { code: 'conflict', hint: /--host/ } });
  t.ok(isMounted(vault.mount) && isMounted(vault.second), 'nothing was done');
  t.equal(scopefs(['unmount', link]).status, 0);
  t.notOk(isMounted(vault.second));
  t.equal(scopefs(['status', '--host', vault.directory]).status, 4, 'nothing is mounted there');
});

test('the environment names whom to ask, and neither what is unmounted nor what is mounted', async (t) => {
  const vault = copies(t);
  vault.both();
  const env = { SCOPEFS_HOST: vault.mount };
  const done = scopefs(['unmount', vault.second], { env });
  t.equal(done.status, 0, done.stderr);
  t.ok(isMounted(vault.mount) && !isMounted(vault.second), 'what the command says');
  const args = ['mount', vault.copy, vault.second, '--with', `file:${vault.keyFile}`];
  const mounted = scopefs(args, { env });
  t.equal(mounted.status, 0, mounted.stderr);
  const elsewhere = scopefs(['unmount', vault.vault], {
    env: { SCOPEFS_HOST: join(vault.directory, 'gone') },
  });
  t.equal(elsewhere.status, 0, elsewhere.stderr);
  const relative = scopefs(['status', '--json', '-H', 'second'], { cwd: vault.directory });
  t.match(parsed(relative), { mount: vault.second }, 'a name alone is a path');
});

test('status and ls without a mount list every daemon; a command that needs one says which there are', async (t) => {
  const vault = copies(t);
  vault.both();
  for (const verb of ['status', 'ls']) {
    const { daemons } = parsed<{ daemons: { mount: string }[] }>(scopefs([verb, '--json']));
    const ours = daemons.filter(({ mount }) => [vault.mount, vault.second].includes(mount));
    t.match(
      ours.sort((a, b) => (a.mount < b.mount ? -1 : 1)),
      [
        { mount: vault.mount, vault: vault.vault, socket: /\.sock$/ },
        { mount: vault.second, vault: vault.copy, socket: /\.sock$/ },
      ],
    );
    t.match(scopefs([verb]).stdout, /MOUNT +VAULT +PID +SOCKET/);
  }
  const done = scopefs(['lease', 'list']);
  t.equal(done.status, 2);
  t.match(done.stderr, vault.second, 'by mount point');
});

test('a daemon whose socket is elsewhere is found too, and leaves no name behind', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const names = () => readdirSync(RUN).filter((name) => name.startsWith(volume));
  const { volume } = parsed<{ volume: string }>(vault.cli('status', '--json'));
  t.equal(names().filter((name) => name.endsWith('.sock')).length, 1);
  t.match(parsed(scopefs(['status', '--json', '--host', vault.mount])), { mount: vault.mount });
  t.equal(scopefs(['unmount', vault.mount]).status, 0);
  t.same(names(), [], 'no socket, no link, no log');
});

test('a socket that was cleaned away comes back; before that unmount works without it', async (t) => {
  const vault = copies(t);
  const { socket, pid } = vault.mountOne(vault.vault, vault.mount);
  unlinkSync(socket);
  t.ok(await becomes(() => existsSync(socket)), 'made again');
  t.equal(scopefs(['status', '--host', vault.mount]).status, 0);
  process.kill(pid, 'SIGSTOP');
  unlinkSync(socket);
  const done = vault.start('unmount', vault.vault);
  setTimeout(() => process.kill(pid, 'SIGCONT'), 500);
  t.equal((await done).status, 10, 'a host that was named must answer');
  t.ok(await becomes(() => existsSync(socket)));
  unlinkSync(socket);
  const unmounted = scopefs(['unmount', vault.mount]);
  t.equal(unmounted.status, 0, unmounted.stderr);
  t.match(unmounted.stderr, /SIGTERM/);
  t.notOk(isMounted(vault.mount) || isAlive(pid));
});

test('umount -l: it locks what those inside still have, says so, and ends when told', async (t) => {
  const vault = copies(t);
  const { pid } = vault.mountOne(vault.vault, vault.mount);
  writeFileSync(join(vault.mount, 'file'), 'content');
  const reader = spawn('python3', [
    '-u',
    '-c',
    `
import os, sys
os.chdir(sys.argv[1])
fd = os.open('file', os.O_RDONLY)
print(os.pread(fd, 7, 0).decode())
for line in sys.stdin:
    try: print(os.pread(fd, 7, 0).decode())
    except OSError as error: print(os.strerror(error.errno))
`,
    vault.mount,
  ]);
  t.teardown(() => reader.kill('SIGKILL'));
  let heard = '';
  reader.stdout.on('data', (data) => {
    heard += String(data);
  });
  t.ok(await becomes(() => heard === 'content\n'));
  t.equal(run('umount', ['-l', vault.mount]).status, 0);
  const detached = (): boolean => {
    const done = scopefs(['status', '--json']);
    // The only one there is may be another test's, that ends just now.
    if (done.status !== 0) return false;
    const { daemons = [], ...one } = parsed<{ daemons?: object[] }>(done);
    return [one, ...daemons].some(
      (at) => (at as { pid?: number; detached?: boolean }).pid === pid && 'detached' in at && at.detached,
    );
  };
  t.ok(await becomes(detached), 'status says so');
  reader.stdin.write('again\n');
  t.ok(await becomes(() => heard.split('\n').length === 3));
  t.match(heard, 'Required key not available');
  const unlock = scopefs(['unlock', '/', '--with', `file:${vault.keyFile}`, '--host', vault.vault]);
  t.equal(unlock.status, 8, 'nothing is opened in there again');
  const again = scopefs(['mount', vault.vault, vault.second, '--with', `file:${vault.keyFile}`, '--json']);
  t.equal(again.status, 7);
  t.match(JSON.parse(again.stderr), { error: { pid, message: new RegExp(`pid ${pid}`), hint: vault.vault } });
  t.equal(scopefs(['unmount', vault.vault]).status, 0);
  t.notOk(isAlive(pid), 'ended');
  vault.mountOne(vault.vault, vault.second);
});

test('umount -l: it ends by itself with its last user', async (t) => {
  const vault = copies(t);
  const { pid } = vault.mountOne(vault.vault, vault.mount);
  const inside = spawn('sleep', ['60'], { cwd: vault.mount });
  run('umount', ['-l', vault.mount]);
  await sleep(300);
  t.ok(isAlive(pid));
  inside.kill();
  t.ok(await becomes(() => !isAlive(pid)));
});

test('when unmount returns, the disk below can be unmounted', async (t) => {
  const vault = copies(t);
  const disk = join(vault.directory, 'disk');
  mkdirSync(disk);
  for (let round = 0; round < 3; round++) {
    t.equal(run('mount', ['-t', 'tmpfs', 'none', disk]).status, 0);
    run('cp', ['-a', vault.vault, join(disk, 'vault')]);
    vault.mountOne(join(disk, 'vault'), vault.mount);
    writeFileSync(join(vault.mount, 'file'), 'content');
    t.equal(scopefs(['unmount', vault.mount]).status, 0);
    const done = run('umount', [disk]);
    if (done.status !== 0) run('umount', ['-l', disk]);
    t.equal(done.status, 0, done.stderr);
  }
});

test('a mount says what it hides, and tells a script by a descriptor when it may go on', async (t) => {
  const vault = copies(t);
  writeFileSync(join(vault.mount, 'below'), '');
  const ready = join(vault.directory, 'ready');
  const script = `exec "$0" "$@" --ready-fd 3 3>${ready}`;
  const cli = join(import.meta.dirname, '../../../bin/scopefs');
  const args = ['mount', vault.vault, vault.mount, '--with', `file:${vault.keyFile}`];
  const done = run('sh', ['-c', script, cli, ...args]);
  t.equal(done.status, 0, done.stderr);
  t.match(done.stderr, /was not empty: 1 entry is hidden/);
  t.equal(readFileSync(ready, 'utf8'), 'READY=1\n');
  t.equal(run(cli, [...args, '--ready-fd', '77']).status, 2, 'a descriptor that is not there');
});

test('the log has no names: they would outlive the lock', async (t) => {
  const vault = copies(t);
  const { pid } = vault.mountOne(vault.vault, vault.mount);
  const secret = 'a-secret-name';
  const path = join(vault.mount, secret);
  writeFileSync(path, 'x'.repeat(100));
  // Appended and not synced, then killed: the next open repairs it, and that is logged.
  const child = spawn('python3', [
    '-u',
    '-c',
    `f=open(${JSON.stringify(path)},'ab',0); f.write(b'y'*50000); print('done'); import time; time.sleep(60)`,
  ]);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  process.kill(pid, 'SIGKILL');
  await becomes(() => !isAlive(pid));
  child.kill('SIGKILL');
  run('umount', ['-l', vault.mount]);
  vault.mountOne(vault.vault, vault.mount);
  const { ino } = statSync(path);
  readFileSync(path);
  const log = () =>
    readdirSync(RUN)
      .filter((name) => name.endsWith('.log'))
      .map((name) => readFileSync(join(RUN, name), 'utf8'))
      .find((text) => text.includes(`"inode":${ino}`)) ?? '';
  t.ok(await becomes(() => log() !== ''), 'the inode number of the mount');
  t.notMatch(log(), secret);
  t.match(run('find', [join(vault.vault, 'tree'), '-inum', String(ino)]).stdout, /tree/, 'and of the vault');
});

test('what a killed daemon leaves in the run directory goes with the next mount of any vault', async (t) => {
  const vault = copies(t);
  const { pid, socket } = vault.mountOne(vault.vault, vault.mount);
  const logs = () => readdirSync(RUN).filter((name) => name.endsWith('.log'));
  const volume = socket.slice(RUN.length + 1, -'.sock'.length);
  const [log = ''] = logs().filter((name) => name.startsWith(volume));
  const hours = new Date(Date.now() - 2 * 3_600_000);
  const other = new Vault({ mount: false });
  t.teardown(() => other.remove());
  utimesSync(join(RUN, log), hours, hours);
  other.mountIt();
  t.ok(logs().includes(log), 'of one that lives it stays, however old');
  t.ok(existsSync(socket));
  other.expect(other.unmount(), 'unmount');
  process.kill(pid, 'SIGKILL');
  await becomes(() => !isAlive(pid));
  run('umount', ['-l', vault.mount]);
  utimesSync(join(RUN, log), hours, hours);
  t.ok(existsSync(socket) && logs().includes(log), 'a killed one removes nothing');
  other.mountIt();
  t.notOk(existsSync(socket), 'its socket is gone');
  t.notOk(logs().includes(log), 'and its log');
  other.expect(other.unmount(), 'unmount');
});
