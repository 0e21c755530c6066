import type { ScopeId } from '../base/ids.js';
import type { BudgetTerms } from '../keyring/leases/budgets.js';
import type { Visibility } from '../keyring/leases/visibility.js';
import type { WindowTerms } from '../keyring/slots/windows.js';
import type { SecretInput } from '../libc/memory.js';
import type { SlotType } from '../store/rows.js';
import type {
  AuditView,
  CreatedScopeView,
  HolderView,
  LeaseEnd,
  LeaseView,
  ReceiptView,
  ScopeView,
  ShredView,
  SlotChangeView,
  SlotView,
  VersionView,
} from './schemas.js';

/** What opens a scope: a secret, what its parent scope gives, or shares as text (keyring/shares/share-text.ts). */
export type Key = SecretInput | 'parent' | SharesGiven;
/** `terms`: for whom and what, as people read it; shares that wait for each other have the same. */
export interface SharesGiven {
  readonly shares: SecretInput;
  readonly terms: string;
}

/** A result, and secrets that go to the caller with it: shares as text. The sender wipes them. */
export class Issued<T> {
  readonly view: T;
  readonly shares: SecretInput | undefined;
  constructor(view: T, shares: SecretInput | undefined) {
    this.view = view;
    this.shares = shares;
  }
}

export interface Peer {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** What stands for its connection. */
  readonly connection: object;
}

/** What a lease is asked for. Durations in milliseconds. */
export interface LeaseRequest {
  readonly scope: ScopeId;
  readonly purpose: string;
  readonly ttl: number | undefined;
  readonly maxTtl: number | undefined;
  readonly idle: number | undefined;
  /** Milliseconds since 1970. */
  readonly until: number | undefined;
  /** The lease ends with that process. */
  readonly pid: number | undefined;
  readonly visibility: Visibility;
  readonly readOnly: boolean;
  readonly budget: BudgetTerms | undefined;
  /** Milliseconds: how long it waits for a lock that is under way, or that waits for others. */
  readonly wait: number | undefined;
}
/** What a lease is asked for, beside its scope and how long that is waited for. */
export type LeaseTermsAsked = Omit<LeaseRequest, 'scope' | 'wait'>;

/** A slot that is to be added. */
export interface NewSlotRequest {
  readonly type: SlotType;
  readonly label: string | undefined;
  /** Seconds since 1970. */
  readonly notAfter: number | undefined;
  readonly window: WindowTerms | undefined;
  /** age: the secret as an age file, in base64. */
  readonly sealed: string | undefined;
  /** threshold: how many shares there are, and how many of them open it. */
  readonly shares: number | undefined;
  readonly needed: number | undefined;
  /** parent: its scope opens whenever its parent does. */
  readonly auto: boolean;
}
/** What of a slot's secret is chosen, whatever else the slot is. */
export type SecretRequest = Pick<NewSlotRequest, 'sealed' | 'shares' | 'needed' | 'auto'>;

export interface LeaseEndRequest {
  /** `connection`: its asker was gone before the answer. */
  readonly reason: 'revoked' | 'connection';
  /** It is as if it had not been given: unless its scope was used, it does not count as a use of its slot. */
  readonly withdrawn: boolean;
}

export interface HeldLease {
  readonly lease: LeaseView;
  release(): Promise<void>;
}

/** What the HTTP server asks of the daemon, by what it is about. Failures are thrown as `Failure`. */
export interface ControlService {
  readonly scopes: ScopeControl;
  readonly locks: LockControl;
  readonly leases: LeaseControl;
  readonly slots: SlotControl;
  readonly audit: AuditControl;
  /** Whether requests of the filesystem say who asks: without that a scope is open for all or for nobody. */
  readonly knowsCallers: boolean;
  version(): Promise<VersionView>;
  /** Resolves once the mount is gone; the daemon ends soon after. */
  unmount(): Promise<void>;
}

export interface ScopeControl {
  /** A scope by id, or by path from the mount's root. @throws Failure not_found; locked: paths can't be read yet */
  resolve(reference: string): ScopeId;
  all(): Promise<ScopeView[]>;
  one(scope: ScopeId): Promise<ScopeView>;
  create(
    path: string,
    slot: Pick<NewSlotRequest, 'type'> & SecretRequest,
    secret: SecretInput,
    lease: LeaseTermsAsked,
    peer: Peer,
  ): Promise<Issued<CreatedScopeView>>;
  /** `yes`: its path, as its destroyer has repeated it. */
  shred(scope: ScopeId, yes: string, peer: Peer): Promise<ShredView>;
  holders(scope: ScopeId): HolderView[];
}

export interface LockRequest {
  readonly reason: string;
  /** Milliseconds: no more leases, and so long at most until nothing is open. */
  readonly wait: number | undefined;
  /** Where something is open then, nothing is locked. */
  readonly failIfBusy: boolean;
}

export interface LockControl {
  /** @throws Failure busy, with the holders */
  lock(scope: ScopeId, request: LockRequest): Promise<ReceiptView[]>;
  lockAll(request: LockRequest): Promise<ReceiptView[]>;
}

export interface LeaseControl {
  all(): Promise<LeaseView[]>;
  one(id: string): Promise<LeaseView>;
  create(request: LeaseRequest, key: Key, peer: Peer): Promise<LeaseView>;
  /**
   * As create, bound to a connection: `connection` gives a descriptor of it to keep, or -errno. `release` ends it before
   * that. `ended`: it has ended, for what reason, and with which receipt where its scope was locked by that.
   */
  hold(
    request: LeaseRequest,
    key: Key,
    peer: Peer,
    connection: () => number,
    ended: (how: Omit<LeaseEnd, 'ended'>) => void,
  ): Promise<HeldLease>;
  change(id: string, ttl: number, peer: Peer): Promise<LeaseView>;
  end(id: string, peer: Peer, how: LeaseEndRequest): Promise<ReceiptView[]>;
}

export interface SlotControl {
  readonly changes: SlotChangeControl;
  list(scope: ScopeId): Promise<SlotView[]>;
  test(scope: ScopeId, key: Key, peer: Peer): Promise<SlotView>;
  /** The client's next share of a split slot, for its present one. */
  renewShare(scope: ScopeId, share: SecretInput, peer: Peer): Promise<Issued<SlotView>>;
}

/** `slot`: number or label. */
export interface SlotChangeControl {
  add(scope: ScopeId, wanted: NewSlotRequest, secret: SecretInput, peer: Peer): Promise<Issued<SlotView>>;
  /** Undefined: it may be used at any time. */
  setWindow(scope: ScopeId, slot: string, window: WindowTerms | undefined, peer: Peer): Promise<SlotView>;
  remove(scope: ScopeId, slot: string, peer: Peer): Promise<SlotChangeView>;
  rotate(
    scope: ScopeId,
    slot: string,
    secret: SecretInput,
    wanted: SecretRequest,
    peer: Peer,
  ): Promise<Issued<SlotChangeView>>;
}

export interface AuditControl {
  /** The last rows, the oldest first. */
  tail(count: number): AuditView[];
}
