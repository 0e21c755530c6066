import { randomUUID } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { createAdaptorServer, type HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { z } from 'zod';
import { parseDuration } from '../base/duration.js';
import { Failure } from '../base/failure.js';
import { SecretInput } from '../libc/memory.js';
import { peerCredentials } from '../libc/system.js';
import { answers } from './client.js';
import { type Problem, queries } from './schemas.js';
import type { ControlService, Peer } from './service.js';

/** A body is a secret of at most 4,096 bytes and perhaps a newline. */
const BODY_LIMIT = 4097;
const HEADERS_MS = 5_000;
const REQUEST_MS = 30_000;
const CONNECTIONS = 256;

type Env = { Bindings: HttpBindings; Variables: { requestId: string; peer: Peer } };

function problem(failure: Failure, requestId: string): Problem {
  return {
    type: `urn:scopefs:problem:${failure.code}`,
    title: failure.title,
    status: failure.httpStatus,
    code: failure.code,
    detail: failure.message,
    ...(failure.hint === undefined ? {} : { hint: failure.hint }),
    ...(failure.details ?? {}),
    request_id: requestId,
  };
}

/** SO_PEERCRED of the connection. Node has no call for it: the descriptor lies in the socket's handle. */
function peerOf(incoming: IncomingMessage): Peer {
  const handle = (incoming.socket as Socket & { _handle?: { fd?: number } })._handle;
  const peer = peerCredentials(handle?.fd ?? -1);
  if (typeof peer === 'number') throw new Failure('forbidden', 'the caller cannot be identified');
  return peer;
}

/** The raw body, into secret memory; every chunk is overwritten. */
function readSecret(incoming: IncomingMessage): Promise<SecretInput> {
  return new Promise((resolve, reject) => {
    const secret = new SecretInput();
    const fail = (failure: Failure): void => {
      secret.wipe();
      reject(failure);
    };
    incoming.on('data', (chunk: Buffer) => {
      if (secret.length + chunk.length > BODY_LIMIT) {
        chunk.fill(0);
        incoming.removeAllListeners('data');
        incoming.resume();
        fail(new Failure('too_large', `the secret is longer than ${BODY_LIMIT - 1} bytes`));
      } else {
        secret.append(chunk);
      }
    });
    incoming.on('end', () => resolve(secret));
    incoming.on('error', () => fail(new Failure('io', 'the request was cut short')));
    incoming.on('aborted', () => fail(new Failure('io', 'the request was cut short')));
  });
}

function query<T extends z.ZodType>(c: Context<Env>, schema: T): z.infer<T> {
  const parsed = schema.safeParse(c.req.query());
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join('.') ?? '';
  const what = `${where === '' ? '' : `${where}: `}${issue?.message ?? 'not valid'}`;
  throw new Failure('usage', `wrong query parameter: ${what}`);
}

/** What node's HTTP parser reads at once: the size of the buffer in which it keeps a copy of a body. */
const PARSER_BUFFER = 65_536;

/**
 * Overwrites the copy of a key body that node's HTTP parser keeps in its buffer (measured: through 20 empty requests):
 * a request to ourselves with as many zeros. Failing is no reason to fail the caller; the next key body tries again.
 */
function overwriteParser(socket: string): Promise<void> {
  return new Promise((resolve) => {
    const outgoing = request(
      { socketPath: socket, method: 'POST', path: OVERWRITE, agent: false },
      (incoming) => {
        incoming.resume();
        incoming.on('close', () => resolve());
      },
    );
    outgoing.on('error', () => resolve());
    outgoing.end(Buffer.alloc(2 * PARSER_BUFFER));
  });
}
const OVERWRITE = '/internal/overwrite';

async function withSecret<Q extends z.ZodType, T>(
  c: Context<Env>,
  socket: string,
  schema: Q,
  use: (parameters: z.infer<Q>, secret: SecretInput) => Promise<T>,
): Promise<T> {
  let secret: SecretInput | undefined;
  try {
    // What is refused may be a key all the same.
    secret = await readSecret(c.env.incoming);
    if (c.req.header('content-type') !== 'application/octet-stream') {
      throw new Failure('usage', 'a secret is sent as application/octet-stream');
    }
    return await use(query(c, schema), secret);
  } finally {
    secret?.wipe();
    await overwriteParser(socket);
  }
}

const wait = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : parseDuration(text);

/** The routes of PRODUCT.md that exist today. */
function routes(service: ControlService, socket: string): Hono<Env> {
  const app = new Hono<Env>();

  app.use(async (c, next) => {
    const requestId = randomUUID();
    c.set('requestId', requestId);
    c.header('x-request-id', requestId);
    const peer = peerOf(c.env.incoming);
    // Grants for other callers come with the grants issue: until then the socket is root's alone.
    if (peer.uid !== 0 && peer.uid !== process.getuid?.()) {
      throw new Failure('forbidden', `uid ${peer.uid} has no grant here`, { hint: 'ask as root' });
    }
    c.set('peer', peer);
    await next();
  });
  app.onError((error, c) => {
    const failure =
      error instanceof Failure
        ? error
        : new Failure('internal', 'an unexpected error; the daemon log has it', { cause: error });
    if (failure.code === 'internal') process.stderr.write(`scopefs: ${String(error.stack)}\n`);
    const body = problem(failure, c.get('requestId') ?? '');
    return new Response(JSON.stringify(body), {
      status: failure.httpStatus,
      headers: {
        'content-type': 'application/problem+json',
        'x-request-id': body.request_id,
        ...(typeof body.retry_after === 'number' ? { 'retry-after': String(body.retry_after) } : {}),
      },
    });
  });
  app.notFound((c) => {
    const failure = new Failure('not_found', `no route ${c.req.method} ${c.req.path}`);
    return new Response(JSON.stringify(problem(failure, c.get('requestId') ?? '')), {
      status: 404,
      headers: { 'content-type': 'application/problem+json' },
    });
  });

  app.get('/v1/version', async (c) => c.json(await service.version()));
  app.get('/v1/scopes', async (c) => {
    query(c, queries.none);
    return c.json({ scopes: await service.scopes() });
  });
  app.post('/v1/scopes', (c) =>
    withSecret(c, socket, queries.createScope, async ({ path, slot }, secret) =>
      c.json(await service.createScope(path, slot, secret, c.get('peer')), 201),
    ),
  );
  app.get('/v1/scopes/:scope', async (c) => c.json(await service.scope(c.req.param('scope'))));
  app.post('/v1/scopes/:scope/lock', async (c) => {
    const options = query(c, queries.lock);
    const reason = options.reason ?? 'asked';
    const reference = c.req.param('scope');
    return c.json({ receipts: await service.lock(reference, reason, wait(options.wait)) });
  });
  app.post('/v1/lock', async (c) => {
    const options = query(c, queries.lock);
    const reason = options.reason ?? 'asked';
    return c.json({ receipts: await service.lockAll(reason, wait(options.wait)) });
  });
  app.get('/v1/leases', (c) => c.json({ leases: service.leases() }));
  app.post('/v1/leases', (c) =>
    withSecret(c, socket, queries.createLease, async ({ scope, ttl, purpose }, secret) => {
      const request = { scope, ttl: wait(ttl), purpose: purpose ?? '' };
      return c.json(await service.createLease(request, secret, c.get('peer')), 201);
    }),
  );
  app.delete('/v1/leases/:lease', async (c) =>
    c.json({ receipts: await service.endLease(c.req.param('lease'), c.get('peer')) }),
  );
  app.get('/v1/scopes/:scope/slots', async (c) => {
    query(c, queries.none);
    return c.json({ slots: await service.slotsOf(c.req.param('scope')) });
  });
  app.post('/v1/scopes/:scope/slots', (c) =>
    withSecret(c, socket, queries.addSlot, async ({ slot, label }, secret) =>
      c.json(await service.addSlot(c.req.param('scope'), { type: slot, label }, secret, c.get('peer')), 201),
    ),
  );
  app.post('/v1/scopes/:scope/slots/test', (c) =>
    withSecret(c, socket, queries.none, async (_none, secret) =>
      c.json(await service.testSlot(c.req.param('scope'), secret, c.get('peer'))),
    ),
  );
  app.delete('/v1/scopes/:scope/slots/:slot', async (c) => {
    query(c, queries.none);
    return c.json(await service.removeSlot(c.req.param('scope'), c.req.param('slot'), c.get('peer')));
  });
  app.post('/v1/scopes/:scope/slots/:slot/rotate', (c) =>
    withSecret(c, socket, queries.none, async (_none, secret) =>
      c.json(await service.rotateSlot(c.req.param('scope'), c.req.param('slot'), secret, c.get('peer'))),
    ),
  );
  app.get('/v1/audit', (c) => {
    const { limit } = query(c, queries.audit);
    return c.json({ entries: service.audit(limit ?? 100) });
  });
  app.post(OVERWRITE, async (c) => {
    for await (const _part of c.env.incoming) {
      // Only that it passes through the parser matters.
    }
    return c.json({});
  });
  app.post('/v1/unmount', async (c) => {
    await service.unmount();
    return c.json({ unmounted: true });
  });
  return app;
}

export interface ControlServer {
  close(): Promise<void>;
}

/** Listens on a Unix socket that is born with mode 0600. A stale one is replaced. */
export async function listen(path: string, service: ControlService): Promise<ControlServer> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  if (existsSync(path)) {
    if (!lstatSync(path).isSocket()) {
      throw new Failure('conflict', `${path} exists and is not a socket`, {
        hint: 'name another one with --host',
      });
    }
    if (await answers(path)) throw new Failure('busy', `${path} is in use by another daemon`);
    unlinkSync(path);
  }
  const server = createAdaptorServer({
    fetch: routes(service, path).fetch,
    serverOptions: {
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: HEADERS_MS,
      maxHeaderSize: 16_384,
    },
  });
  server.maxConnections = CONNECTIONS;
  // bind(2) gives a socket 0777 less the umask.
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => resolve());
    });
  } finally {
    process.umask(umask);
  }
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if (existsSync(path)) unlinkSync(path);
      }),
  };
}
