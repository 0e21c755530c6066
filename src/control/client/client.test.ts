import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { SecretInput } from '../../libc/memory.js';
import { lease, scope } from '../test-views.js';
import { Client } from './client.js';

/** What answers on a Unix socket in a daemon's place: whatever a test has it say. */
async function impostor(t: Test, say: (outgoing: ServerResponse) => void): Promise<Client> {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-impostor-'));
  const path = join(directory, 'socket');
  const daemon = createServer((incoming, outgoing) => {
    incoming.resume();
    incoming.on('end', () => say(outgoing));
  });
  await new Promise<void>((resolve) => daemon.listen(path, resolve));
  t.teardown(() => {
    daemon.close();
    rmSync(directory, { recursive: true });
  });
  return new Client(path);
}

test('a reply is held against what this version reads, whoever sends it', async (t) => {
  let [status, reply] = [200, '' as unknown];
  const client = await impostor(t, (outgoing) => {
    outgoing.writeHead(status).end(typeof reply === 'string' ? reply : JSON.stringify(reply));
  });
  reply = { scopes: [{ ...scope, of_a_later_version: true }], next: 1 };
  t.match(await client.call('scopes'), [scope], 'it may know more');
  const other = { code: 'unreachable', reason: 'daemon_of_other_version' };
  for (const wrong of [
    {},
    null,
    [],
    5,
    { scopes: {} },
    { scopes: [null] },
    { scopes: [{ ...scope, state: 'ajar' }] },
  ]) {
    reply = wrong ?? 'null';
    await t.rejects(client.call('scopes'), other, JSON.stringify(wrong));
  }
  reply = 'no JSON';
  await t.rejects(client.call('scopes'), { code: 'unreachable', message: /not JSON/ });
  status = 500;
  for (const wrong of [{}, { code: 'busy', detail: 'x' }, { code: 'busy', detail: 'x', holders: 5 }]) {
    reply = wrong;
    await t.rejects(client.call('scopes'), {
      code: 'internal',
      message: 'the daemon answered with status 500',
    });
  }
});

test('shares whose JSON is not to be read are no result', async (t) => {
  const client = await impostor(t, (outgoing) => {
    outgoing.writeHead(200, { 'scopefs-result': '%zz' }).end('scopefs-share-');
  });
  const [input, shares] = [new SecretInput(), new SecretInput()];
  await t.rejects(client.call('renewShare', { scope: 'a' }, input, shares), { code: 'unreachable' });
  for (const one of [input, shares]) one.wipe();
});

test('a held lease that began has begun, also where its end comes with its beginning', async (t) => {
  const client = await impostor(t, (outgoing) => {
    outgoing.writeHead(201, { 'content-type': 'application/x-ndjson' });
    outgoing.end(`${JSON.stringify(lease)}\n{"ended":true}\n`);
  });
  const input = new SecretInput();
  const held = await client.holdLease('users/alice', {}, input);
  t.equal(held.lease.id, lease.id);
  await held.ended;
  input.wipe();
});

test('a wait that is none fails before anything is asked', async (t) => {
  const client = await impostor(t, () => t.fail('asked'));
  t.throws(() => client.call('lock', { scope: 'a', wait: '99999d' }), { code: 'usage' });
});
