/**
 * One route: how it is asked and answered. What is in its query and its reply: route-schemas.ts. The server, the client, the
 * OpenAPI document and API.md are made from these rows. No validation is loaded with them: the client has none.
 */
export interface Route {
  readonly method: 'get' | 'post' | 'patch' | 'delete';
  /** Parameters as `{name}`. The server resolves `{scope}` before anything else looks at it. */
  readonly path: string;
  readonly summary: string;
  /** The body is a secret, as application/octet-stream. */
  readonly secret?: true;
  /** Its reply may be a secret too: then the body is that, and what its schema describes stands in the header. */
  readonly issues?: true;
  /** Its reply is a list in a field of that name: both ends have it as the list. */
  readonly list?: string;
  readonly status: 200 | 201;
}

export const routes = {
  openapi: {
    method: 'get',
    path: '/v1/openapi.json',
    summary: 'This interface as an OpenAPI 3.1 document',
    status: 200,
  },
  version: {
    method: 'get',
    path: '/v1/version',
    summary: 'The daemon: version, vault, mount, figures of its work',
    status: 200,
  },
  scopes: {
    method: 'get',
    path: '/v1/scopes',
    summary: 'All scopes',
    status: 200,
    list: 'scopes',
  },
  createScope: {
    method: 'post',
    path: '/v1/scopes',
    summary: 'Make a scope with one slot; its parent must be unlocked. It is left unlocked',
    secret: true,
    issues: true,
    status: 201,
  },
  scope: {
    method: 'get',
    path: '/v1/scopes/{scope}',
    summary: 'One scope',
    status: 200,
  },
  shred: {
    method: 'delete',
    path: '/v1/scopes/{scope}',
    summary: 'Destroy a scope: its slots here, then its data. It may be locked; its parent must be unlocked',
    status: 200,
  },
  holders: {
    method: 'get',
    path: '/v1/scopes/{scope}/holders',
    summary: 'Processes that use a scope, and with what',
    status: 200,
    list: 'holders',
  },
  lock: {
    method: 'post',
    path: '/v1/scopes/{scope}/lock',
    summary: 'Lock a scope and all below it, the deepest first: a receipt each',
    status: 200,
    list: 'receipts',
  },
  lockAll: {
    method: 'post',
    path: '/v1/lock',
    summary:
      'Lock everything, the root scope included. Without `wait` at once: keys go before anything is written back',
    status: 200,
    list: 'receipts',
  },
  leases: {
    method: 'get',
    path: '/v1/leases',
    summary: 'All leases',
    status: 200,
    list: 'leases',
  },
  createLease: {
    method: 'post',
    path: '/v1/leases',
    summary:
      'Unlock a scope: a lease. With `hold=1` the response (NDJSON) stays open, and the lease ends when it does: at once when its caller dies',
    secret: true,
    status: 201,
  },
  lease: {
    method: 'get',
    path: '/v1/leases/{lease}',
    summary: 'One lease',
    status: 200,
  },
  changeLease: {
    method: 'patch',
    path: '/v1/leases/{lease}',
    summary: 'Give a lease a new end, `ttl` from now: longer or shorter',
    status: 200,
  },
  endLease: {
    method: 'delete',
    path: '/v1/leases/{lease}',
    summary: 'End a lease; the last one of a scope locks it',
    status: 200,
    list: 'receipts',
  },
  slots: {
    method: 'get',
    path: '/v1/scopes/{scope}/slots',
    summary: 'The slots of a scope; verified where it is unlocked',
    status: 200,
    list: 'slots',
  },
  addSlot: {
    method: 'post',
    path: '/v1/scopes/{scope}/slots',
    summary: 'Add a slot to an unlocked scope. The body is its secret',
    secret: true,
    issues: true,
    status: 201,
  },
  testSlot: {
    method: 'post',
    path: '/v1/scopes/{scope}/slots/test',
    summary: 'Which slot a secret opens; nothing is unlocked',
    secret: true,
    status: 200,
  },
  removeSlot: {
    method: 'delete',
    path: '/v1/scopes/{scope}/slots/{slot}',
    summary: 'Remove a slot (number or label) of an unlocked scope: a new epoch begins',
    status: 200,
  },
  setWindow: {
    method: 'patch',
    path: '/v1/scopes/{scope}/slots/{slot}',
    summary:
      'When a slot of an unlocked scope may open it: days, time, length, time zone, how often; without `window` always. Leases given from then on end with it',
    status: 200,
  },
  rotateSlot: {
    method: 'post',
    path: '/v1/scopes/{scope}/slots/{slot}/rotate',
    summary: 'Give a slot a new secret (the body): a new epoch begins',
    secret: true,
    issues: true,
    status: 200,
  },
  renewShare: {
    method: 'post',
    path: '/v1/scopes/{scope}/share',
    summary:
      "The client's next share of a split slot, for its present one (the body): the same to whoever asks twice. Keep both until the next one has opened the scope: then the present one is refused",
    secret: true,
    issues: true,
    status: 200,
  },
  audit: {
    method: 'get',
    path: '/v1/audit',
    summary: 'The last entries of the audit, the oldest of them first',
    status: 200,
    list: 'entries',
  },
  unmount: {
    method: 'post',
    path: '/v1/unmount',
    summary: 'Lock everything, unmount, end the daemon',
    status: 200,
  },
} as const satisfies Record<string, Route>;

/** Where the JSON of a reply is whose body is a secret, percent-encoded. */
export const RESULT_HEADER = 'scopefs-result';

export type Routes = typeof routes;
export type RouteName = keyof Routes;
export const routeNames = Object.keys(routes) as RouteName[];
export const routeOf = (name: RouteName): Route => routes[name];

/** The names in a route's path, as a type. */
export type ParameterOf<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? Name | ParameterOf<Rest>
  : never;

const PARAMETER = /\{(\w+)\}/g;
/** The names in a route's path. */
export function parametersOf({ path }: Route): string[] {
  return [...path.matchAll(PARAMETER)].map((match) => match[1] as string);
}
/** A route's path with something in the place of each parameter. */
export const pathWith = ({ path }: Route, value: (name: string) => string): string =>
  path.replaceAll(PARAMETER, (_whole, name: string) => value(name));
