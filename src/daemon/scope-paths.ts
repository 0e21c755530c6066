import { Failure } from '../base/failure.js';
import { isId, type ScopeId, scopeId } from '../base/ids.js';
import type { KnownScope } from '../filesystem/volume.js';
import type { StoreKey } from '../keyring/store-key.js';
import type { Store } from '../store/store.js';

export interface KnownScopeRecord {
  readonly id: ScopeId;
  readonly parent: ScopeId | undefined;
  /** Below the parent scope's root, latin1; empty for the root scope. */
  path: string;
  readonly created: number;
}

/** latin1 of raw bytes to text for people, and back. */
export const shown = (raw: string): string => Buffer.from(raw, 'latin1').toString('utf8');
export const raw = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

export const pathParts = (path: string): string[] => path.split('/').filter((name) => name !== '');

/**
 * What the core must know at the start. `damaged`: a scope whose label is not authentic. It goes by a name that tells
 * so, until its directory is seen and the core reports where it is.
 */
export function knownScopes(
  store: Store,
  storeKey: StoreKey,
  damaged: (scope: ScopeId) => void,
): (KnownScopeRecord & KnownScope)[] {
  return store.scopes().map((row) => {
    const path = storeKey.openPath(row.id, row.path);
    if (path === undefined) damaged(row.id);
    const shownAs = row.parent === undefined ? '' : `damaged-label-${row.id}`;
    return { id: row.id, parent: row.parent, path: path ?? shownAs, created: row.created };
  });
}

/** The scopes of a mounted vault by id and by path. */
export class ScopePaths extends Map<ScopeId, KnownScopeRecord> {
  fullPath(id: ScopeId): string {
    const names: string[] = [];
    for (let at: ScopeId | undefined = id; at !== undefined; ) {
      const scope: KnownScopeRecord | undefined = this.get(at);
      if (scope === undefined) break;
      if (scope.path !== '') names.unshift(shown(scope.path));
      at = scope.parent;
    }
    return `/${names.join('/')}`;
  }

  /** A scope by id or by path from the mount's root. */
  resolve(reference: string): KnownScopeRecord {
    if (isId(reference)) {
      const byId = this.get(scopeId(reference));
      if (byId !== undefined) return byId;
    }
    const path = `/${reference
      .split('/')
      .filter((part) => part !== '')
      .join('/')}`;
    for (const scope of this.values()) {
      if (this.fullPath(scope.id) === path) return scope;
    }
    throw new Failure('not_found', `there is no scope ${reference}`, {
      hint: 'list them with: scopefs ls',
    });
  }

  /** The deepest scope whose root is at or above a path. */
  containing(names: readonly string[]): KnownScopeRecord {
    const path = `/${names.join('/')}`;
    let best: KnownScopeRecord | undefined;
    let length = -1;
    for (const scope of this.values()) {
      const root = this.fullPath(scope.id);
      const inside = root === '/' || path === root || path.startsWith(`${root}/`);
      if (inside && root.length > length) {
        best = scope;
        length = root.length;
      }
    }
    return best as KnownScopeRecord;
  }
}
