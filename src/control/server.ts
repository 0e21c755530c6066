import { randomUUID } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { createAdaptorServer, type HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type Context, Hono } from 'hono';
import type { z } from 'zod';
import { parseDuration } from '../base/duration.js';
import { Failure } from '../base/failure.js';
import { type Log, silent } from '../base/log.js';
import { parseBudget } from '../keyring/leases/budgets.js';
import { ANY, parseVisibility, visibilityText } from '../keyring/leases/visibility.js';
import { parseWindow, type WindowTerms } from '../keyring/slots/windows.js';
import { SecretInput } from '../libc/memory.js';
import { adviceOf } from './advice.js';
import { answers } from './client.js';
import { credentialsOf, limitConnections } from './connections.js';
import { heldLease } from './held-lease.js';
import { openApi } from './openapi.js';
import { OVERWRITE, ParserBuffer, refuseBroken } from './parser-buffer.js';
import { RESULT_HEADER, type Route, type RouteName, routeNames, routeOf, type routes } from './routes.js';
import type { Problem } from './schemas.js';
import {
  type ControlService,
  Issued,
  type Key,
  type LeaseRequest,
  type Peer,
  type SecretRequest,
} from './service.js';

/** A body is a secret of at most 4,096 bytes and perhaps a newline. */
const BODY_LIMIT = 4097;
const HEADERS_MS = 5_000;
const REQUEST_MS = 30_000;

type Env = { Bindings: HttpBindings; Variables: { requestId: string; peer: Peer; overwritten?: true } };

function problem(failure: Failure, requestId: string): Problem {
  return {
    type: `urn:scopefs:problem:${failure.code}`,
    title: failure.title,
    status: failure.httpStatus,
    code: failure.code,
    detail: failure.message,
    hint: adviceOf(failure),
    ...(failure.details ?? {}),
    request_id: requestId,
  };
}

function peerOf(incoming: IncomingMessage): Peer {
  const peer = credentialsOf(incoming.socket);
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
  const twice = Object.entries(c.req.queries()).find(([, values]) => values.length > 1)?.[0];
  if (twice !== undefined) throw new Failure('usage', `wrong query parameter: ${twice}: more than once`);
  const parsed = schema.safeParse(c.req.query());
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join('.') ?? '';
  const what = `${where === '' ? '' : `${where}: `}${issue?.message ?? 'not valid'}`;
  throw new Failure('usage', `wrong query parameter: ${what}`);
}

async function withSecret<Q extends z.ZodType, T>(
  c: Context<Env>,
  parser: ParserBuffer,
  schema: Q,
  use: (parameters: z.infer<Q>, secret: SecretInput) => Promise<T>,
): Promise<T> {
  let secret: SecretInput | undefined;
  let overwritten: Promise<void> | undefined;
  c.set('overwritten', true);
  try {
    // What is refused may be a key all the same.
    secret = await readSecret(c.env.incoming);
    // The body has passed: beside what it is for.
    overwritten = parser.overwrite();
    if (c.req.header('content-type') !== 'application/octet-stream') {
      throw new Failure('usage', 'a secret is sent as application/octet-stream');
    }
    return await use(query(c, schema), secret);
  } finally {
    secret?.wipe();
    await (overwritten ?? parser.overwrite());
  }
}

const milliseconds = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : parseDuration(text);

/** Where a scope's secret comes from: the body, shares that it has, or its parent. */
function whence(from: 'parent' | 'share' | undefined, secret: SecretInput, terms = ''): Key {
  if (from === undefined) return secret;
  if (from === 'share') return { shares: secret, terms };
  if (secret.length === 0) return from;
  throw new Failure('usage', 'with=parent and a secret: one of them');
}

/** A moment that is still to come, as milliseconds since 1970. */
function future(text: string): number {
  const moment = Date.parse(text);
  if (moment > Date.now()) return moment;
  throw new Failure('usage', `until: ${text} is over`, { reason: 'moment_over' });
}

const windowOf = (text: string | undefined): WindowTerms | undefined =>
  text === undefined ? undefined : parseWindow(text);

function secretRequest(asked: {
  sealed?: string | undefined;
  shares?: number | undefined;
  threshold?: number | undefined;
}): SecretRequest {
  return { sealed: asked.sealed, shares: asked.shares, needed: asked.threshold };
}

