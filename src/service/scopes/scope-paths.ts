import { Failure } from '../../base/failure.js';
import { isId, type ScopeId, scopeId } from '../../base/ids.js';
import type { KnownScope } from '../../filesystem/inodes/volume.js';
import type { StoreKey } from '../../keyring/store-key.js';
import type { Store } from '../../store/store.js';

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

/** By what scopes go while their labels can't be read: until the root scope's first unlock. */
export function unreadScopes(store: Store): (KnownScopeRecord & KnownScope)[] {
  return store.scopes().map(({ id, parent, created }) => {
    return { id, parent, path: parent === undefined ? '' : `locked-${id}`, created };
  });
}

/**
 * Labels as the store key opens them. `damaged`: a scope whose label is not authentic. It goes by a name that tells so, until
 * its directory is seen and the core reports where it is.
 */
export function readLabels(
  store: Store,
  storeKey: StoreKey,
  damaged: (scope: ScopeId) => void,
): { id: ScopeId; path: string }[] {
  return store
    .scopes()
    .filter(({ parent }) => parent !== undefined)
    .map((row) => {
      const path = storeKey.openPath(row.id, row.path);
      if (path === undefined) damaged(row.id);
      return { id: row.id, path: path ?? `damaged-label-${row.id}` };
    });
}

/** The scopes of a mounted vault by id and by path. */
export class ScopePaths extends Map<ScopeId, KnownScopeRecord> {
  /** By full path, until a scope moves: then it is made anew. Of several with one path the first. */
  #byPath: Map<string, ScopeId> | undefined;
  /** Labels were not read yet. */
  unread = true;

  override set(id: ScopeId, record: KnownScopeRecord): this {
    super.set(id, record);
    const path = this.fullPath(id);
    if (this.#byPath?.has(path) === false) this.#byPath.set(path, id);
    return this;
  }
  override delete(id: ScopeId): boolean {
    this.#asked.delete(id);
    this.#byPath = undefined;
    return super.delete(id);
  }
  /** A scope's root has another path below its parent scope, and so have all below it. */
  move(id: ScopeId, path: string): boolean {
    const record = this.get(id);
    if (record === undefined) return false;
    record.path = path;
    this.#byPath = undefined;
    return true;
  }

  /** The last lock that was asked for of each, with all below it. */
  readonly #asked = new Map<ScopeId, number>();
  /** How many were asked for. */
  locksAsked = 0;
  /** A lock of these scopes is asked for, with all below them: which one it is. */
  lockAsked(scopes: readonly ScopeId[]): number {
    this.locksAsked++;
    for (const id of scopes) this.#asked.set(id, this.locksAsked);
    return this.locksAsked;
  }
  /** For what began when so many locks had been asked for: it must not unlock after a later one. @throws Failure busy */
  refuseLocked(id: ScopeId, since: number): void {
    for (let at: ScopeId | undefined = id; at !== undefined; at = this.get(at)?.parent) {
      if ((this.#asked.get(at) ?? 0) <= since) continue;
      throw new Failure('busy', `${this.fullPath(id)} was locked meanwhile`, {
        reason: 'scope_locked_meanwhile',
      });
    }
  }

  /** Whether a scope is one of these, or below one. */
  isWithin(id: ScopeId, scopes: readonly ScopeId[]): boolean {
    for (let at: ScopeId | undefined = id; at !== undefined; at = this.get(at)?.parent) {
      if (scopes.includes(at)) return true;
    }
    return false;
  }

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

  at(path: string): KnownScopeRecord | undefined {
    if (this.#byPath === undefined) {
      this.#byPath = new Map();
      for (const id of this.keys()) {
        const full = this.fullPath(id);
        if (!this.#byPath.has(full)) this.#byPath.set(full, id);
      }
    }
    const id = this.#byPath.get(path);
    return id === undefined ? undefined : this.get(id);
  }

  /** A scope by id or by path from the mount's root. */
  resolve(reference: string): KnownScopeRecord {
    const byId = isId(reference) ? this.get(scopeId(reference)) : undefined;
    const found = byId ?? this.at(`/${pathParts(reference).join('/')}`);
    if (found !== undefined) return found;
    if (this.unread) {
      throw new Failure('locked', `which scope ${reference} is shows when the root scope was unlocked`, {
        reason: { name: 'scope_locked', scope: '/' },
        details: { scope: '/' },
      });
    }
    throw new Failure('not_found', `there is no scope ${reference}`, {
      reason: 'scope_unknown',
    });
  }

  /** The deepest scope whose root is at or above a path. */
  containing(names: readonly string[]): KnownScopeRecord {
    for (let length = names.length; ; length--) {
      const found = this.at(`/${names.slice(0, length).join('/')}`);
      if (found !== undefined || length === 0) return found as KnownScopeRecord;
    }
  }
}
