import { Failure } from '../../base/failure.js';
import type { ScopeId } from '../../base/ids.js';
import type { Log } from '../../base/log.js';
import type { AeadSuite } from '../../crypto/aead.js';
import { type ScopeContext, Seal } from '../../keyring/seal.js';
import { ScopeSecrets } from '../../keyring/slots/scope-secrets.js';
import { Slots } from '../../keyring/slots/slots.js';
import { CurrentStoreKey } from '../../keyring/store-key.js';
import type { SecretMemory } from '../../libc/memory.js';
import type { Store } from '../../store/store.js';
import type { CoreCalls } from '../../worker/transport.js';
import { AuditLog } from '../audit/audit-log.js';
import { ScopePaths } from '../scopes/scope-paths.js';
import { composed } from '../secrets/composer.js';
import { ChildKem } from '../secrets/kem.js';
import type { VaultInfo } from './vault.js';

/** Secrets at the same time on the main thread: all epochs of some scopes that are being opened, and shares that wait. */
export const SECRETS = 16_384;

/** What a vault is mounted with. */
export interface MountParts {
  readonly vault: VaultInfo;
  readonly store: Store;
  readonly suite: AeadSuite;
  readonly memory: SecretMemory;
  readonly core: CoreCalls;
  readonly mountPoint: string;
  /** Its number, `MAJOR:MINOR`, by which mount tables name it. */
  readonly device: string;
  /** Nothing of the vault is written; `store` is a copy that goes with the mount. */
  readonly readOnly: boolean;
  /** Whether the transport's requests say who asks. */
  readonly knowsCallers: boolean;
  readonly log: Log;
}

/** A mounted vault: what is stored of it, what seals that, the core that serves its files, and where its scopes are. */
export class MountedVault {
  readonly info: VaultInfo;
  readonly store: Store;
  readonly core: CoreCalls;
  readonly mountPoint: string;
  readonly device: string;
  /** Gone from the mount table, while processes are still inside: locked, and nothing is unlocked any more. */
  detached = false;
  readonly readOnly: boolean;
  readonly knowsCallers: boolean;
  readonly log: Log;
  readonly seal: Seal;
  readonly slots: Slots;
  readonly secrets: ScopeSecrets;
  readonly storeKey = new CurrentStoreKey();
  readonly audit: AuditLog;
  readonly paths = new ScopePaths();

  constructor(parts: MountParts) {
    const { vault, store, suite, memory, core, mountPoint, device, readOnly, knowsCallers, log } = parts;
    this.info = vault;
    this.store = store;
    this.core = core;
    this.mountPoint = mountPoint;
    this.device = device;
    this.readOnly = readOnly;
    this.knowsCallers = knowsCallers;
    this.log = log;
    this.seal = new Seal(suite, memory);
    this.slots = new Slots(this.seal, new ChildKem(memory), composed);
    this.secrets = new ScopeSecrets(this.seal, this.slots, vault.recordHash);
    this.audit = new AuditLog(store, this.storeKey, readOnly ? log : undefined);
  }

  /** @throws Failure conflict where nothing may be changed */
  refuseReadOnly(): void {
    if (!this.readOnly) return;
    throw new Failure('conflict', `${this.info.path} is mounted read-only`, {
      reason: 'mount_read_only',
      details: { read_only: true },
    });
  }
  /** Where what is sealed of a scope belongs. */
  context(scope: ScopeId): ScopeContext {
    return { volume: this.info.record.volume, scope };
  }
}
