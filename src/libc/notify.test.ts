import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { notifyManager } from './notify.js';

/** A service manager: python prints each datagram as a line. `@` begins an abstract name. */
async function manager(address: string): Promise<{ next(): Promise<string>; end(): void }> {
  const script = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
a = sys.argv[1]
s.bind('\\0' + a[1:] if a[0] == '@' else a)
print('ready', flush=True)
while True: print(s.recv(4096).decode().replace('\\n', '|'), flush=True)
`;
  const child = spawn('python3', ['-c', script, address]);
  const lines: string[] = [];
  let waiting: ((line: string) => void) | undefined;
  child.stdout.on('data', (data) => {
    for (const line of String(data)
      .split('\n')
      .filter((part) => part !== '')) {
      if (waiting === undefined) lines.push(line);
      else waiting(line);
      waiting = undefined;
    }
  });
  const next = (): Promise<string> =>
    new Promise((resolve) => {
      const line = lines.shift();
      if (line === undefined) waiting = resolve;
      else resolve(line);
    });
  await next();
  return { next, end: () => child.kill() };
}

test('the manager hears what is said, on a path and on an abstract name', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-notify-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  for (const address of [join(directory, 'notify'), `@scopefs-test-${process.pid}`]) {
    const listening = await manager(address);
    t.ok(notifyManager('READY=1\nSTATUS=mounted', address));
    t.equal(await listening.next(), 'READY=1|STATUS=mounted');
    listening.end();
  }
});

test('without a manager nothing is said; one that cannot be reached is an error', async (t) => {
  t.notOk(notifyManager('READY=1', undefined));
  t.notOk(notifyManager('READY=1', ''));
  t.notOk(existsSync('/nonexistent/notify'));
  t.throws(() => notifyManager('READY=1', '/nonexistent/notify'), /ENOENT/);
  t.throws(() => notifyManager('READY=1', 'relative'), /EINVAL/);
  t.throws(() => notifyManager('READY=1', `/${'x'.repeat(108)}`), /EINVAL/);
});
