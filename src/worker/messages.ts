import type { LeaseId, ScopeId } from '../base/ids.js';
import type { SuiteName } from '../crypto/suites.js';
import type { CachedName } from '../filesystem/contract.js';
import type { LockReceipt, VolumeEvent } from '../filesystem/events.js';
import type { KnownScope } from '../filesystem/inodes/volume.js';
import type { ControlResult } from '../filesystem/scopes/scope-access.js';
import type { SlotVersion } from '../format/scope/slot-copy.js';
import type { Lease, LeaseEnding, LeaseTerms } from '../keyring/leases/leases.js';
import type { DoorbellParts } from '../libc/doorbell.js';

/** What the main thread asks of the filesystem worker. A secret travels as the address of 32 bytes of secret memory. */
export type Command =
  /** A lease; its scope is unlocked for it where it is locked. The descriptor of `connection` is the core's from now on. */
  | {
      op: 'unlock';
      scope: ScopeId;
      lease: LeaseId;
      terms: LeaseTerms;
      pid: number | undefined;
      connection: number | undefined;
      oldest: number;
      secrets: readonly number[];
      stored: SlotVersion;
      /** How many locks had been asked for when it was: one that is asked for later is the last word. */
      since: number;
      /** How long (ms) it waits for a lock that is under way, and for one that lets people finish first; as long as is usual for the former alone. */
      wait: number | undefined;
    }
  | { op: 'changeLease'; lease: LeaseId; ttl: number }
  /** Where scopes are, once that can be read: nothing but the root scope is or was unlocked. */
  | { op: 'labels'; labels: readonly { readonly id: ScopeId; readonly path: string }[] }
  | { op: 'endLease'; lease: LeaseId; reason: 'revoked' | 'connection' }
  /** One, or all. */
  | { op: 'leases'; lease?: LeaseId }
  | { op: 'advance'; scope: ScopeId; epoch: number; secret: number }
  /** The secret of an epoch (of the current one), to 32 bytes of the caller's secret memory. */
  | { op: 'lend'; scope: ScopeId; to: number; epoch?: number }
  | { op: 'slotCopy'; scope: ScopeId; bytes: Uint8Array }
  | {
      op: 'create';
      names: readonly string[];
      scope: ScopeId;
      epoch: number;
      secret: number;
      owner: { uid: number; gid: number; mode: number };
      lease: LeaseId;
      terms: LeaseTerms;
      pid: number | undefined;
    }
  /** Takes a locked scope out of the tree: its backing directory is aside then. */
  | { op: 'removeScope'; scope: ScopeId }
  /** Waits so long (ms) at most for the scopes' handles to be closed; no lease is given from then on to the lock of that `order`. */
  | { op: 'drain'; scopes: readonly ScopeId[]; wait: number; order: number }
  /** `order`: which one it is of all that were asked for. `limit` (ms): then they are locked whatever is still to be written. `idle`: only if nothing is open there. */
  | { op: 'lock'; scopes: readonly ScopeId[]; reason: string; limit: number; idle: boolean; order: number }
  /** Of one scope, or of all. */
  | { op: 'status'; scope?: ScopeId }
  /** One more I/O worker takes jobs. */
  | { op: 'line'; memory: SharedArrayBuffer };

export interface ScopeStatus {
  readonly id: ScopeId;
  readonly state: 'locked' | 'open' | 'locking';
  readonly generation: number;
  readonly openHandles: number;
  readonly leases: number;
  /** When its last lease ends by itself (CLOCK_BOOTTIME, ms). */
  readonly deadline: number;
  /** As visibilityText gives it. */
  readonly visibleTo: string;
  readonly readOnly: boolean;
}

/** The lease that was asked for (`first`: for it the scope was opened), or why it was not given: the core's refusal, what the scope is open for instead, the process that is not there. */
export type Unlocked =
  | { readonly ok: true; readonly lease: Lease; readonly first: boolean; readonly copyBehind: boolean }
  | {
      readonly ok: false;
      readonly refusal?: Extract<ControlResult, { ok: false }>;
      readonly conflict?: { readonly visibility: string; readonly readOnly: boolean };
      readonly gone?: number;
      /** The scope has as many leases as it may have. */
      readonly full?: true;
    };

