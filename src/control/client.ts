import { request } from 'node:http';
import { connect } from 'node:net';
import type { z } from 'zod';
import { parseDuration } from '../base/duration.js';
import { Failure, isFailureCode } from '../base/failure.js';
import type { SecretInput } from '../libc/memory.js';
import { RESULT_HEADER } from './routes.js';
import {
  auditsSchema,
  holdersSchema,
  type LeaseView,
  leaseSchema,
  leasesSchema,
  problemSchema,
  receiptsSchema,
  scopeSchema,
  scopesSchema,
  shredSchema,
  slotChangeSchema,
  slotSchema,
  slotsSchema,
  unmountSchema,
  versionSchema,
} from './schemas.js';

/** Whether somebody listens on a Unix socket. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Nobody needs a reply longer than a listing of many scopes. */
const REPLY_LIMIT = 64 << 20;

const HEADER_LIMIT = 1 << 20;

/** Millions of files are unlinked one by one. */
const SHRED_MS = 24 * 3_600_000;

/** A lease that lives as long as its connection. */
export interface Held {
  readonly lease: LeaseView;
  readonly ended: Promise<void>;
  release(): void;
}

/** Where the secret comes from, if it is not the body as it stands. */
export interface Whence {
  readonly with?: 'parent' | 'share' | undefined;
}
/** Of a new secret. */
export interface SecretOptions {
  readonly sealed?: string | undefined;
  readonly shares?: string | undefined;
  readonly threshold?: string | undefined;
}

/** Query parameters of a lease (API.md), as text. */
export interface LeaseOptions extends Whence {
  readonly ttl?: string | undefined;
  readonly max_ttl?: string | undefined;
  readonly idle?: string | undefined;
  readonly until?: string | undefined;
  readonly pid?: string | undefined;
  readonly visible_to?: string | undefined;
  readonly ro?: '1' | undefined;
  readonly budget?: string | undefined;
  readonly purpose?: string | undefined;
}

interface Call {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: object;
  readonly secret?: SecretInput;
  /** The daemon is asked to wait so long (ms): then it has its time yet. */
  readonly wait?: number;
  /** Gets shares where the reply has them. */
  readonly shares?: SecretInput | undefined;
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

