import { closeSync, existsSync, fsyncSync, openSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import { isPrerelease } from '../../base/version.js';
import { type SuiteName, suiteName } from '../../crypto/suites.js';
import {
  decodeVolumeRecord,
  type VolumeRecord,
  volumeRecordHash,
} from '../../format/volume/volume-record.js';
import { close, lockExclusive, open, openPath } from '../../libc/files.js';

/** Where things are in a vault (FORMAT.md). */
export function vaultPaths(vault: string, store?: string) {
  return {
    record: join(vault, 'volume'),
    tree: join(vault, 'tree'),
    store: store ?? join(vault, 'store.sqlite'),
    lock: join(vault, 'lock'),
    dirty: join(vault, 'dirty'),
  };
}

export interface VaultInfo {
  readonly path: string;
  readonly record: VolumeRecord;
  readonly recordHash: Buffer;
  readonly suite: SuiteName;
}

/** Reads and checks a vault's volume record. */
export function readVault(vault: string): VaultInfo {
  let path: string;
  try {
    path = realpathSync(vault);
  } catch {
    throw new Failure('not_found', `${vault} does not exist`, {
      reason: { name: 'vault_missing', vault },
    });
  }
  const paths = vaultPaths(path);
  let bytes: Buffer;
  try {
    bytes = readFileSync(paths.record);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Failure('not_a_vault', `${vault} is not a vault: it has no volume record`, {
      reason: { name: 'vault_without_record', vault },
    });
  }
  const record = decodeVolumeRecord(bytes, paths.record, !isPrerelease());
  const suite = suiteName(record.suite);
  if (suite === undefined) {
    throw new Failure(
      'unsupported_format',
      `${vault} uses cipher suite ${record.suite}, which this build does not know`,
    );
  }
  return { path, record, recordHash: volumeRecordHash(bytes), suite };
}

/** Takes the vault for this process: the descriptor that holds the lock, to be kept or inherited. */
export function lockVault(vault: string, readOnly = false): number {
  const { lock, record } = vaultPaths(vault);
  // A snapshot of a vault that was never mounted has no such file, and none can be made there.
  const path = readOnly && !existsSync(lock) ? record : lock;
  const fd = openPath(path, readOnly ? open.O_RDONLY : open.O_RDWR | open.O_CREAT, 0o600);
  if (fd < 0) throw new Failure('io', `${path} cannot be opened (${errnoName(-fd)})`);
  if (lockExclusive(fd) < 0) {
    close(fd);
    throw new Failure('busy', `${vault} is mounted or in use by another scopefs`, {
      reason: { name: 'vault_in_use', vault },
    });
  }
  return fd;
}

/** Makes names in a directory durable. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}
