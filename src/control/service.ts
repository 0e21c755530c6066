import type { BudgetTerms } from '../keyring/budgets.js';
import type { Visibility } from '../keyring/visibility.js';
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
  /** age: the secret as an age file, in base64. */
  readonly sealed: string | undefined;
}

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
    slot: Pick<NewSlotRequest, 'type' | 'sealed'>,
    secret: SecretInput,
    peer: Peer,
  ): Promise<ScopeView>;
  leases(): Promise<LeaseView[]>;
  lease(id: string): Promise<LeaseView>;
  createLease(request: LeaseRequest, secret: SecretInput | 'parent', peer: Peer): Promise<LeaseView>;
  /**
   * As createLease, bound to a connection: `connection` gives a descriptor of it to keep, or -errno. `release` ends it
   * before that. `ended`: it has ended.
   */
  holdLease(
    request: LeaseRequest,
    secret: SecretInput | 'parent',
    peer: Peer,
    connection: () => number,
    ended: () => void,
  ): Promise<HeldLease>;
  changeLease(id: string, ttl: number, peer: Peer): Promise<LeaseView>;
  endLease(id: string, peer: Peer): Promise<ReceiptView[]>;
  slotsOf(scope: string): Promise<SlotView[]>;
  addSlot(scope: string, wanted: NewSlotRequest, secret: SecretInput, peer: Peer): Promise<SlotView>;
  /** `parent`: with what the parent scope gives, not with the secret. */
  testSlot(scope: string, secret: SecretInput | 'parent', peer: Peer): Promise<SlotView>;
  removeSlot(scope: string, slot: string, peer: Peer): Promise<SlotChangeView>;
  rotateSlot(
    scope: string,
    slot: string,
    secret: SecretInput,
    sealed: string | undefined,
    peer: Peer,
  ): Promise<SlotChangeView>;
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