  #send(call: Call): Promise<{ status: number; body: Buffer }> {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(call.query ?? {})) {
      if (value !== undefined) query.set(key, value);
    }
    const suffix = query.size > 0 ? `?${query}` : '';
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          socketPath: this.#socket,
          // A kept connection may have been closed by the daemon just when it is used again.
          agent: false,
          method: call.method,
          path: call.path + suffix,
          // The JSON of a reply with shares is a header.
          maxHeaderSize: HEADER_LIMIT,
          headers:
            call.secret === undefined
              ? {}
              : {
                  'content-type': 'application/octet-stream',
                  'content-length': call.secret.length,
                },
        },
        (incoming) => {
          const parts: Buffer[] = [];
          let length = 0;
          const { statusCode: status = 0, headers } = incoming;
          const result = headers[RESULT_HEADER];
          incoming.on('data', (part: Buffer) => {
            length += part.length;
            if (length > REPLY_LIMIT) incoming.destroy();
            if (result === undefined) parts.push(part);
            // Overwritten there.
            else if (call.shares?.append(part) !== true) part.fill(0);
          });
          incoming.on('end', () => {
            const text = typeof result === 'string' ? Buffer.from(decodeURIComponent(result)) : undefined;
            resolve({ status, body: text ?? Buffer.concat(parts) });
          });
          incoming.on('error', reject);
        },
      );
      const timer = setTimeout(
        () => {
          outgoing.destroy(this.#late());
        },
        this.#timeout + (call.wait ?? 0),
      );
      outgoing.on('close', () => clearTimeout(timer));
      outgoing.on('error', (error: NodeJS.ErrnoException) =>
        reject(error instanceof Failure ? error : this.#unreachable(error)),
      );
      outgoing.end(call.secret?.view);
    });
  }

  #late(): Failure {
    return new Failure('unreachable', `the daemon did not answer within ${this.#timeout / 1000} s`, {
      reason: 'daemon_late',
    });
  }
  #unreachable(error: NodeJS.ErrnoException): Failure {
    const gone = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
    return new Failure(
      'unreachable',
      `no daemon answers on ${this.#socket} (${error.code ?? error.message})`,
      { reason: gone ? 'daemon_gone' : 'daemon_refuses' },
    );
  }

  async #call<T extends z.ZodType>(call: Call, schema: T): Promise<z.infer<T>> {
    const { status, body } = await this.#send(call);
    let parsed: unknown;
    try {
      parsed = JSON.parse(body.toString('utf8'));
    } catch {
      throw new Failure('unreachable', `the daemon's answer is not JSON (status ${status})`);
    }
    // 202: more shares are needed; nothing was done yet.
    if (status < 200 || status > 299 || status === 202) throw failureOf(parsed, status);
    const checked = schema.safeParse(parsed);
    if (checked.success) return checked.data;
    throw new Failure('unreachable', 'the daemon speaks another version of the interface', {
      reason: 'daemon_of_other_version',
    });
  }

  version() {
    return this.#call({ method: 'GET', path: '/v1/version' }, versionSchema);
  }
  async scopes() {
    return (await this.#call({ method: 'GET', path: '/v1/scopes' }, scopesSchema)).scopes;
  }
  scope(reference: string) {
    return this.#call({ method: 'GET', path: `/v1/scopes/${encode(reference)}` }, scopeSchema);
  }
  /** `shares` gets those of a threshold slot. */
  createScope(
    path: string,
    options: { slot: string } & SecretOptions,
    secret: SecretInput,
    shares?: SecretInput,
  ) {
    const query = { path, ...options };
    return this.#call({ method: 'POST', path: '/v1/scopes', query, secret, shares }, scopeSchema);
  }
  async leases() {
    return (await this.#call({ method: 'GET', path: '/v1/leases' }, leasesSchema)).leases;
  }
  createLease(scope: string, options: LeaseOptions, secret: SecretInput) {
    const query = { scope, ...options };
    return this.#call({ method: 'POST', path: '/v1/leases', query, secret }, leaseSchema);
  }
  lease(id: string) {
    return this.#call({ method: 'GET', path: `/v1/leases/${encode(id)}` }, leaseSchema);
  }
  /** A lease bound to this connection. `ended` resolves when it is over, whoever ended it. */
  holdLease(scope: string, options: LeaseOptions, secret: SecretInput): Promise<Held> {
    const query = new URLSearchParams({ scope, hold: '1' });
    for (const [key, value] of Object.entries(options)) if (value !== undefined) query.set(key, value);
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          socketPath: this.#socket,
          agent: false,
          method: 'POST',
          path: `/v1/leases?${query}`,
          headers: { 'content-type': 'application/octet-stream', 'content-length': secret.length },
        },
        (incoming) => {
          let text = '';
          let over: () => void = () => {};
          const ended = new Promise<void>((done) => {
            over = done;
          });
          incoming.setEncoding('utf8');
          incoming.on('data', (part: string) => {
            const first = !text.includes('\n');
            text += part;
            if (incoming.statusCode !== 201 || !first || !text.includes('\n')) return;
            clearTimeout(timer);
            const lease = leaseSchema.safeParse(JSON.parse(text.split('\n', 1)[0] as string));
            if (lease.success) resolve({ lease: lease.data, ended, release: () => outgoing.destroy() });
            else
              outgoing.destroy(
                new Failure('unreachable', 'the daemon speaks another version of the interface'),
              );
          });
          incoming.on('close', () => {
            over();
            // Nobody waits for this where the lease began.
            reject(problemOf(text, incoming.statusCode ?? 0));
          });
          incoming.on('error', () => {});
        },
      );
      const timer = setTimeout(() => outgoing.destroy(this.#late()), this.#timeout);
      outgoing.on('close', () => clearTimeout(timer));
      outgoing.on('error', (error: NodeJS.ErrnoException) =>
        reject(error instanceof Failure ? error : this.#unreachable(error)),
      );
      outgoing.end(secret.view);
    });
  }
  shred(reference: string, yes: string) {
    const query = { shred: '1', yes };
    const path = `/v1/scopes/${encode(reference)}`;
    return this.#call({ method: 'DELETE', path, query, wait: SHRED_MS }, shredSchema);
  }
  async holders(reference: string) {
    const path = `/v1/scopes/${encode(reference)}/holders`;
    return (await this.#call({ method: 'GET', path }, holdersSchema)).holders;
  }
  async lock(reference: string, options: { reason?: string | undefined; wait?: string | undefined }) {
    const path = `/v1/scopes/${encode(reference)}/lock`;
    const call = { method: 'POST', path, query: options, wait: waitOf(options) } as const;
    return (await this.#call(call, receiptsSchema)).receipts;
  }
  async lockAll(options: { reason?: string | undefined; wait?: string | undefined }) {
    const call = { method: 'POST', path: '/v1/lock', query: options, wait: waitOf(options) } as const;
    return (await this.#call(call, receiptsSchema)).receipts;
  }
  changeLease(id: string, options: { ttl: string }) {
    return this.#call({ method: 'PATCH', path: `/v1/leases/${encode(id)}`, query: options }, leaseSchema);
  }
  async endLease(id: string) {
    const call = { method: 'DELETE', path: `/v1/leases/${encode(id)}` } as const;
    return (await this.#call(call, receiptsSchema)).receipts;
  }
  async slots(reference: string) {
    const path = `/v1/scopes/${encode(reference)}/slots`;
    return (await this.#call({ method: 'GET', path }, slotsSchema)).slots;
  }
  addSlot(
    reference: string,
    options: {
      slot: string;
      label?: string | undefined;
      not_after?: string | undefined;
      window?: string | undefined;
    } & SecretOptions,
    secret: SecretInput,
    shares?: SecretInput,
  ) {
    const path = `/v1/scopes/${encode(reference)}/slots`;
    return this.#call({ method: 'POST', path, query: options, secret, shares }, slotSchema);
  }
  testSlot(reference: string, secret: SecretInput, query: Whence = {}) {
    const path = `/v1/scopes/${encode(reference)}/slots/test`;
    return this.#call({ method: 'POST', path, query, secret }, slotSchema);
  }
  setWindow(reference: string, slot: string, query: { window?: string | undefined }) {
    const path = `/v1/scopes/${encode(reference)}/slots/${encode(slot)}`;
    return this.#call({ method: 'PATCH', path, query }, slotSchema);
  }
  removeSlot(reference: string, slot: string) {
    const path = `/v1/scopes/${encode(reference)}/slots/${encode(slot)}`;
    return this.#call({ method: 'DELETE', path }, slotChangeSchema);
  }
  rotateSlot(
    reference: string,
    slot: string,
    secret: SecretInput,
    query: SecretOptions = {},
    shares?: SecretInput,
  ) {
    const path = `/v1/scopes/${encode(reference)}/slots/${encode(slot)}/rotate`;
    return this.#call({ method: 'POST', path, query, secret, shares }, slotChangeSchema);
  }
  /** The share after one of a split slot, to `shares`. */
  renewShare(reference: string, share: SecretInput, shares: SecretInput) {
    const path = `/v1/scopes/${encode(reference)}/share`;
    return this.#call({ method: 'POST', path, secret: share, shares }, slotSchema);
  }
  async audit(limit: number) {
    const call = { method: 'GET', path: '/v1/audit', query: { limit: String(limit) } } as const;
    return (await this.#call(call, auditsSchema)).entries;
  }
  unmount() {
    return this.#call({ method: 'POST', path: '/v1/unmount' }, unmountSchema);
  }
}

/** Twice: until nothing is open, and until all is written. */
const waitOf = ({ wait }: { wait?: string | undefined }): number =>
  wait === undefined ? 0 : 2 * parseDuration(wait);

const encode = (reference: string): string => encodeURIComponent(reference);

function problemOf(text: string, status: number): Failure {
  try {
    return failureOf(JSON.parse(text), status);
  } catch {
    return new Failure('unreachable', 'the daemon ended the connection');
  }
}

function failureOf(body: unknown, status: number): Failure {
  const parsed = problemSchema.safeParse(body);
  if (!parsed.success) return new Failure('internal', `the daemon answered with status ${status}`);
  const { code, detail, hint, type: _type, title: _title, status: _status, ...details } = parsed.data;
  return new Failure(isFailureCode(code) ? code : 'internal', detail, {
    ...(hint === undefined ? {} : { hint }),
    details,
  });
}
