import { spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { freshVault } from '../support/failing.js';
import { cliPath, project } from '../support/mounted.js';

const unit = readFileSync(join(project, 'systemd/scopefs@.service'), 'utf8');

/** Options that give a service a mount namespace of its own (systemd.exec(5)): the mount would be seen there alone. */
const hiding =
  /^(Protect(System|Home|Kernel\w+|ControlGroups|Clock|Proc|Hostname)|ProcSubset|Private\w+|(ReadWrite|ReadOnly|Inaccessible|Bind\w*|Exec|NoExec)Paths|Root\w+|DynamicUser|MemoryDenyWriteExecute|TemporaryFileSystem|MountAPIVFS)=/m;

test('the unit is one that systemd understands, and hides the mount from nobody', async (t) => {
  t.notMatch(unit, hiding);
  t.match(unit, /^Type=notify$/m);
  t.match(unit, /^LoadCredential=root:/m);
  if (spawnSync('systemd-analyze', ['--version']).status !== 0) {
    t.comment('systemd-analyze is not installed: the unit was not verified');
    t.notOk(process.env.CI, 'CI has systemd-analyze');
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-unit-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  // Where scopefs is installed it is /usr/bin/scopefs.
  const path = join(directory, 'scopefs@data.service');
  writeFileSync(path, unit.replace('/usr/bin/scopefs', cliPath));
  const done = spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' });
  t.equal(done.status, 0, done.stderr);
  t.notMatch(done.stderr, /scopefs@/, 'no complaint about it');
});

test('in the foreground the manager hears READY after the mount and STOPPING before the end', async (t) => {
  const vault = freshVault(t);
  const credentials = join(vault.directory, 'credentials');
  mkdirSync(credentials);
  copyFileSync(vault.keyFile, join(credentials, 'root'));
  const socket = join(vault.directory, 'notify');
  const listener = spawn('python3', [
    '-c',
    `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('listening', flush=True)
while True: print(s.recv(4096).decode().split('\\n')[0], flush=True)
`,
    socket,
  ]);
  t.teardown(() => listener.kill());
  const heard: string[] = [];
  listener.stdout.on('data', (data) => heard.push(...String(data).trim().split('\n')));
  const until = async (word: string): Promise<boolean> => {
    for (let i = 0; i < 200 && !heard.includes(word); i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return heard.includes(word);
  };
  t.ok(await until('listening'));
  const args = ['mount', vault.vault, vault.mount, '--with', 'cred:root', '--foreground'];
  const child = spawn(cliPath, [...args, '--host', `unix://${vault.socket}`], {
    env: { ...process.env, NOTIFY_SOCKET: socket, CREDENTIALS_DIRECTORY: credentials },
    stdio: 'ignore',
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  t.ok(await until('READY=1'));
  writeFileSync(vault.path('file'), 'content');
  child.kill('SIGTERM');
  t.ok(await until('STOPPING=1'));
  t.equal(await ended, 0, 'a clean end');
  t.notOk(existsSync(join(vault.vault, 'dirty')));
});

test('the Dockerfile copies what exists', async (t) => {
  const text = readFileSync(join(project, 'Dockerfile'), 'utf8');
  let count = 0;
  for (const match of text.matchAll(/^COPY (?!--from)(.+) \S+$/gm)) {
    for (const name of (match[1] as string).split(' ')) {
      count++;
      t.ok(existsSync(join(project, name)), name);
    }
  }
  t.ok(count >= 5);
  t.match(text, /^RUN npm ci /m);
  const ignored = readFileSync(join(project, '.dockerignore'), 'utf8').split('\n');
  t.ok(ignored.includes('node_modules'), 'what was built for this machine stays here');
});
