import { linkSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'tap';
import { Failure } from '../base/failure.js';
import type { ScopeId } from '../base/ids.js';
import { SecretInput } from '../libc/memory.js';
import { Client } from './client/client.js';
import { queryOf } from './openapi.js';
import { parametersOf, routeNames, routeOf } from './routes.js';
import type { AuditView, SlotChangeView, SlotView, VersionView } from './schemas.js';
import { listen } from './server.js';
import {
  type AuditControl,
  type ControlService,
  Issued,
  type LeaseControl,
  type LockControl,
  type ScopeControl,
  type SlotControl,
} from './service.js';
import { lease, scope, version } from './test-views.js';

const slot: SlotView = {
  number: 1,
  type: 'keyfile',
  label: 'alice',
  created: scope.created,
  not_after: null,
  window: null,
  sealed: null,
  shares: null,
  threshold: null,
  auto: false,
  status: 'ok',
};
const slotChange: SlotChangeView = {
  slot,
  epoch: 2,
  still_readable: { written_before: scope.created, epochs: [1] },
};
const entry: AuditView = {
  sequence: 1,
  at: scope.created,
  event: 'unlock',
  result: 'ok',
  scope: scope.id,
  path: scope.path,
  slot: 1,
  lease: lease.id,
  uid: 0,
  pid: 1,
  command: 'scopefs',
  purpose: null,
  detail: null,
};

/** Scopes have paths for ids here: what a test names is what a service is asked. */
const idOf = (reference: string): ScopeId => reference as ScopeId;

/** Remembers what it was asked, and whether secrets were wiped after it. */
class FakeService implements ControlService {
  readonly asked: unknown[] = [];
  readonly secrets: SecretInput[] = [];
  readonly knowsCallers = true;
  /** What the next lease fails with. */
  fail: Failure | undefined;
  /** How held leases ended: released by their connection, or told by {@link endHeld}. */
  readonly released: string[] = [];
  endHeld: () => void = () => {};
  connection = -1;
  /** What goes out with the next slot. */
  shares: SecretInput | undefined;
  before: Promise<void> = Promise.resolve();
  began: () => void = () => {};

  readonly scopes: ScopeControl = {
    resolve: (reference) => {
      if (reference === 'nobody')
        throw new Failure('not_found', `no ${reference}`, { reason: 'scope_unknown' });
      return idOf(reference);
    },
    all: async () => [scope],
    one: async (id) => {
      this.asked.push(id);
      return scope;
    },
    create: async (path, { type }, secret) => {
      this.secrets.push(secret);
      this.asked.push([path, type, Buffer.from(secret.view).toString('latin1')]);
      return new Issued({ ...scope, lease: lease.id }, undefined);
    },
    shred: async () => {
      throw new Failure('conflict', 'not here');
    },
    holders: () => [],
  };
  readonly locks: LockControl = {
    lock: async (id, request) => {
      this.asked.push([id, request]);
      return [];
    },
    lockAll: async () => {
      throw new Failure('busy', 'in use', { details: { holders: [{ pid: 7 }] } });
    },
  };
  readonly leases: LeaseControl = {
    all: async () => [lease],
    one: async (id) => {
      if (id !== lease.id) throw new Failure('not_found', `no ${id}`);
      return lease;
    },
    create: async (wanted, key, peer) => {
      if (key instanceof SecretInput) this.secrets.push(key);
      if (this.fail !== undefined) throw this.fail;
      this.asked.push([wanted, { uid: peer.uid, gid: peer.gid, pid: peer.pid }]);
      return lease;
    },
    hold: async (wanted, key, peer, connection, ended) => {
      this.endHeld = () => ended({ reason: 'ttl', receipt: null });
      this.connection = connection();
      const held = { ...(await this.leases.create(wanted, key, peer)), bound_to: ['connection' as const] };
      return {
        lease: held,
        release: async () => {
          this.released.push(held.id);
        },
      };
    },
    change: async (id, ttl) => {
      this.asked.push([id, ttl]);
      return lease;
    },
    end: async () => {
      throw new Error('a bug with details in it');
    },
  };
  readonly slots: SlotControl = {
    list: async () => [slot],
    test: async (id, key) => {
      if (key instanceof SecretInput) this.secrets.push(key);
      this.asked.push([id]);
      return slot;
    },
    renewShare: async (_id, share) => {
      this.secrets.push(share);
      return new Issued(slot, this.shares);
    },
    changes: {
      add: async (id, wanted, secret) => {
        this.began();
        await this.before;
        this.secrets.push(secret);
        this.asked.push([id, wanted]);
        return new Issued(slot, this.shares);
      },
      setWindow: async (id, which, window) => {
        this.asked.push([id, which, window]);
        return slot;
      },
      remove: async (id, which) => {
        this.asked.push([id, which]);
        return slotChange;
      },
      rotate: async (id, which, secret) => {
        this.secrets.push(secret);
        this.asked.push([id, which]);
        return new Issued(slotChange, undefined);
      },
    },
  };
  readonly audit: AuditControl = {
    tail: (count) => {
      this.asked.push(count);
      return [entry];
    },
  };
  async version(): Promise<VersionView> {
    return version;
  }
  async unmount(): Promise<void> {}
}

const plainRequest = {
  scope: 'users/alice',
  purpose: '',
  ttl: undefined,
  maxTtl: undefined,
  idle: undefined,
  until: undefined,
  pid: undefined,
  visibility: [],
  readOnly: false,
  budget: undefined,
};

async function serve(t: {
  teardown(fn: () => Promise<void>): void;
}): Promise<{ path: string; service: FakeService; client: Client }> {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-control-'));
  const path = join(directory, 'socket');
  const service = new FakeService();
  const server = await listen(path, service);
  t.teardown(async () => {
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return { path, service, client: new Client(path) };
}

interface RawReply {
  status: number;
  type: string;
  body: Record<string, unknown>;
}
function raw(path: string, method: string, route: string, body?: Buffer, type?: string): Promise<RawReply> {
  return new Promise((resolve, reject) => {
    const headers = type === undefined ? {} : { 'content-type': type };
    const outgoing = request({ socketPath: path, method, path: route, headers }, (incoming) => {
      let text = '';
      incoming.on('data', (part) => {
        text += String(part);
      });
      incoming.on('end', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          type: incoming.headers['content-type'] ?? '',
          body: JSON.parse(text) as Record<string, unknown>,
        }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

function secret(text: string): SecretInput {
  const input = new SecretInput();
  input.append(Buffer.from(text));
  return input;
}

test('a reply that carries shares has them as its raw body, and its JSON in a header', async (t) => {
  const { client, path, service } = await serve(t);
  const text = 'scopefs-share-one\nscopefs-share-two\n';
  service.shares = secret(text);
  const shares = new SecretInput();
  const options = { slot: 'threshold', shares: '2', threshold: '2', label: 'käse' } as const;
  t.same(await client.call('addSlot', { scope: 'a', ...options }, new SecretInput(), shares), slot);
  t.match(service.asked.at(-1), ['a', { type: 'threshold', shares: 2, needed: 2, label: 'käse' }]);
  t.equal(shares.view.toString('latin1'), text);
  await sleep(50);
  t.throws(() => service.shares?.view, /wiped/, 'the daemon keeps none');
  service.shares = secret(text);
  const next = new SecretInput();
  t.same(await client.call('renewShare', { scope: 'a' }, secret('scopefs-share-one'), next), slot);
  t.equal(next.view.toString('latin1'), text);
  const share = await raw(path, 'POST', '/v1/scopes/a/share', Buffer.alloc(0));
  t.equal(share.type, 'application/problem+json', 'a body without its type is no share');
  service.fail = new Failure('pending', '1 of 2 shares are here', { details: { needed: 2, have: [1] } });
  await t.rejects(client.call('createLease', { scope: 'a', with: 'share' }, secret('x')), {
    code: 'pending',
    exitStatus: 11,
    details: { needed: 2, have: [1] },
  });
});

test('shares for a caller who is gone are wiped', async (t) => {
  const { path, service } = await serve(t);
  service.shares = secret('scopefs-share-one\n');
  let asked: () => void = () => {};
  const began = new Promise<void>((resolve) => {
    asked = resolve;
  });
  let go: () => void = () => {};
  service.before = new Promise((resolve) => {
    go = resolve;
  });
  service.began = () => asked();
  const headers = { 'content-type': 'application/octet-stream', 'content-length': 0 };
  const outgoing = request({
    socketPath: path,
    method: 'POST',
    path: '/v1/scopes/a/slots?slot=split',
    headers,
  });
  outgoing.on('error', () => {});
  outgoing.end();
  await began;
  outgoing.destroy();
  await sleep(100);
  go();
  await sleep(100);
  t.throws(() => service.shares?.view, /wiped/);
});

test('the client and the server agree on every call', async (t) => {
  const { client, service } = await serve(t);
  t.same(await client.call('version'), version);
  t.same(await client.call('scopes'), [scope]);
  t.same(await client.call('scope', { scope: 'users/alice' }), scope);
  t.same(await client.call('createScope', { path: 'users/alice', slot: 'keyfile' }, secret('s\0\xff')), {
    ...scope,
    lease: lease.id,
  });
  t.same(service.asked.at(-1), ['users/alice', 'keyfile', Buffer.from('s\0\xff').toString('latin1')]);
  t.same(await client.call('leases'), [lease]);
  t.same(await client.call('createLease', { scope: 'users/alice', ttl: '15m' }, secret('x')), lease);
  t.match(service.asked.at(-1), [
    { scope: 'users/alice', ttl: 900_000, purpose: '' },
    { uid: process.getuid?.(), pid: process.pid },
  ]);
  t.same(await client.call('changeLease', { lease: lease.id, ttl: '30s' }), lease);
  t.same(service.asked.at(-1), [lease.id, 30_000]);
  t.same(await client.call('lock', { scope: 'users/alice', reason: 'r', wait: '5s' }), []);
  t.same(service.asked.at(-1), ['users/alice', { reason: 'r', wait: 5000, failIfBusy: false }]);
  t.same(await client.call('slots', { scope: 'users/alice' }), [slot]);
  t.same(
    await client.call('addSlot', { scope: 'users/alice', slot: 'recovery', label: 'l' }, secret('x')),
    slot,
  );
  t.same(service.asked.at(-1), [
    'users/alice',
    {
      type: 'recovery',
      label: 'l',
      notAfter: undefined,
      window: undefined,
      sealed: undefined,
      shares: undefined,
      needed: undefined,
      auto: false,
    },
  ]);
  t.same(
    await client.call('setWindow', { scope: 'users/alice', slot: '1', window: 'at:02:00,for:1h' }),
    slot,
  );
  t.match(service.asked.at(-1), ['users/alice', '1', { hour: 2, minutes: 60, zone: 'UTC' }]);
  t.same(await client.call('testSlot', { scope: 'users/alice' }, secret('x')), slot);
  t.same(await client.call('removeSlot', { scope: 'users/alice', slot: 'a/b' }), slotChange);
  t.same(service.asked.at(-1), ['users/alice', 'a/b'], 'a label of any characters');
  t.same(await client.call('rotateSlot', { scope: 'users/alice', slot: '1' }, secret('x')), slotChange);
  t.same(await client.call('audit', { limit: 7 }), [entry]);
  t.equal(service.asked.at(-1), 7);
  t.match(await client.call('unmount'), { unmounted: true });
  for (const used of service.secrets) t.throws(() => used.view, /wiped/, 'the daemon keeps no secret');
});

test('failures arrive with code, hint and details; a bug tells nothing of itself', async (t) => {
  const { client } = await serve(t);
  await t.rejects(client.call('scope', { scope: 'nobody' }), {
    code: 'not_found',
    message: 'no nobody',
    hint: 'list them with: scopefs ls',
  });
  await t.rejects(client.call('lockAll'), {
    code: 'busy',
    exitStatus: 7,
    details: { holders: [{ pid: 7 }] },
  });
  const { stderr } = process;
  const write = stderr.write.bind(stderr);
  stderr.write = (() => true) as typeof stderr.write;
  await t.rejects(client.call('endLease', { lease: '1' }), { code: 'internal', message: /daemon log/ });
  stderr.write = write;
  const nowhere = new Client('/nonexistent/socket');
  await t.rejects(nowhere.call('version'), { code: 'unreachable', exitStatus: 10, reason: 'daemon_gone' });
});

test('a daemon that ends before it answers is gone: it refuses nobody', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-ending-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'socket');
  const ending = createServer((socket) => socket.once('data', () => socket.destroy()));
  await new Promise<void>((resolve) => ending.listen(path, resolve));
  t.teardown(() => ending.close());
  await t.rejects(new Client(path).call('version'), { code: 'unreachable', reason: 'daemon_gone' });
});

test('what is not understood is refused as a problem document', async (t) => {
  const { path } = await serve(t);
  const octets = 'application/octet-stream';
  const rows = [
    { reply: await raw(path, 'GET', '/v1/nothing'), status: 404, code: 'not_found' },
    { reply: await raw(path, 'GET', '/v1/scopes?colour=red'), status: 400, code: 'usage' },
    {
      reply: await raw(path, 'POST', '/v1/leases?scope=a&ttl=soon', Buffer.from('x'), octets),
      status: 400,
      code: 'usage',
    },
    { reply: await raw(path, 'POST', '/v1/leases', Buffer.from('x'), octets), status: 400, code: 'usage' },
    {
      reply: await raw(path, 'POST', '/v1/leases?scope=a', Buffer.from('{}'), 'application/json'),
      status: 400,
      code: 'usage',
    },
    {
      reply: await raw(path, 'POST', '/v1/leases?scope=a', Buffer.alloc(5000), octets),
      status: 413,
      code: 'too_large',
    },
  ];
  for (const { reply, status, code } of rows) {
    t.equal(reply.status, status, code);
    t.equal(reply.type, 'application/problem+json');
    t.match(reply.body, { code, status, type: `urn:scopefs:problem:${code}`, request_id: /^[0-9a-f-]{36}$/ });
  }
});

test('what is wrong with a request is said before its scope is looked for', async (t) => {
  const { path } = await serve(t);
  const ask = (method: string, route: string, body?: string): Promise<RawReply> => {
    const type = body === undefined ? undefined : 'application/octet-stream';
    return raw(
      path,
      method,
      `/v1/scopes/nobody/${route}`,
      body === undefined ? body : Buffer.from(body),
      type,
    );
  };
  for (const [method, route, body] of [
    ['POST', 'slots?slot=keyfile&window=zz', 'key'],
    ['POST', 'slots?slot=keyfile&not_after=2001-01-01T00:00:00Z', 'key'],
    ['PATCH', 'slots/0?window=zz', undefined],
    ['POST', 'lock?wait=99999d', undefined],
    ['POST', 'slots/test?with=parent', 'key'],
  ] as const) {
    t.equal((await ask(method, route, body)).status, 400, route);
  }
  t.equal((await ask('POST', 'slots?slot=keyfile', 'key')).status, 404);
});

test('a query parameter counts once, and a number is digits', async (t) => {
  const { path, service } = await serve(t);
  for (const query of [
    'limit=5&limit=6',
    'limit=1e1',
    'limit=%205',
    'limit=0x5',
    'limit=',
    'limit=5.0',
    'limit=0',
    'limit=10001',
  ]) {
    const { status, body } = await raw(path, 'GET', `/v1/audit?${query}`);
    t.equal(status, 400, query);
    t.match(body.detail, /wrong query parameter: limit/, query);
  }
  t.same(service.asked, []);
  t.equal((await raw(path, 'GET', '/v1/audit?limit=10000')).status, 200);
  t.same(service.asked, [10_000]);
});

test('the socket is born with mode 0600, replaces a stale one and leaves a live one alone', async (t) => {
  const { path, service } = await serve(t);
  t.equal(statSync(path).mode & 0o777, 0o600);
  await t.rejects(listen(path, service), { code: 'busy' });
  const stale = `${path}-stale`;
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(stale, resolve));
  // A second name survives the close, as the socket of a killed daemon does.
  linkSync(stale, `${stale}-kept`);
  await new Promise((resolve) => dead.close(resolve));
  renameSync(`${stale}-kept`, stale);
  const server = await listen(stale, service);
  t.same(await new Client(stale).call('leases'), [lease]);
  await server.close();
});

test('a held lease lives as long as its connection', async (t) => {
  const { service, client } = await serve(t);
  const until = async (holds: () => boolean): Promise<boolean> => {
    for (let i = 0; i < 200 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
    return holds();
  };
  const input = new SecretInput();
  input.append(Buffer.from('secret'));
  const first = await client.holdLease('users/alice', { purpose: 'p' }, input);
  t.same(first.lease.bound_to, ['connection']);
  t.same(service.asked.at(-1), [
    { ...plainRequest, purpose: 'p' },
    { uid: process.getuid?.(), gid: process.getgid?.(), pid: process.pid },
  ]);
  t.same(service.released, []);
  first.release();
  t.ok(await until(() => service.released.length > 0), 'released when the caller goes');
  await first.ended;
  const again = new SecretInput();
  again.append(Buffer.from('secret'));
  const second = await client.holdLease('users/alice', {}, again);
  let over = false;
  void second.ended.then(() => {
    over = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.notOk(over);
  service.endHeld();
  t.ok(await until(() => over), 'told when it ends by itself');
  for (const one of [input, again]) one.wipe();
  for (const one of service.secrets) t.throws(() => one.view, /wiped/, 'and no secret is kept');
});

test('the names in a path and in its query differ: a call gives both at once', async (t) => {
  for (const name of routeNames) {
    const query = queryOf(name).map((parameter) => parameter.name);
    const both = parametersOf(routeOf(name)).filter((parameter) => query.includes(parameter));
    t.same(both, [], name);
  }
});
