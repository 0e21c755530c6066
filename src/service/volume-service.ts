import { version } from '../base/version.js';
import type { VersionView } from '../control/schemas.js';
import type { ControlService } from '../control/service.js';
import { AuditTrail } from './audit/audit-trail.js';
import { LeaseService } from './leases/lease-service.js';
import { LockService } from './leases/lock-service.js';
import { ScopeService } from './scope-service.js';
import { Receipts } from './scopes/receipts.js';
import { ScopeSlots } from './slots/scope-slots.js';
import type { MountedVault } from './vault/mounted-vault.js';

/** One mounted vault, as the control plane has it: where its services are put together. */
export class VolumeService implements ControlService {
  readonly scopes: ScopeService;
  readonly locks: LockService;
  readonly leases: LeaseService;
  readonly slots: ScopeSlots;
  readonly audit: AuditTrail;
  readonly knowsCallers: boolean;
  readonly unmount: () => Promise<void>;
  readonly #vault: MountedVault;
  readonly #fuseMinor: number;

  /** `fuseMinor`: of the protocol that the kernel speaks with us. */
  constructor(vault: MountedVault, fuseMinor: number, unmount: () => Promise<void>) {
    this.#vault = vault;
    this.#fuseMinor = fuseMinor;
    this.unmount = unmount;
    this.knowsCallers = vault.knowsCallers;
    const receipts = new Receipts(vault);
    this.slots = new ScopeSlots(vault);
    this.audit = new AuditTrail(vault.audit, vault.paths);
    this.leases = new LeaseService(vault, this.slots, receipts);
    this.locks = new LockService(vault, this.slots, receipts);
    this.scopes = new ScopeService(vault, this.slots, this.locks);
  }

  async version(): Promise<VersionView> {
    const { info, mountPoint, device, detached, readOnly, core } = this.#vault;
    const status = await core.call({ op: 'status' });
    return {
      version,
      volume: info.record.volume,
      vault: info.path,
      mount: mountPoint,
      device,
      detached,
      read_only: readOnly,
      pid: process.pid,
      fuse_minor: this.#fuseMinor,
      secret_memory: status.secretMemory,
      inodes: status.inodes,
      requests: status.requests,
      longest_request: status.longest,
    };
  }
}
