import { z } from 'zod';
import { auditEvents } from '../store/audit.js';
import { slotTypes } from '../store/rows.js';
import { perCount } from './receipt-counts.js';

/**
 * The shapes of the HTTP interface (PRODUCT.md): snake_case, times RFC 3339 with `*_seconds` beside them, bytes in
 * base64. Requests refuse unknown fields; these schemas validate them and type both ends.
 */
const integer = z.number().int();
/** A moment, and how far away it is; null: none. */
const expiry = { expires: z.string().nullable(), expires_seconds: z.number().nullable() };

const scopeStates = ['locked', 'unlocked', 'locking'] as const;

export const scopeSchema = z.object({
  id: z.string(),
  /** From the mount's root, with a leading `/`. */
  path: z.string(),
  parent: z.string().nullable(),
  state: z.enum(scopeStates),
  /** How often it was unlocked since the mount. */
  generation: integer,
  leases: integer,
  /** When the last lease ends by itself; null: not while it is held, or locked. */
  ...expiry,
  /** The callers for whom it is unlocked: as `visible_to` of its leases. */
  visible_to: z.string(),
  read_only: z.boolean(),
  open_handles: integer,
  slots: integer,
  created: z.string(),
});
export type ScopeView = z.infer<typeof scopeSchema>;

/** `lease`: by which it is unlocked. */
export const createdScopeSchema = scopeSchema.extend({ lease: z.string() });
export type CreatedScopeView = z.infer<typeof createdScopeSchema>;

export const leaseSchema = z.object({
  id: z.string(),
  scope: z.string(),
  path: z.string(),
  purpose: z.string(),
  holder: z.object({
    uid: integer,
    pid: integer,
    command: z.string().nullable(),
    unit: z.string().nullable(),
  }),
  /** The lease ends with the response that it came by; with a process, its own or the root of a tree that it is visible to. */
  bound_to: z.array(z.enum(['connection', 'process'])),
  visible_to: z.string(),
  read_only: z.boolean(),
  idle_seconds: z.number().nullable(),
  budget: z
    .object({
      bytes: integer.nullable(),
      files: integer.nullable(),
      per: z.enum(['lease', 'hour']),
      over: z.enum(['deny', 'lock']),
      used_bytes: integer,
      used_files: integer,
    })
    .nullable(),
  created: z.string(),
  ...expiry,
});
export type LeaseView = z.infer<typeof leaseSchema>;

/** A process that uses a scope: open files, working directory, mappings. */
export const holderSchema = z.object({
  pid: integer,
  uid: integer,
  command: z.string(),
  unit: z.string().nullable(),
  files: z.array(z.string()),
});
export type HolderView = z.infer<typeof holderSchema>;
/** What keeps a mount in use and is no process, and the command that ends it. In `held_by` of a refused unmount. */
export const mountUserSchema = z.object({ what: z.string(), end: z.string() });
export type MountUserView = z.infer<typeof mountUserSchema>;

export const holdersSchema = z.object({ holders: z.array(holderSchema) });

const receiptSchema = z.object({
  scope: z.string(),
  path: z.string(),
  generation: integer,
  reason: z.string(),
  ...perCount(() => integer),
  bytes_flushed: integer,
  errors: z.array(z.object({ file: z.string(), error: z.string() })),
  /** Processes that still used it when the time to wait for them was over. */
  holders: z.array(holderSchema),
  locked_at: z.string(),
  seconds: z.number(),
});
export type ReceiptView = z.infer<typeof receiptSchema>;

export const slotSchema = z.object({
  number: integer,
  type: z.enum(slotTypes).nullable(),
  label: z.string().nullable(),
  created: z.string().nullable(),
  /** The slot opens nothing after this moment. */
  not_after: z.string().nullable(),
  /** When it may open the scope: `at:02:00,for:15m,zone:UTC`; null: at any time. */
  window: z.string().nullable(),
  /** age: its secret as an age file, in base64. */
  sealed: z.string().nullable(),
  /** threshold: how many shares there are, and how many of them open it. */
  shares: integer.nullable(),
  threshold: integer.nullable(),
  /** parent: its scope opens whenever its parent does. */
  auto: z.boolean(),
  /**
   * `unverified`: only the unlocked scope's key can tell. `damaged`: its row was edited; it opens nothing. `missing`: the
   * scope's list has it, the store has not.
   */
  status: z.enum(['ok', 'damaged', 'missing', 'unverified']),
});
export type SlotView = z.infer<typeof slotSchema>;

