import { join } from 'node:path';
import { Connection } from '../../src/store/connection.js';
import type { Vault } from './mounted.js';

/** What a vault's metadata store says of a scope, read beside the daemon. `scope`: `/`, or the name of any other. */
export function openScopeRows(
  vault: Vault,
  scope: string,
): { id: Buffer; epochs: { epoch: number }[]; storeKey: Buffer } {
  const db = new Connection(join(vault.vault, 'store.sqlite'), { readonly: true });
  try {
    const found = scopeIds(db);
    const id = scope === '/' ? found[0] : found[1];
    if (id === undefined) throw new Error(`no scope ${scope}`);
    const epochs = db.prepare('SELECT epoch FROM epochs WHERE scope = ? ORDER BY epoch').all(id);
    const key = db.prepare("SELECT value FROM meta WHERE key = 'store_key'").get() as { value: Buffer };
    return { id, epochs: epochs as { epoch: number }[], storeKey: key.value };
  } finally {
    db.close();
  }
}

function scopeIds(db: Connection): Buffer[] {
  return (db.prepare('SELECT id FROM scopes ORDER BY rowid').all() as { id: Buffer }[]).map(({ id }) => id);
}

/** Edits a store by hand, as somebody with the vault can. The vault must not be mounted. */
export function editStore(vault: Vault, edit: (db: Connection, scopes: Buffer[]) => void): void {
  const db = new Connection(join(vault.vault, 'store.sqlite'));
  try {
    edit(db, scopeIds(db));
  } finally {
    db.close();
  }
}
