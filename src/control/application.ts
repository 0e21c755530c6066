import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type Context, Hono } from 'hono';
import type { z } from 'zod';
import { Failure } from '../base/failure.js';
import type { Log } from '../base/log.js';
import type { SecretInput } from '../libc/memory.js';
import { credentialsOf } from './connections.js';
import { type Caller, handlers } from './handlers.js';
import { OVERWRITE, type ParserBuffer } from './parser-buffer.js';
import { problemReply } from './problem.js';
import { routeSchemas } from './route-schemas.js';
import { parametersOf, pathWith, type RouteName, routeNames, routeOf } from './routes.js';
import { overwriteStray, sendShares, withSecret } from './secret-bodies.js';
import { type ControlService, Issued, type Peer } from './service.js';

type Env = { Bindings: HttpBindings; Variables: { requestId: string; peer: Peer; overwritten?: true } };

function peerOf(incoming: IncomingMessage): Peer {
  const peer = credentialsOf(incoming.socket);
  if (typeof peer === 'number') throw new Failure('forbidden', 'the caller cannot be identified');
  // Grants for other callers come with the grants issue: until then the socket is root's alone.
  if (peer.uid !== 0 && peer.uid !== process.getuid?.()) {
    throw new Failure('forbidden', `uid ${peer.uid} has no grant here`, { reason: 'caller_without_grant' });
  }
  return { ...peer, connection: incoming.socket };
}

function queryOf(c: Context<Env>, schema: z.ZodType): object {
  const twice = Object.entries(c.req.queries()).find(([, values]) => values.length > 1)?.[0];
  if (twice !== undefined) throw new Failure('usage', `wrong query parameter: ${twice}: more than once`);
  const parsed = schema.safeParse(c.req.query());
  if (parsed.success) return parsed.data as object;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join('.') ?? '';
  const what = `${where === '' ? '' : `${where}: `}${issue?.message ?? 'not valid'}`;
  throw new Failure('usage', `wrong query parameter: ${what}`);
}

/**
 * What a handler is asked: the query as its schema has it, the names in the path, and of these the scope. That is found
 * when the handler takes it: what is wrong with the rest of the request is said first, whatever scope it names.
 */
function askedOf(c: Context<Env>, name: RouteName, service: ControlService): object {
  const asked = { ...queryOf(c, routeSchemas[name].query) };
  for (const parameter of parametersOf(routeOf(name))) {
    const text = c.req.param(parameter) ?? '';
    const get = parameter === 'scope' ? () => service.scopes.resolve(text) : () => text;
    Object.defineProperty(asked, parameter, { get });
  }
  return asked;
}

function answer(c: Context<Env>, name: RouteName, value: unknown): Response {
  const { status, list } = routeOf(name);
  if (value instanceof Response) return value;
  if (value instanceof Issued) {
    if (value.shares === undefined) return c.json(value.view, status);
    sendShares(c.env.outgoing, value.shares, value.view, { status, requestId: c.get('requestId') });
    return RESPONSE_ALREADY_SENT;
  }
  return c.json(list === undefined ? (value as object) : { [list]: value }, status);
}

type Handler = (service: ControlService, asked: object, caller: Caller<unknown>) => unknown;

/** All routes, each with what every caller must pass: who asks, the body, the query, the scope. */
export function application(service: ControlService, parser: ParserBuffer, log: Log): Hono<Env> {
  const app = new Hono<Env>();

  app.use(async (c, next) => {
    const requestId = randomUUID();
    c.set('requestId', requestId);
    c.header('x-request-id', requestId);
    c.set('peer', peerOf(c.env.incoming));
    await next();
    if (c.get('overwritten') !== true) await overwriteStray(c.env.incoming, parser);
  });
  app.onError((error, c) => {
    const requestId = c.get('requestId') ?? '';
    const { failure, reply } = problemReply(error, requestId);
    if (failure.code === 'internal') {
      log.error('a request failed unexpectedly', { error, request_id: requestId });
    }
    return reply;
  });
  app.notFound((c) => {
    const failure = new Failure('not_found', `no route ${c.req.method} ${c.req.path}`);
    return problemReply(failure, c.get('requestId') ?? '').reply;
  });

  for (const name of routeNames) {
    const route = routeOf(name);
    const handler = handlers[name] as Handler;
    app.on(
      route.method.toUpperCase(),
      pathWith(route, (parameter) => `:${parameter}`),
      async (c) => {
        const handle = async (secret: SecretInput | undefined): Promise<unknown> => {
          const asked = askedOf(c, name, service);
          const { incoming, outgoing } = c.env;
          const unanswered = (undo: () => void): void => {
            if (outgoing.destroyed || incoming.socket.destroyed) undo();
            else {
              outgoing.once('close', () => {
                if (!outgoing.writableFinished) undo();
              });
            }
          };
          return handler(service, asked, {
            peer: c.get('peer'),
            socket: incoming.socket,
            secret,
            unanswered,
          });
        };
        if (route.secret !== true) return answer(c, name, await handle(undefined));
        c.set('overwritten', true);
        return answer(c, name, await withSecret(c.env.incoming, parser, handle));
      },
    );
  }
  app.post(OVERWRITE, (c) => c.body(null, 204));
  return app;
}
