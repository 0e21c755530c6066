import { z } from 'zod';
import {
  auditsSchema,
  holdersSchema,
  leaseSchema,
  leasesSchema,
  queries,
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

/** One route: what it takes, what it gives. The server, the OpenAPI document and API.md are made from these rows. */
export interface Route {
  readonly method: 'get' | 'post' | 'patch' | 'delete';
  /** Parameters as `{name}`. */
  readonly path: string;
  readonly summary: string;
  readonly query: z.ZodType;
  /** The body is a secret, as application/octet-stream. */
  readonly secret?: true;
  /** Its reply may be a secret too: then the body is that, and what `response` describes stands in the header. */
  readonly issues?: true;
  readonly status: 200 | 201;
  readonly response: z.ZodType;
}

export const routes = {
  openapi: {
    method: 'get',
    path: '/v1/openapi.json',
    summary: 'This interface as an OpenAPI 3.1 document',
    query: queries.none,
    status: 200,
    response: z.looseObject({ openapi: z.string() }),
  },
  version: {
    method: 'get',
    path: '/v1/version',
    summary: 'The daemon: version, vault, mount, figures of its work',
    query: queries.none,
    status: 200,
    response: versionSchema,
  },
  scopes: {
    method: 'get',
    path: '/v1/scopes',
    summary: 'All scopes',
    query: queries.none,
    status: 200,
    response: scopesSchema,
  },
  createScope: {
    method: 'post',
    path: '/v1/scopes',
    summary: 'Make a scope with one slot; its parent must be unlocked. It is left unlocked',
    query: queries.createScope,
    secret: true,
    issues: true,
    status: 201,
    response: scopeSchema,
  },
  scope: {
    method: 'get',
    path: '/v1/scopes/{scope}',
    summary: 'One scope',
    query: queries.none,
    status: 200,
    response: scopeSchema,
  },
  shred: {
    method: 'delete',
    path: '/v1/scopes/{scope}',
    summary: 'Destroy a scope: its slots here, then its data. It may be locked; its parent must be unlocked',
    query: queries.shred,
    status: 200,
    response: shredSchema,
  },
  holders: {
    method: 'get',
    path: '/v1/scopes/{scope}/holders',
    summary: 'Processes that use a scope, and with what',
    query: queries.none,
    status: 200,
    response: holdersSchema,
  },
  lock: {
    method: 'post',
    path: '/v1/scopes/{scope}/lock',
    summary: 'Lock a scope and all below it, the deepest first: a receipt each',
    query: queries.lock,
    status: 200,
    response: receiptsSchema,
  },
  lockAll: {
    method: 'post',
    path: '/v1/lock',
    summary:
      'Lock everything, the root scope included. Without `wait` at once: keys go before anything is written back',
    query: queries.lock,
    status: 200,
    response: receiptsSchema,
  },
  leases: {
    method: 'get',
    path: '/v1/leases',
    summary: 'All leases',
    query: queries.none,
    status: 200,
    response: leasesSchema,
  },
  createLease: {
    method: 'post',
    path: '/v1/leases',
    summary:
      'Unlock a scope: a lease. With `hold=1` the response (NDJSON) stays open, and the lease ends when it does: at once when its caller dies',
    query: queries.createLease,
    secret: true,
    status: 201,
    response: leaseSchema,
  },
  lease: {
    method: 'get',
    path: '/v1/leases/{lease}',
    summary: 'One lease',
    query: queries.none,
    status: 200,
    response: leaseSchema,
  },
  changeLease: {
    method: 'patch',
    path: '/v1/leases/{lease}',
    summary: 'Give a lease a new end, `ttl` from now: longer or shorter',
    query: queries.changeLease,
    status: 200,
    response: leaseSchema,
  },
  endLease: {
    method: 'delete',
    path: '/v1/leases/{lease}',
    summary: 'End a lease; the last one of a scope locks it',
    query: queries.none,
    status: 200,
    response: receiptsSchema,
  },
  slots: {
    method: 'get',
    path: '/v1/scopes/{scope}/slots',
    summary: 'The slots of a scope; verified where it is unlocked',
    query: queries.none,
    status: 200,
    response: slotsSchema,
  },
  addSlot: {
    method: 'post',
    path: '/v1/scopes/{scope}/slots',
    summary: 'Add a slot to an unlocked scope. The body is its secret',
    query: queries.addSlot,
    secret: true,
    issues: true,
    status: 201,
    response: slotSchema,
  },
  testSlot: {
    method: 'post',
    path: '/v1/scopes/{scope}/slots/test',
    summary: 'Which slot a secret opens; nothing is unlocked',
    query: queries.testSlot,
    secret: true,
    status: 200,
    response: slotSchema,
  },
  removeSlot: {
    method: 'delete',
    path: '/v1/scopes/{scope}/slots/{slot}',
    summary: 'Remove a slot (number or label) of an unlocked scope: a new epoch begins',
    query: queries.none,
    status: 200,
    response: slotChangeSchema,
  },
  setWindow: {
    method: 'patch',
    path: '/v1/scopes/{scope}/slots/{slot}',
    summary:
      'When a slot of an unlocked scope may open it: days, time, length, time zone, how often; without `window` always. Leases given from then on end with it',
    query: queries.setWindow,
    status: 200,
    response: slotSchema,
  },
  rotateSlot: {
    method: 'post',
    path: '/v1/scopes/{scope}/slots/{slot}/rotate',
    summary: 'Give a slot a new secret (the body): a new epoch begins',
    query: queries.rotateSlot,
    secret: true,
    issues: true,
    status: 200,
    response: slotChangeSchema,
  },
  renewShare: {
    method: 'post',
    path: '/v1/scopes/{scope}/share',
    summary:
      "The client's next share of a split slot, for its present one (the body): the same to whoever asks twice. Keep both until the next one has opened the scope: then the present one is refused",
    query: queries.none,
    secret: true,
    issues: true,
    status: 200,
    response: slotSchema,
  },
  audit: {
    method: 'get',
    path: '/v1/audit',
    summary: 'The last entries of the audit, the oldest of them first',
    query: queries.audit,
    status: 200,
    response: auditsSchema,
  },
  unmount: {
    method: 'post',
    path: '/v1/unmount',
    summary: 'Lock everything, unmount, end the daemon',
    query: queries.none,
    status: 200,
    response: unmountSchema,
  },
} as const satisfies Record<string, Route>;

/** Where the JSON of a reply is whose body is a secret, percent-encoded. */
export const RESULT_HEADER = 'scopefs-result';

export type RouteName = keyof typeof routes;
export const routeNames = Object.keys(routes) as RouteName[];
export const routeOf = (name: RouteName): Route => routes[name];

/** The names in a route's path. */
export function parametersOf(route: Route): string[] {
  return [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string);
}