/**
 * A reply that carries secrets: they are the body, written from secret memory and wiped (a Response would copy them),
 * and the JSON is in a header.
 */
function issue(c: Context<Env>, { view, shares }: Issued<unknown>, status: 200 | 201): Response {
  if (shares === undefined) return c.json(view as object, status);
  const { outgoing } = c.env;
  outgoing.once('close', () => shares.wipe());
  // The caller is gone: a renewed share can be asked for again, a slot be made anew.
  if (outgoing.destroyed || outgoing.closed || outgoing.socket?.destroyed !== false) shares.wipe();
  else {
    outgoing.writeHead(status, {
      'content-type': 'application/octet-stream',
      'content-length': shares.length,
      'cache-control': 'no-store',
      'x-request-id': c.get('requestId'),
      // Text that is not Latin-1 may not stand in a header.
      [RESULT_HEADER]: encodeURIComponent(JSON.stringify(view)),
    });
    outgoing.end(shares.view);
  }
  return RESPONSE_ALREADY_SENT;
}

/** What a handler gets beside its validated query: the names in the path and who asks. */
interface Asked {
  parameter(name: string): string;
  readonly peer: Peer;
  readonly socket: Socket;
}
type Handler = (service: ControlService, query: unknown, asked: Asked, secret: SecretInput) => unknown;
type HandlerOf<R extends Route> = (
  service: ControlService,
  query: z.infer<R['query']>,
  asked: Asked,
  /** The body, of routes that have one. */
  secret: SecretInput,
) => unknown;

/** For handlers of routes without a body. */
const NO_SECRET = undefined as unknown as SecretInput;

const handlers: { [Name in RouteName]: HandlerOf<(typeof routes)[Name]> } = {
  openapi: () => openApi('1'),
  version: (service) => service.version(),
  scopes: async (service) => ({ scopes: await service.scopes() }),
  createScope: (service, { path, slot, ...asked }, { peer }, secret) =>
    service.createScope(path, { type: slot, ...secretRequest(asked) }, secret, peer),
  scope: (service, _query, { parameter }) => service.scope(parameter('scope')),
  shred: (service, { yes }, { parameter, peer }) => service.shred(parameter('scope'), yes, peer),
  holders: (service, _query, { parameter }) => ({ holders: service.holders(parameter('scope')) }),
  lock: async (service, { reason, wait }, { parameter }) => ({
    receipts: await service.lock(parameter('scope'), reason ?? 'asked', milliseconds(wait)),
  }),
  lockAll: async (service, { reason, wait }) => ({
    receipts: await service.lockAll(reason ?? 'asked', milliseconds(wait)),
  }),
  leases: async (service) => ({ leases: await service.leases() }),
  createLease: (service, asked, { peer, socket }, secret) => {
    const {
      scope,
      purpose,
      ttl,
      max_ttl: maxTtl,
      idle,
      until,
      pid,
      visible_to: to,
      ro,
      budget,
      hold,
    } = asked;
    const request: LeaseRequest = {
      scope,
      purpose: purpose ?? '',
      ttl: milliseconds(ttl),
      maxTtl: milliseconds(maxTtl),
      idle: milliseconds(idle),
      until: until === undefined ? undefined : future(until),
      pid,
      visibility: to === undefined ? ANY : parseVisibility(to),
      readOnly: ro !== undefined,
      budget: budget === undefined ? undefined : parseBudget(budget),
    };
    const { visibility, readOnly } = request;
    const terms = `${visibilityText(visibility)}, ${readOnly ? 'read-only' : 'to read and write'}`;
    const given = whence(asked.with, secret, terms);
    return hold === undefined
      ? service.createLease(request, given, peer)
      : heldLease(service, request, given, peer, socket);
  },
  lease: (service, _query, { parameter }) => service.lease(parameter('lease')),
  changeLease: (service, { ttl }, { parameter, peer }) =>
    service.changeLease(parameter('lease'), parseDuration(ttl), peer),
  endLease: async (service, _query, { parameter, peer }) => ({
    receipts: await service.endLease(parameter('lease'), peer),
  }),
  slots: async (service, _query, { parameter }) => ({ slots: await service.slotsOf(parameter('scope')) }),
  addSlot: (service, { slot, label, not_after: until, window, ...asked }, { parameter, peer }, secret) => {
    const notAfter = until === undefined ? undefined : Math.floor(future(until) / 1000);
    const wanted = { type: slot, label, notAfter, window: windowOf(window), ...secretRequest(asked) };
    return service.addSlot(parameter('scope'), wanted, secret, peer);
  },
  testSlot: (service, query, { parameter, peer }, secret) =>
    service.testSlot(parameter('scope'), whence(query.with, secret), peer),
  removeSlot: (service, _query, { parameter, peer }) =>
    service.removeSlot(parameter('scope'), parameter('slot'), peer),
  setWindow: (service, { window }, { parameter, peer }) =>
    service.setWindow(parameter('scope'), parameter('slot'), windowOf(window), peer),
  rotateSlot: (service, asked, { parameter, peer }, secret) =>
    service.rotateSlot(parameter('scope'), parameter('slot'), secret, secretRequest(asked), peer),
  renewShare: (service, _query, { parameter, peer }, secret) =>
    service.renewShare(parameter('scope'), secret, peer),
  audit: (service, { limit }) => ({ entries: service.audit(limit ?? 100) }),
  unmount: async (service) => {
    await service.unmount();
    return { unmounted: true };
  },
};

