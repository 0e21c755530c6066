import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { type Schema, Validator } from '@cfworker/json-schema';
import { parseDuration } from '../../base/duration.js';
import { Failure, isFailureCode } from '../../base/failure.js';
import type { SecretInput } from '../../libc/memory.js';
import type { Asked, Reply, SecretRoute } from '../calls.js';
import { pathWith, RESULT_HEADER, type RouteName, routeOf } from '../routes.js';
import type { LeaseEnd, LeaseView, Problem } from '../schemas.js';
import { replySchemas } from './reply-schemas.js';

/** A listing of many scopes is shorter. */
const REPLY_LIMIT = 64 << 20;

const HEADER_LIMIT = 1 << 20;

/** Millions of files are unlinked one by one. */
const SHRED_MS = 24 * 3_600_000;

/** A lease that lives as long as its connection. */
export interface Held {
  readonly lease: LeaseView;
  /** Undefined: the connection ended without a word. */
  readonly ended: Promise<LeaseEnd | undefined>;
  release(): void;
}

/** What of a lease is asked for beside its scope (API.md), as text. */
export type LeaseOptions = Omit<Asked<'createLease'>, 'scope' | 'hold'>;
/** Where the secret comes from, if it is not the body as it stands. */
export type Whence = Pick<Asked<'createLease'>, 'with'>;
/** How a slot's new secret is made. */
export type SecretOptions = Asked<'rotateSlot'> extends infer A ? Omit<A, 'scope' | 'slot'> : never;

/** A call's arguments behind its route: what it asks, its secret, and where shares go that the reply has. */
type Rest<N extends RouteName> = N extends SecretRoute
  ? [asked: Asked<N>, secret: SecretInput, shares?: SecretInput]
  : Record<never, never> extends Asked<N>
    ? [asked?: Asked<N>]
    : [asked: Asked<N>];

/** The reply's side of one request. */
interface Exchange<T> {
  readonly outgoing: ClientRequest;
  resolve(value: T): void;
  reject(error: unknown): void;
  /** The daemon answered in time: from now on it may take as long as it likes. */
  arrived(): void;
}

/** The typed client of the daemon's Unix socket. Every failure is a `Failure` with the daemon's code and hint. */
export class Client {
  readonly #socket: string;
  readonly #timeout: number;

  /** `timeout` in milliseconds, for a whole call. */
  constructor(socket: string, timeout = 60_000) {
    this.#socket = socket;
    this.#timeout = timeout;
  }

