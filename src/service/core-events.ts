import { errnoName } from '../base/errno.js';
import type { CoreEvent } from '../worker/messages.js';
import type { MountedVault } from './vault/mounted-vault.js';
import type { VolumeService } from './volume-service.js';

type Handlers = {
  readonly [Kind in CoreEvent['kind']]: (event: Extract<CoreEvent, { kind: Kind }>) => void;
};

/**
 * What comes of events that the core tells without being asked: rows, labels and log lines. A kind without a row does not
 * compile. The log outlives locks, so it has no names: scopes by id, files by the inode number that they have in the vault and
 * in the mount (`find MOUNT -inum N`).
 */
export class CoreEvents {
  readonly #vault: MountedVault;
  readonly #service: VolumeService;
  /** Files are left whose header a lock could not write. */
  behind = false;

  constructor(vault: MountedVault, service: VolumeService) {
    this.#vault = vault;
    this.#service = service;
  }

  happened(event: CoreEvent): void {
    (this.#handlers[event.kind] as (event: CoreEvent) => void)(event);
  }

  readonly #handlers: Handlers = {
    moved: ({ scope, path }) => this.#service.scopes.moved(scope, path),
    leaseEnded: ({ lease, ...ending }) => this.#service.leases.ended(lease, ending),
    spent: ({ scope, lease, over, used }) => this.#service.leases.spent(scope, lease, over, used),
    behind: ({ behind }) => {
      this.behind = behind;
    },
    expired: ({ receipts }) => {
      void this.#service.locks.happened(receipts).then((views) => {
        for (const { scope, errors } of views) {
          if (errors.length === 0) continue;
          const facts = {
            scope,
            files: errors.length,
            errors: [...new Set(errors.map(({ error }) => error))],
          };
          this.#vault.log.error('a lease ended, and not everything could be written', facts);
        }
      });
    },
    recovered: ({ scope, ino, before, after }) => {
      const sizes = { header_bytes: before, found_bytes: after };
      this.#vault.log.warn('a file was repaired after an unclean stop', { scope, inode: ino, ...sizes });
    },
    writeBackFailed: ({ scope, ino, error }) => {
      const facts = { scope, inode: ino, errno: errnoName(error) };
      this.#vault.log.error('the last write-back of a file failed', facts);
    },
  };
}
