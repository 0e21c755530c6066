import type { BudgetTerms } from '../keyring/leases/budgets.js';
import type { Visibility } from '../keyring/leases/visibility.js';
import type { WindowTerms } from '../keyring/slots/windows.js';
import type { SecretInput } from '../libc/memory.js';
import type { SlotType } from '../store/rows.js';
import type {
  AuditView,
  HolderView,
  LeaseView,
  ReceiptView,
  ScopeView,
  ShredView,
  SlotChangeView,
  SlotView,
  VersionView,
} from './schemas.js';

/** What opens a scope: a secret, what its parent scope gives, or shares as text (keyring/share-text.ts). */
export type Key = SecretInput | 'parent' | SharesGiven;
/** `terms`: for whom and what, as people read it; shares that wait for each other have the same. */
export interface SharesGiven {
  readonly shares: SecretInput;
  readonly terms: string;
}

/** A result, and secrets that go to the caller with it: shares as text. Whoever sends them wipes them. */
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
}

/** What a lease is asked for. Durations in milliseconds. */
export interface LeaseRequest {
  /** Path or id. */
  readonly scope: string;
  readonly purpose: string;
  readonly ttl: number | undefined;
  readonly maxTtl: number | undefined;
  readonly idle: number | undefined;
  /** Milliseconds since 1970. */
  readonly until: number | undefined;
  /** It ends with that process. */
  readonly pid: number | undefined;
  readonly visibility: Visibility;
  readonly readOnly: boolean;
  readonly budget: BudgetTerms | undefined;
}

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
}
/** What of a slot's secret is chosen, whatever else the slot is. */
export type SecretRequest = Pick<NewSlotRequest, 'sealed' | 'shares' | 'needed'>;

export interface HeldLease {
  readonly lease: LeaseView;
  release(): Promise<void>;
}

/** What the HTTP server asks of the daemon. Failures are thrown as `Failure`. */
export interface ControlService {
  version(): Promise<VersionView>;
  scopes(): Promise<ScopeView[]>;
  scope(reference: string): Promise<ScopeView>;
  createScope(
    path: string,
    slot: Pick<NewSlotRequest, 'type'> & SecretRequest,
    secret: SecretInput,
    peer: Peer,
  ): Promise<Issued<ScopeView>>;
  leases(): Promise<LeaseView[]>;
  lease(id: string): Promise<LeaseView>;
  createLease(request: LeaseRequest, key: Key, peer: Peer): Promise<LeaseView>;
  /**
   * As createLease, bound to a connection: `connection` gives a descriptor of it to keep, or -errno. `release` ends it
   * before that. `ended`: it has ended.
   */
  holdLease(
    request: LeaseRequest,
    key: Key,
    peer: Peer,
    connection: () => number,
    ended: () => void,
  ): Promise<HeldLease>;
  changeLease(id: string, ttl: number, peer: Peer): Promise<LeaseView>;
  endLease(id: string, peer: Peer): Promise<ReceiptView[]>;
  slotsOf(scope: string): Promise<SlotView[]>;
  addSlot(scope: string, wanted: NewSlotRequest, secret: SecretInput, peer: Peer): Promise<Issued<SlotView>>;
  testSlot(scope: string, key: Key, peer: Peer): Promise<SlotView>;
  /** Undefined: it may be used at any time. */
  setWindow(scope: string, slot: string, window: WindowTerms | undefined, peer: Peer): Promise<SlotView>;
  removeSlot(scope: string, slot: string, peer: Peer): Promise<SlotChangeView>;
  rotateSlot(
    scope: string,
    slot: string,
    secret: SecretInput,
    wanted: SecretRequest,
    peer: Peer,
  ): Promise<Issued<SlotChangeView>>;
  /** The client's next share of a split slot, for its present one. */
  renewShare(scope: string, share: SecretInput, peer: Peer): Promise<Issued<SlotView>>;
  /** The last rows of the audit, the oldest first. */
  audit(count: number): AuditView[];
  /** `yes`: its path, as whoever asks has repeated it. */
  shred(scope: string, yes: string, peer: Peer): Promise<ShredView>;
  holders(scope: string): HolderView[];
  lock(reference: string, reason: string, wait: number | undefined): Promise<ReceiptView[]>;
  lockAll(reason: string, wait: number | undefined): Promise<ReceiptView[]>;
  /** Resolves once the mount is gone; the daemon ends soon after. */
  unmount(): Promise<void>;
}