function application(service: ControlService, parser: ParserBuffer, log: Log): Hono<Env> {
  const app = new Hono<Env>();

  app.use(async (c, next) => {
    const requestId = randomUUID();
    c.set('requestId', requestId);
    c.header('x-request-id', requestId);
    const peer = peerOf(c.env.incoming);
    // Grants for other callers come with the grants issue: until then the socket is root's alone.
    if (peer.uid !== 0 && peer.uid !== process.getuid?.()) {
      throw new Failure('forbidden', `uid ${peer.uid} has no grant here`, { reason: 'caller_without_grant' });
    }
    c.set('peer', peer);
    await next();
    // A body where none belongs may be a key all the same, sent to the wrong route.
    const { headers } = c.env.incoming;
    const body = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
    if (!body || c.get('overwritten') === true) return;
    c.env.incoming.on('data', (part: Buffer) => part.fill(0));
    await parser.overwrite();
  });
  app.onError((error, c) => {
    const failure =
      error instanceof Failure
        ? error
        : new Failure('internal', 'an unexpected error; the daemon log has it', { cause: error });
    if (failure.code === 'internal')
      log.error('a request failed unexpectedly', { error, request_id: c.get('requestId') });
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

  for (const name of routeNames) {
    const route = routeOf(name);
    const handler = handlers[name] as Handler;
    app.on(route.method.toUpperCase(), route.path.replaceAll(/\{(\w+)\}/g, ':$1'), async (c) => {
      const parameter = (which: string): string => c.req.param(which) ?? '';
      const asked = { parameter, peer: c.get('peer'), socket: c.env.incoming.socket };
      const done = (value: unknown): Response => {
        if (value instanceof Issued) return issue(c, value, route.status);
        return value instanceof Response ? value : c.json(value as object, route.status);
      };
      if (route.secret === true) {
        // The copy of the key is gone before anything is answered.
        return done(
          await withSecret(c, parser, route.query, async (parameters, secret) =>
            handler(service, parameters, asked, secret),
          ),
        );
      }
      return done(await handler(service, query(c, route.query), asked, NO_SECRET));
    });
  }
  app.post(OVERWRITE, (c) => c.body(null, 204));
  return app;
}

export interface ControlServer {
  close(): Promise<void>;
}

/** Listens on a Unix socket that is born with mode 0600. A stale one is replaced. */
export async function listen(
  path: string,
  service: ControlService,
  log: Log = silent,
): Promise<ControlServer> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  if (existsSync(path)) {
    if (!lstatSync(path).isSocket()) {
      throw new Failure('conflict', `${path} exists and is not a socket`, {
        reason: 'socket_path_taken',
      });
    }
    if (await answers(path)) throw new Failure('busy', `${path} is in use by another daemon`);
    unlinkSync(path);
  }
  const parser = new ParserBuffer(path);
  const server = createAdaptorServer({
    fetch: application(service, parser, log).fetch,
    serverOptions: {
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: HEADERS_MS,
      maxHeaderSize: 16_384,
    },
  });
  limitConnections(server as Server);
  refuseBroken(server as Server, parser);
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
        parser.close();
        if (existsSync(path)) unlinkSync(path);
      }),
  };
}
