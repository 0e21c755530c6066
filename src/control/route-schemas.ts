import { z } from 'zod';
import { slotTypes } from '../store/rows.js';
import type { RouteName } from './routes.js';
import {
  auditsSchema,
  createdScopeSchema,
  holdersSchema,
  leaseSchema,
  leasesSchema,
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

/** Query parameters: strings on the wire. */
const digits = /^[0-9]{1,9}$/;
/** Digits alone: not `1e1`, ` 5` or nothing at all. */
const integer = (least: number, most: number) =>
  z.preprocess<number, z.ZodInt, string | number>(
    (text) => (typeof text === 'string' && digits.test(text) ? Number(text) : (text as number)),
    z.int().min(least).max(most),
  );
const path = z.string().min(1).max(4096);
const moment = z.iso.datetime({ offset: true });
const duration = z.string().regex(/^[0-9]{1,9}[smhd]$/, 'a duration like 30s, 15m, 2h or 1d');
/** For example `at:02:00,for:15m,days:mon-fri,zone:Europe/Berlin,uses:1`. */
const window = z.string().max(200);
const reason = z.string().max(200);
/** age: the slot's secret (the body) as an age file for its recipients, in base64. */
const sealed = z.string().regex(/^[A-Za-z0-9+/]{1,11000}={0,2}$/, 'an age file in base64');
/** threshold: how many shares are made, and how many of them open it. Split and threshold: the body is empty. */
const sharing = {
  shares: integer(2, 16).optional(),
  threshold: integer(2, 16).optional(),
};
/** `parent`: its secret comes from the unlocked parent scope, the body is empty. `share`: the body is shares, a line each. */
const whence = z.enum(['parent', 'share']).optional();

/** How a lease ends, and for whom its scope is open. */
const terms = {
  ttl: duration.optional(),
  /** However often it is renewed. */
  max_ttl: duration.optional(),
  /** End it after so long without an open handle or an operation (at most an eighth later). */
  idle: duration.optional(),
  until: moment.optional(),
  /** End it with that process: `self`, who asks; or a number of his pid namespace. */
  pid: z
    .string()
    .regex(/^(self|[1-9][0-9]{0,6})$/, 'a process id, or self')
    .optional(),
  /** `any`, or some of `uid:N gid:N tree:PID|self cgroup:/PATH unit:NAME` with commas between. All leases of a scope have the same. */
  visible_to: z.string().max(4096).optional(),
  purpose: reason.optional(),
};

const nothing = z.strictObject({});
/** Said, or not; `false` is as if it were left out. */
const flag = z.enum(['1', 'true', '0', 'false']).optional();
const lock = z.strictObject({
  reason: reason.optional(),
  /** Give no more leases, and wait so long at most until nothing is open. */
  wait: duration.optional(),
  /** Where something is open then: 429, with the processes that have it, and nothing is locked. */
  fail_if_busy: flag,
});

/** What each route takes in its query, and what its reply has. */
export const routeSchemas = {
  openapi: {
    query: nothing,
    response: z.looseObject({ openapi: z.string() }),
  },
  version: {
    query: nothing,
    response: versionSchema,
  },
  scopes: {
    query: nothing,
    response: scopesSchema,
  },
  createScope: {
    query: z.strictObject({
      path,
      slot: z.enum(slotTypes),
      sealed: sealed.optional(),
      ...sharing,
      /** parent: open it whenever its parent is opened, with the parent's terms. */
      auto: flag,
      ...terms,
    }),
    response: createdScopeSchema,
  },
  scope: {
    query: nothing,
    response: scopeSchema,
  },
  shred: {
    query: z.strictObject({
      shred: z.enum(['1', 'true']),
      /** Its path again, against a slip. */
      yes: path,
    }),
    response: shredSchema,
  },
  holders: {
    query: nothing,
    response: holdersSchema,
  },
  lock: {
    query: lock,
    response: receiptsSchema,
  },
  lockAll: {
    query: lock,
    response: receiptsSchema,
  },
  leases: {
    query: nothing,
    response: leasesSchema,
  },
  createLease: {
    query: z.strictObject({
      scope: path,
      ...terms,
      /** Read-only. All leases of a scope have the same. */
      ro: flag,
      /** For example `bytes:500M,files:20,per:hour,over:deny`. */
      budget: z.string().max(200).optional(),
      with: whence,
      /** Wait so long for a lock that is under way (10 s where it is not said) or that waits for others (else refused). */
      wait: duration.optional(),
      /** Bind the lease to this connection: the response stays open, a line of JSON for its beginning and its end. */
      hold: flag,
    }),
    response: leaseSchema,
  },
  lease: {
    query: nothing,
    response: leaseSchema,
  },
  changeLease: {
    query: z.strictObject({ ttl: duration }),
    response: leaseSchema,
  },
  endLease: {
    query: z.strictObject({
      /** As if it had not been given: where nobody used its scope since it was opened, no use of its slot is counted. */
      withdrawn: flag,
    }),
    response: receiptsSchema,
  },
  slots: {
    query: nothing,
    response: slotsSchema,
  },
  addSlot: {
    query: z.strictObject({
      slot: z.enum(slotTypes),
      label: z.string().min(1).max(100).optional(),
      not_after: moment.optional(),
      window: window.optional(),
      sealed: sealed.optional(),
      ...sharing,
      /** parent: as createScope has it. */
      auto: flag,
    }),
    response: slotSchema,
  },
  testSlot: {
    query: z.strictObject({ with: whence }),
    response: slotSchema,
  },
  removeSlot: {
    query: nothing,
    response: slotChangeSchema,
  },
  setWindow: {
    /** Without `window` it may be used at any time. */
    query: z.strictObject({ window: window.optional() }),
    response: slotSchema,
  },
  rotateSlot: {
    query: z.strictObject({ sealed: sealed.optional(), ...sharing }),
    response: slotChangeSchema,
  },
  renewShare: {
    query: nothing,
    response: slotSchema,
  },
  audit: {
    query: z.strictObject({ limit: integer(1, 10_000).optional() }),
    response: auditsSchema,
  },
  unmount: {
    query: nothing,
    response: unmountSchema,
  },
} as const satisfies Record<RouteName, { query: z.ZodType; response: z.ZodType }>;
export type RouteSchemas = typeof routeSchemas;
