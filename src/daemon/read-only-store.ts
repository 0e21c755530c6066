import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type VaultInfo, vaultPaths } from '../service/vault/vault.js';
import { RUN_DIRECTORY } from './options.js';

/**
 * A copy of the metadata store for a mount that must not write the vault: SQLite makes files beside a database in WAL mode
 * even to read it, and what the log has must be read. It is of what is sealed or public, in a directory of root's own.
 */
export function storeCopy({ path }: VaultInfo, store: string | undefined): string {
  const from = vaultPaths(path, store).store;
  mkdirSync(RUN_DIRECTORY, { recursive: true, mode: 0o755 });
  const directory = mkdtempSync(join(RUN_DIRECTORY, 'read-only-'));
  const copy = join(directory, 'store.sqlite');
  try {
    for (const part of ['', '-wal']) {
      if (part !== '' && !existsSync(from + part)) continue;
      copyFileSync(from + part, copy + part);
      chmodSync(copy + part, 0o600);
    }
    return copy;
  } catch (error) {
    removeCopy(copy);
    throw error;
  }
}

/** Its names; who has it open keeps it. */
export function removeCopy(copy: string): void {
  rmSync(dirname(copy), { recursive: true, force: true });
}