/** A scope was destroyed. */
export const shredSchema = z.object({
  scope: z.string(),
  path: z.string(),
  /** As they were: their secrets open older copies. */
  slots: z.array(slotSchema),
  epochs: integer,
  files_unlinked: integer,
  bytes_unlinked: integer,
  /** What can still be read, where, and with what. */
  still_opens: z.array(z.string()),
  /** Of its lock, where it was unlocked. */
  receipts: z.array(receiptSchema),
  shredded_at: z.string(),
});
export type ShredView = z.infer<typeof shredSchema>;

export const versionSchema = z.object({
  version: z.string(),
  volume: z.string(),
  vault: z.string(),
  mount: z.string(),
  /** The mount's device number, MAJOR:MINOR, as in /proc/self/mountinfo. */
  device: z.string(),
  /** Taken off its mount point while in use (umount -l): all is locked, and ends with its last user. */
  detached: z.boolean(),
  /** Nothing of the vault is written: changes are refused, and the audit goes to the daemon's log. */
  read_only: z.boolean(),
  pid: integer,
  /** Minor number of the FUSE protocol that was negotiated. */
  fuse_minor: integer,
  secret_memory: z.string(),
  inodes: integer,
  requests: integer,
  /** The request that kept the filesystem worker longest. */
  longest_request: z.object({ operation: z.string(), milliseconds: z.number() }),
});
export type VersionView = z.infer<typeof versionSchema>;

export const slotsSchema = z.object({ slots: z.array(slotSchema) });

/** A slot was removed or made anew: a new epoch began. */
export const slotChangeSchema = z.object({
  slot: slotSchema,
  /** What is written from now on is sealed under this epoch. */
  epoch: integer,
  /** What the old secret still opens, with copies of vault and store made while the slot was there. */
  still_readable: z.object({ written_before: z.string(), epochs: z.array(integer) }),
});
export type SlotChangeView = z.infer<typeof slotChangeSchema>;

const auditSchema = z.object({
  sequence: integer,
  at: z.string(),
  event: z.enum(auditEvents),
  /** `ok`, or the code of the failure. */
  result: z.string(),
  scope: z.string().nullable(),
  path: z.string().nullable(),
  slot: integer.nullable(),
  lease: z.string().nullable(),
  uid: integer.nullable(),
  pid: integer.nullable(),
  command: z.string().nullable(),
  purpose: z.string().nullable(),
  detail: z.string().nullable(),
});
export type AuditView = z.infer<typeof auditSchema>;
export const auditsSchema = z.object({ entries: z.array(auditSchema) });

export const scopesSchema = z.object({ scopes: z.array(scopeSchema) });
export const leasesSchema = z.object({ leases: z.array(leaseSchema) });
/** The last line of a held lease. `receipt`: of the lock that its end was, if it was the last of its scope. */
export const leaseEndSchema = z.object({
  ended: z.string(),
  reason: z.enum(['ttl', 'idle', 'until', 'connection', 'process', 'budget', 'revoked', 'lock', 'shred']),
  receipt: receiptSchema.nullable(),
});
export type LeaseEnd = z.infer<typeof leaseEndSchema>;

export const receiptsSchema = z.object({ receipts: z.array(receiptSchema) });
export const unmountSchema = z.object({ unmounted: z.boolean() });

/** RFC 9457 problem details. */
export const problemSchema = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: integer,
  code: z.string(),
  detail: z.string(),
  /** What to do about it. */
  hint: z.string(),
  request_id: z.string(),
});
export type Problem = z.infer<typeof problemSchema>;
