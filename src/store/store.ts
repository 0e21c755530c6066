import { idBytes, type ScopeId, scopeId, type VolumeId } from '../base/ids.js';
import { type Db, openDatabase } from './database.js';

export type SlotType = 'passphrase' | 'keyfile';

/** A scope as stored. `path` and `state` are sealed (keyring/sealed-rows.ts). */
export interface ScopeRow {
  readonly id: ScopeId;
  readonly parent: ScopeId | undefined;
  readonly epoch: number;
  readonly keyId: Buffer;
  readonly path: Buffer;
  readonly state: Buffer;
  /** Seconds since 1970. */
  readonly created: number;
}

export interface SlotRow {
  readonly scope: ScopeId;
  readonly number: number;
  readonly type: SlotType;
  /** Which form `wrap` has. 1: the epoch secret sealed under a key from the slot's secret. */
  readonly kindVersion: number;
  /** JSON: salt and cost. */
  readonly parameters: string;
  readonly wrap: Buffer;
  readonly created: number;
}

interface RawScope {
  id: Buffer;
  parent: Buffer | null;
  epoch: number;
  key_id: Buffer;
  path: Buffer;
  state: Buffer;
  created: number;
}
interface RawSlot {
  scope: Buffer;
  number: number;
  type: SlotType;
  kind_version: number;
  parameters: string;
  wrap: Buffer;
  created: number;
}

const asId = (bytes: Buffer): ScopeId => scopeId(bytes.toString('hex'));

/** The metadata store: prepared statements and nothing else. It knows no key. */
export class Store {
  readonly #db: Db;
  readonly #statements;

  constructor(db: Db) {
    this.#db = db;
    this.#statements = {
      getMeta: db.prepare<[string], { value: Buffer }>('SELECT value FROM meta WHERE key = ?'),
      setMeta: db.prepare<[string, Buffer]>(
        'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      ),
      scopes: db.prepare<[], RawScope>('SELECT * FROM scopes ORDER BY rowid'),
      addScope: db.prepare(
        'INSERT INTO scopes (id, parent, epoch, key_id, path, state, created) VALUES (?, ?, ?, ?, ?, ?, ?)',
      ),
      removeScope: db.prepare('DELETE FROM scopes WHERE id = ?'),
      setPath: db.prepare('UPDATE scopes SET path = ? WHERE id = ?'),
      slots: db.prepare<[Buffer], RawSlot>('SELECT * FROM slots WHERE scope = ? ORDER BY number'),
      addSlot: db.prepare(
        'INSERT INTO slots (scope, number, type, kind_version, parameters, wrap, created) VALUES (?, ?, ?, ?, ?, ?, ?)',
      ),
    };
  }

  static open(path: string): Store {
    return new Store(openDatabase(path));
  }
  static create(path: string): Store {
    return new Store(openDatabase(path, true));
  }
  close(): void {
    this.#db.close();
  }
  /** Runs several changes as one: all of them are durable when it returns, or none. */
  transaction<T>(change: () => T): T {
    return this.#db.transaction(change)();
  }

  meta(key: string): Buffer | undefined {
    return this.#statements.getMeta.get(key)?.value;
  }
  setMeta(key: string, value: Buffer): void {
    this.#statements.setMeta.run(key, value);
  }
  setVolume(volume: VolumeId): void {
    this.setMeta('volume', idBytes(volume));
  }

  /** Parents before children: a scope is added after its parent. */
  scopes(): ScopeRow[] {
    return this.#statements.scopes.all().map((row) => ({
      id: asId(row.id),
      parent: row.parent === null ? undefined : asId(row.parent),
      epoch: row.epoch,
      keyId: row.key_id,
      path: row.path,
      state: row.state,
      created: row.created,
    }));
  }
  addScope(row: ScopeRow, slot: SlotRow): void {
    this.transaction(() => {
      const parent = row.parent === undefined ? null : idBytes(row.parent);
      this.#statements.addScope.run(
        idBytes(row.id),
        parent,
        row.epoch,
        row.keyId,
        row.path,
        row.state,
        row.created,
      );
      this.addSlot(slot);
    });
  }
  removeScope(id: ScopeId): void {
    this.#statements.removeScope.run(idBytes(id));
  }
  setPath(id: ScopeId, path: Buffer): void {
    this.#statements.setPath.run(path, idBytes(id));
  }

  slots(scope: ScopeId): SlotRow[] {
    return this.#statements.slots.all(idBytes(scope)).map((row) => ({
      scope: asId(row.scope),
      number: row.number,
      type: row.type,
      kindVersion: row.kind_version,
      parameters: row.parameters,
      wrap: row.wrap,
      created: row.created,
    }));
  }
  addSlot(row: SlotRow): void {
    this.#statements.addSlot.run(
      idBytes(row.scope),
      row.number,
      row.type,
      row.kindVersion,
      row.parameters,
      row.wrap,
      row.created,
    );
  }
}
