import type { SecretInput } from '../libc/memory.js';
import type { LeaseView, ReceiptView, ScopeView, VersionView } from './schemas.js';

export interface Peer {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

/** What the HTTP server asks of the daemon. Failures are thrown as `Failure`. */
export interface ControlService {
  version(): Promise<VersionView>;
  scopes(): Promise<ScopeView[]>;
  scope(reference: string): Promise<ScopeView>;
  createScope(
    path: string,
    slot: 'passphrase' | 'keyfile',
    secret: SecretInput,
    peer: Peer,
  ): Promise<ScopeView>;
  leases(): LeaseView[];
  createLease(
    request: { scope: string; ttl: number | undefined; purpose: string },
    secret: SecretInput,
    peer: Peer,
  ): Promise<LeaseView>;
  endLease(id: string): Promise<ReceiptView[]>;
  lock(reference: string, reason: string, wait: number | undefined): Promise<ReceiptView[]>;
  lockAll(reason: string, wait: number | undefined): Promise<ReceiptView[]>;
  /** Resolves once the mount is gone; the daemon ends soon after. */
  unmount(): Promise<void>;
}
