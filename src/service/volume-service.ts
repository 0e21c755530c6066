import { version } from '../base/version.js';
import type { VersionView } from '../control/schemas.js';
import type { ControlService } from '../control/service.js';
import type { CoreCalls } from '../worker/transport.js';
import { AuditTrail } from './audit/audit-trail.js';
import { LeaseService } from './leases/lease-service.js';
import { LockService } from './lock-service.js';
import type { MountedContext } from './mounted-context.js';
import { ScopeService } from './scope-service.js';
import { Receipts } from './scopes/receipts.js';
import { RootLabels } from './scopes/root-labels.js';
import { type KnownScopeRecord, ScopePaths } from './scopes/scope-paths.js';
import { ScopeSlots } from './slots/scope-slots.js';

/** One mounted vault, as the control plane has it: where its services are put together. */
export class VolumeService implements ControlService {
  readonly scopes: ScopeService;
  readonly locks: LockService;
  readonly leases: LeaseService;
  readonly slots: ScopeSlots;
  readonly audit: AuditTrail;
  readonly knowsCallers: boolean;
  readonly unmount: () => Promise<void>;
  readonly #context: MountedContext;
  readonly #core: CoreCalls;
  fuseMinor = 0;

  constructor(
    context: MountedContext,
    core: CoreCalls,
    known: readonly KnownScopeRecord[],
    unmount: () => Promise<void>,
  ) {
    this.#context = context;
    this.#core = core;
    this.unmount = unmount;
    this.knowsCallers = context.knowsCallers;
    const { mountPoint, log } = context;
    const paths = new ScopePaths();
    for (const scope of known) paths.set(scope.id, scope);
    const slots = new ScopeSlots(context, core, (id) => paths.fullPath(id));
    const receipts = new Receipts(paths, mountPoint, log, slots.audit);
    const labels = new RootLabels(context, core, paths, slots.audit, log);
    this.slots = slots;
    this.audit = new AuditTrail(slots.audit, (id) => (paths.has(id) ? paths.fullPath(id) : null));
    this.leases = new LeaseService(core, slots, paths, labels, receipts);
    this.locks = new LockService(mountPoint, { core, paths, slots, receipts });
    this.scopes = new ScopeService(context, { core, paths, slots, locks: this.locks });
  }

  async version(): Promise<VersionView> {
    const { vault, mountPoint } = this.#context;
    const status = await this.#core.call({ op: 'status' });
    return {
      version,
      volume: vault.record.volume,
      vault: vault.path,
      mount: mountPoint,
      pid: process.pid,
      fuse_minor: this.fuseMinor,
      secret_memory: status.secretMemory,
      inodes: status.inodes,
      requests: status.requests,
      longest_request: status.longest,
    };
  }
}