  /** Calls a route: `call('lock', { scope: 'users/alice', wait: '5s' })`. */
  call<N extends RouteName>(name: N, ...[asked, secret, shares]: Rest<N>): Promise<Reply<N>> {
    return this.#exchange<Reply<N>>(name, asked ?? {}, secret, (reply, { resolve, reject }) => {
      const parts: Buffer[] = [];
      let length = 0;
      const result = reply.headers[RESULT_HEADER];
      reply.on('data', (part: Buffer) => {
        length += part.length;
        if (length > REPLY_LIMIT) reply.destroy();
        if (result === undefined) parts.push(part);
        // Overwritten there.
        else if (shares?.append(part) !== true) part.fill(0);
      });
      reply.on('end', () => {
        try {
          const text = typeof result === 'string' ? unescaped(result) : Buffer.concat(parts).toString();
          resolve(readReply(name, reply.statusCode, text) as Reply<N>);
        } catch (error) {
          reject(error);
        }
      });
      reply.on('error', reject);
    });
  }

  /** A lease bound to this connection. `ended` resolves when it is over, whatever ended it. */
  holdLease(scope: string, options: LeaseOptions, secret: SecretInput): Promise<Held> {
    const asked = { ...options, scope, hold: '1' };
    return this.#exchange<Held>('createLease', asked, secret, (reply, exchange) => {
      const { outgoing, resolve, reject, arrived } = exchange;
      let text = '';
      let over: (end: LeaseEnd | undefined) => void = () => {};
      const ended = new Promise<LeaseEnd | undefined>((done) => {
        over = done;
      });
      reply.setEncoding('utf8');
      reply.on('data', (part: string) => {
        const first = !text.includes('\n');
        text += part;
        if (reply.statusCode !== 201 || !first || !text.includes('\n')) return;
        arrived();
        try {
          const lease = readReply('createLease', reply.statusCode, text.split('\n', 1)[0] as string);
          resolve({ lease: lease as LeaseView, ended, release: () => outgoing.destroy() });
        } catch (error) {
          outgoing.destroy(error as Error);
        }
      });
      reply.on('close', () => {
        over(endOf(text));
        // Unheard where the lease began.
        reject(problemOf(text, reply.statusCode ?? 0));
      });
      reply.on('error', () => {});
    });
  }

  /** One request; `hear` takes its reply. What cannot be reached, or is late, fails. */
  #exchange<T>(
    name: RouteName,
    asked: object,
    secret: SecretInput | undefined,
    hear: (reply: IncomingMessage, exchange: Exchange<T>) => void,
  ): Promise<T> {
    const route = routeOf(name);
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(asked)) if (value !== undefined) query.set(key, String(value));
    const path = pathWith(route, (parameter) => {
      const value = query.get(parameter) ?? '';
      query.delete(parameter);
      return encodeURIComponent(value);
    });
    const limit = this.#timeout + patience(name, query);
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          socketPath: this.#socket,
          // A kept connection may have been closed by the daemon just when it is used again.
          agent: false,
          method: route.method.toUpperCase(),
          path: query.size > 0 ? `${path}?${query}` : path,
          // The JSON of a reply with shares is a header.
          maxHeaderSize: HEADER_LIMIT,
          headers:
            secret === undefined
              ? {}
              : { 'content-type': 'application/octet-stream', 'content-length': secret.length },
        },
        (reply) => hear(reply, { outgoing, resolve, reject, arrived: () => clearTimeout(timer) }),
      );
      const timer = setTimeout(() => {
        outgoing.destroy(this.#late());
      }, limit);
      outgoing.on('close', () => clearTimeout(timer));
      outgoing.on('error', (error: NodeJS.ErrnoException) =>
        reject(error instanceof Failure ? error : this.#unreachable(error)),
      );
      outgoing.end(secret?.view);
    });
  }

  #late(): Failure {
    return new Failure('unreachable', `the daemon did not answer within ${this.#timeout / 1000} s`, {
      reason: 'daemon_late',
    });
  }
  #unreachable(error: NodeJS.ErrnoException): Failure {
    const refuses = error.code === 'EACCES' || error.code === 'EPERM';
    return new Failure(
      'unreachable',
      `no daemon answers on ${this.#socket} (${error.code ?? error.message})`,
      { reason: refuses ? 'daemon_refuses' : 'daemon_gone' },
    );
  }
}

/** The daemon is asked to take so long (ms): then it has its time yet. */
function patience(name: RouteName, query: URLSearchParams): number {
  if (name === 'shred') return SHRED_MS;
  const wait = query.get('wait');
  // Twice: until nothing is open, and until all is written.
  return wait === null ? 0 : 2 * parseDuration(wait);
}

/** A header's text. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

const fits = (schema: Schema, value: unknown): boolean =>
  new Validator(schema, '2020-12').validate(value).valid;

/** A reply's JSON, of a list in a field the list. @throws Failure what was refused; unreachable: not what this version reads */
function readReply(name: RouteName, status = 0, text = ''): unknown {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Failure('unreachable', `the daemon's answer is not JSON (status ${status})`);
  }
  // 202: more shares are needed; nothing was done yet.
  if (status < 200 || status > 299 || status === 202) throw failureOf(body, status);
  if (!fits(replySchemas[name], body)) {
    throw new Failure('unreachable', 'the daemon speaks another version of the interface', {
      reason: 'daemon_of_other_version',
    });
  }
  const { list } = routeOf(name);
  return list === undefined ? body : (body as Record<string, unknown>)[list];
}

function problemOf(text: string, status: number): Failure {
  try {
    return failureOf(JSON.parse(text), status);
  } catch {
    return new Failure('unreachable', 'the daemon ended the connection');
  }
}

/** What a daemon refused: a problem document (RFC 9457). */
function failureOf(body: unknown, status: number): Failure {
  if (!fits(replySchemas.problem, body)) {
    return new Failure('internal', `the daemon answered with status ${status}`);
  }
  const { code, detail, hint, type: _type, title: _title, status: _status, ...details } = body as Problem;
  return new Failure(isFailureCode(code) ? code : 'internal', detail, { hint, details });
}

/** The second line of a held lease. */
function endOf(text: string): LeaseEnd | undefined {
  try {
    return JSON.parse(text.split('\n', 2)[1] ?? '') as LeaseEnd;
  } catch {
    return undefined;
  }
}