export interface Results {
  unlock: { unlocked: Unlocked };
  changeLease: { lease: Lease | undefined };
  labels: object;
  endLease: { receipts: readonly LockReceipt[] };
  leases: { leases: readonly Lease[] };
  advance: { advanced: boolean };
  /** The epoch, or -ENOKEY. */
  lend: { epoch: number };
  slotCopy: { result: number };
  create: { result: ControlResult; parent?: ScopeId; path?: string };
  line: object;
  removeScope: { result: ControlResult; aside?: string };
  /** `left`: which of the scopes nobody has locked meanwhile. */
  drain: { drained: boolean; left: readonly ScopeId[] };
  lock: { receipts: readonly LockReceipt[]; busy: boolean };
  status: {
    scopes: readonly ScopeStatus[];
    inodes: number;
    requests: number;
    /** The longest that one request kept the worker, in ms, and its operation. */
    longest: { operation: string; milliseconds: number };
    secretMemory: string;
  };
}

export type CommandMessage = Command & { id: number };

/** What the worker says: the answer to a command, or something that happened. */
/** What happened without a command. */
export type CoreEvent =
  | VolumeEvent
  | ({ readonly kind: 'leaseEnded'; readonly lease: Lease } & LeaseEnding)
  /** A budget refused something, for the first time since there was room. */
  | {
      readonly kind: 'spent';
      readonly scope: ScopeId;
      readonly lease: LeaseId;
      readonly over: 'deny' | 'lock';
      readonly used: { readonly bytes: number; readonly files: number };
    }
  /** Whether files are left whose header a lock could not write. */
  | { readonly kind: 'behind'; readonly behind: boolean };

export type WorkerMessage =
  | CoreEvent
  | { kind: 'answer'; id: number; answer: Results[keyof Results] }
  | { kind: 'ready'; minor: number }
  /** All I/O workers are busy. */
  | { kind: 'more' }
  /** Orders wait: the notifier with this line is to be started. */
  | { kind: 'notifier'; index: number }
  | { kind: 'ended' };

/** Orders to the notifier's thread and what came of them. */
export type NotifierOrder =
  | { id: number; kind: 'flush'; node: number }
  | { id: number; kind: 'pages'; nodes: readonly number[] }
  | { id: number; kind: 'range'; node: number; offset: number; length: number }
  /** Every node from 2 on. */
  | { id: number; kind: 'pagesUpTo'; last: number }
  | { id: number; kind: 'prune'; nodes: readonly number[] }
  | { id: number; kind: 'unused'; entries: readonly { parent: number; name: string }[] }
  | { id: number; kind: 'names'; entries: readonly CachedName[] }
  | { id: number; kind: 'unmount'; detach: boolean };
export type NotifierAnswer =
  | { kind: 'thread'; tid: number }
  /** `result`: of a flush or an unmount 0 or -errno, of others how many orders the kernel refused. */
  | { kind: 'done'; id: number; result: number };

/**
 * Threads that give orders: one for pages, the rest for flushes and names (contract.ts, CachePort). The first two are
 * started with the mount, the others when orders wait: a thread costs 70 ms of processor time and 10 MiB.
 */
export const NOTIFIERS = { most: 5, atFirst: 2 } as const;

/** What the core is made from, whichever transport serves it. */
export interface CoreData {
  readonly tree: string;
  readonly chunkSize: number;
  readonly suite: SuiteName;
  readonly unclean: boolean;
  /** Nothing of the vault is written. */
  readonly readOnly: boolean;
  /** The kernel collects small writes. */
  readonly writeback: boolean;
  /** 16 bytes, and the marks of sessions that stopped uncleanly. */
  readonly session: Uint8Array;
  readonly uncleanSessions: readonly string[];
  readonly scopes: readonly KnownScope[];
}

export interface FilesystemWorkerData extends CoreData {
  readonly device: number;
  /** How others wake the worker. */
  readonly doorbell: DoorbellParts;
  readonly commands: import('node:worker_threads').MessagePort;
  /** All that there may be; {@link NOTIFIERS}.atFirst of them have a thread. */
  readonly notifiers: readonly NotifierLine[];
}

/** The way to one notifier: its port, and the word that is rung when there is an order. */
export interface NotifierLine {
  readonly port: import('node:worker_threads').MessagePort;
  readonly bell: Int32Array<SharedArrayBuffer>;
}

export interface NotifierWorkerData {
  readonly device: number;
  readonly mountPoint: string;
  readonly orders: import('node:worker_threads').MessagePort;
  readonly orderBell: Int32Array<SharedArrayBuffer>;
  readonly doorbell: DoorbellParts;
}

export interface IoWorkerData {
  readonly line: SharedArrayBuffer;
  readonly doorbell: DoorbellParts;
}
