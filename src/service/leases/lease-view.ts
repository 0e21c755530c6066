import type { LeaseView } from '../../control/schemas.js';
import type { BudgetTerms } from '../../keyring/leases/budgets.js';
import type { Lease } from '../../keyring/leases/leases.js';
import { visibilityText } from '../../keyring/leases/visibility.js';
import { systemClock } from '../../libc/system.js';

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

function budgetView({ bytes, files, per, over }: BudgetTerms) {
  return { bytes: bytes ?? null, files: files ?? null, per, over };
}
function usedView(used: Lease['used']) {
  return { used_bytes: used?.bytes ?? 0, used_files: used?.files ?? 0 };
}

export function leaseView(lease: Lease, path: string): LeaseView {
  return {
    id: lease.id,
    scope: lease.scope,
    path,
    purpose: lease.purpose,
    holder: {
      uid: lease.holder.uid,
      pid: lease.holder.pid,
      command: lease.holder.command ?? null,
      unit: lease.holder.unit ?? null,
    },
    bound_to: [...lease.bound],
    visible_to: visibilityText(lease.visibility),
    read_only: lease.readOnly,
    idle_seconds: lease.idle === undefined ? null : lease.idle / 1000,
    budget: lease.budget === undefined ? null : { ...budgetView(lease.budget), ...usedView(lease.used) },
    created: new Date(lease.created).toISOString(),
    ...expiry(lease.deadline),
  };
}
