import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type Held } from '../../src/control/client/client.js';
import { inputOf } from './key-input.js';

/**
 * The server process of an application that has a scope for each user: a request opens its user's scope with a lease
 * bound to a connection, reads a file through the mount, releases the lease, answers.
 *
 * GET /USER: that user's profile. PUT /USER/NAME: writes that file, and answers with what it reads back.
 * `?open`: without a lease, as the scope is open. `?long`: an answer that goes on until the client hangs up.
 */
const [listenAt = '', daemon = '', mount = '', keys = ''] = process.argv.slice(2);
const client = new Client(daemon);

async function open(user: string): Promise<Held> {
  const input = inputOf(await readFile(join(keys, user)));
  try {
    return await client.holdLease(`/${user}`, { purpose: 'request' }, input);
  } finally {
    input.wipe();
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

async function answer(request: IncomingMessage, reply: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://application');
  const [user = '', name = 'profile'] = pathname.slice(1).split('/');
  const path = join(mount, user, name);
  const body = await bodyOf(request);
  const held = searchParams.has('open') ? undefined : await open(user);
  let content: Buffer;
  try {
    if (request.method === 'PUT') await writeFile(path, body);
    content = await readFile(path);
    while (searchParams.has('long') && !reply.destroyed) {
      reply.write(await readFile(path));
      await sleep(5);
    }
  } finally {
    held?.release();
  }
  reply.end(content);
}

createServer((request, reply) => {
  answer(request, reply).catch((error: unknown) => {
    if (reply.headersSent) reply.destroy();
    else reply.writeHead(500).end(String(error));
  });
}).listen(listenAt, () => process.stdout.write('ready\n'));
