import { z } from 'zod';
import {
  auditsSchema,
  createdScopeSchema,
  holderSchema,
  leaseSchema,
  leasesSchema,
  receiptsSchema,
  scopeSchema,
  scopesSchema,
  shredSchema,
  slotChangeSchema,
  slotSchema,
  slotsSchema,
  versionSchema,
} from './schemas.js';

/** What each verb of the command line prints with `--json`, on standard output. */
export const results = {
  version: z.object({
    version: z.string(),
    format: z.number().int(),
    format_draft: z.boolean(),
    node: z.string(),
    openssl: z.string(),
  }),
  init: z.object({
    vault: z.string(),
    volume: z.string(),
    root_scope: z.string(),
    slot: z.string(),
    suite: z.string(),
    chunk_size: z.number().int(),
  }),
  mount: z.object({
    vault: z.string(),
    mount: z.string(),
    volume: z.string(),
    socket: z.string(),
    pid: z.number().int(),
    unclean: z.boolean(),
    /** Its root scope is yet to be unlocked. */
    locked: z.boolean(),
  }),
  unmount: z.object({ unmounted: z.literal(true), mount: z.string() }),
  create: createdScopeSchema,
  /** `skipped`: with --skip-busy, and why. */
  unlock: leasesSchema.extend({ skipped: z.array(z.object({ scope: z.string(), why: z.string() })) }),
  lock: receiptsSchema,
  'lease list': leasesSchema,
  'lease show': leaseSchema,
  'lease renew': leaseSchema,
  'lease shorten': leaseSchema,
  'lease revoke': receiptsSchema,
  status: versionSchema.extend({ scopes: z.number().int(), unlocked: z.number().int() }),
  /** Of `status` and `ls` where several vaults are mounted and none is named. */
  daemons: z.object({ daemons: z.array(versionSchema.extend({ socket: z.string() })) }),
  'status SCOPE': scopeSchema.extend({ holders: z.array(holderSchema) }),
  ls: scopesSchema,
  rm: shredSchema,
  'slot list': slotsSchema,
  'slot add': slotSchema,
  'slot test': slotSchema,
  'slot rm': slotChangeSchema,
  'slot rotate': slotChangeSchema,
  'slot renew': slotSchema,
  'window list': slotsSchema,
  'window set': slotSchema,
  'window rm': slotSchema,
  'audit tail': auditsSchema,
} as const satisfies Record<string, z.ZodType>;
export type ResultName = keyof typeof results;

/** What every failing verb prints with `--json`, on standard error. */
export const failureResult = z.object({
  error: z.looseObject({
    code: z.string(),
    message: z.string(),
    hint: z.string(),
    exit_status: z.number().int(),
  }),
});

/** JSON Schema 2020-12 of all of them, by verb. */
export function resultSchemas(): Record<string, unknown> {
  const all = Object.entries({ ...results, failure: failureResult });
  return Object.fromEntries(all.map(([verb, schema]) => [verb, z.toJSONSchema(schema)]));
}
