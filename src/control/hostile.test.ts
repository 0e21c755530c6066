import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { Client } from './client/client.js';
import { GRACE_MS, limitConnections, MOST_CONNECTIONS } from './connections.js';
import { listen } from './server.js';
import type { ControlService } from './service.js';
import { version } from './test-views.js';

/** Callers that mean harm: every honest call succeeds meanwhile, and nothing of theirs stays. */

async function serve(t: Test): Promise<{ path: string; client: Client }> {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-hostile-'));
  const path = join(directory, 'socket');
  const service = {
    version: async () => version,
    leases: {
      create: async () => {
        throw new Error('nobody gets here');
      },
    },
  } as unknown as ControlService;
  const server = await listen(path, service);
  t.teardown(async () => {
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return { path, client: new Client(path, 20_000) };
}

function attack(path: string, begin: (socket: Socket) => void): Socket {
  const socket = connect(path, () => begin(socket));
  socket.on('error', () => {});
  socket.resume();
  return socket;
}
async function honest(t: Test, client: Client, what: string, calls = 20): Promise<void> {
  for (let i = 0; i < calls; i++) {
    try {
      await client.call('version');
    } catch (error) {
      t.fail(`${what}: an honest call failed: ${String(error)}`);
      return;
    }
  }
  t.pass(`${what}: ${calls} honest calls`);
}

const head = 'POST /v1/leases?scope=a HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n';

test('5,000 idle connections', async (t) => {
  const { path, client } = await serve(t);
  const sockets: Socket[] = [];
  for (let wave = 0; wave < 50; wave++) {
    for (let i = 0; i < 100; i++) sockets.push(attack(path, () => {}));
    await honest(t, client, `after ${sockets.length}`, 2);
  }
  await new Promise((resolve) => setTimeout(resolve, GRACE_MS + 200));
  await honest(t, client, 'the next call', 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const open = sockets.filter((socket) => !socket.destroyed && !socket.closed).length;
  t.ok(open <= MOST_CONNECTIONS, `${open} are left`);
  for (const socket of sockets) socket.destroy();
});

test('a byte at a time, half-closed, random bytes, huge and endless bodies', async (t) => {
  const { path, client } = await serve(t);
  const sockets: Socket[] = [];
  const timers: NodeJS.Timeout[] = [];
  for (let i = 0; i < 100; i++) {
    sockets.push(
      attack(path, (socket) => {
        let at = 0;
        timers.push(setInterval(() => socket.write(head[at++ % head.length] as string), 100));
      }),
      attack(path, (socket) => socket.end()),
      attack(path, (socket) => socket.end(head.slice(0, 30))),
      attack(path, (socket) => socket.write(randomBytes(2000))),
      attack(path, (socket) => socket.write(`${head}content-length: 4000\r\n\r\nabc`)),
      attack(path, (socket) =>
        socket.write(`${head}content-length: 99999999999\r\n\r\n${'x'.repeat(50_000)}`),
      ),
      attack(path, (socket) => {
        socket.write(`${head}transfer-encoding: chunked\r\n\r\n`);
        timers.push(setInterval(() => socket.write('3e8\r\n'.concat('y'.repeat(1000), '\r\n')), 20));
      }),
      attack(path, (socket) => socket.write(`GET /${'a'.repeat(100_000)} HTTP/1.1\r\n\r\n`)),
      attack(path, (socket) => socket.write('GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(200))),
    );
    if (i % 10 === 0) await honest(t, client, `${sockets.length} attackers`, 5);
  }
  await honest(t, client, 'all of them');
  for (const timer of timers) clearInterval(timer);
  for (const socket of sockets) socket.destroy();
});

test('the oldest that is not being served goes; one that is being served stays', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-limit-'));
  const path = join(directory, 'socket');
  let finish: () => void = () => {};
  const server: Server = createServer((incoming, reply) => {
    incoming.resume();
    finish = () => reply.end('served');
  });
  limitConnections(server);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  let answer = '';
  const served = attack(path, (socket) => socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'));
  served.on('data', (part) => {
    answer += String(part);
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const idle: Socket[] = [];
  for (let i = 0; i < 2 * MOST_CONNECTIONS; i++) idle.push(attack(path, () => {}));
  await new Promise((resolve) => setTimeout(resolve, GRACE_MS + 100));
  idle.push(attack(path, () => {}));
  await new Promise((resolve) => setTimeout(resolve, 100));
  finish();
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.match(answer, /served/);
  t.ok(idle[0]?.closed, 'the oldest idle one');
  t.notOk(idle.at(-1)?.closed, 'not the newest');
  for (const socket of [...idle, served]) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true });
});
