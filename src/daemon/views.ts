import type { LeaseView } from '../control/schemas.js';
import type { Lease } from '../keyring/leases.js';
import { systemClock } from '../libc/system.js';

/** What the interface shows, from what the daemon has. */

/** A CLOCK_BOOTTIME moment as wall-clock time and seconds from now. */
export function expiry(deadline: number): { expires: string | null; expires_seconds: number | null } {
  if (deadline === Number.POSITIVE_INFINITY) return { expires: null, expires_seconds: null };
  const left = deadline - systemClock.boottime();
  return {
    expires: new Date(systemClock.wall() + left).toISOString(),
    expires_seconds: Math.round(left) / 1000,
  };
}

export function leaseView(lease: Lease, path: string): LeaseView {
  return {
    id: lease.id,
    scope: lease.scope,
    path,
    purpose: lease.purpose,
    holder: { ...lease.holder },
    bound_to: lease.bound ?? null,
    created: lease.created.toISOString(),
    ...expiry(lease.deadline),
  };
}
