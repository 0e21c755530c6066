import { closeSync, fdatasync, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { Failure } from '../base/failure.js';
import { idBytes, type ScopeId, scopeId, type VolumeId } from '../base/ids.js';
import { AuditTable } from './audit.js';
import type { Connection } from './connection.js';
import { changing, openDatabase } from './database.js';
import { GroupSync } from './group-sync.js';
import { Reserve } from './reserve.js';
import type { EpochRow, ScopeRow, ScopeSecretRows, SlotRow, SlotType, WrapRow } from './rows.js';
import { ShareTable } from './shares.js';

interface RawScope {
  id: Buffer;
  parent: Buffer | null;
  path: Buffer;
  state: Buffer;
  slot_list: Buffer;
  created: number;
}
interface RawEpoch {
  epoch: number;
  key_id: Buffer;
  chain: Buffer | null;
  created: number;
}
interface RawSlot {
  scope: Buffer;
  number: number;
  type: SlotType;
  kind_version: number;
  parameters: string;
  public_key: Buffer;
  private_half: Buffer;
  label: Buffer | null;
  created: number;
}
interface RawWrap {
  number: number;
  epoch: number;
  wrap: Buffer;
  rewrap: Buffer | null;
}

const asId = (bytes: Buffer): ScopeId => scopeId(bytes.toString('hex'));
const scopeOf = (row: RawScope): ScopeRow => ({
  id: asId(row.id),
  parent: row.parent === null ? undefined : asId(row.parent),
  path: row.path,
  state: row.state,
  slotList: row.slot_list,
  created: row.created,
});

/** The metadata store: prepared statements and nothing else. It knows no key. */
export class Store {
  readonly #db: Connection;
  readonly #statements;
  /** Undefined: each commit is durable when it returns. */
  readonly #reserve: Reserve | undefined;
  readonly #group: GroupSync | undefined;
  #end: () => void = () => {};
  readonly audit: AuditTable;
  readonly shares: ShareTable;

  constructor(db: Connection, reserve?: Reserve, group?: GroupSync) {
    this.#db = db;
    this.#reserve = reserve;
    this.#group = group;
    this.audit = new AuditTable(db);
    this.shares = new ShareTable(db);
    this.#statements = {
      getMeta: db.prepare<[string], { value: Buffer }>('SELECT value FROM meta WHERE key = ?'),
      setMeta: db.prepare<[string, Buffer]>(
        'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      ),
      scopes: db.prepare<[], RawScope>('SELECT * FROM scopes ORDER BY rowid'),
      scope: db.prepare<[Buffer], RawScope>('SELECT * FROM scopes WHERE id = ?'),
      addScope: db.prepare(
        'INSERT INTO scopes (id, parent, path, state, slot_list, created) VALUES (?, ?, ?, ?, ?, ?)',
      ),
      removeScope: db.prepare('DELETE FROM scopes WHERE id = ?'),
      setPath: db.prepare('UPDATE scopes SET path = ? WHERE id = ?'),
      setState: db.prepare('UPDATE scopes SET state = ?, slot_list = ? WHERE id = ?'),
      epochs: db.prepare<[Buffer], RawEpoch>('SELECT * FROM epochs WHERE scope = ? ORDER BY epoch'),
      addEpoch: db.prepare(
        'INSERT INTO epochs (scope, epoch, key_id, chain, created) VALUES (?, ?, ?, ?, ?)',
      ),
      slots: db.prepare<[Buffer], RawSlot>('SELECT * FROM slots WHERE scope = ? ORDER BY number'),
      autoBelow: db.prepare<[Buffer, string], { id: Buffer }>(
        `SELECT DISTINCT scopes.id FROM scopes JOIN slots ON slots.scope = scopes.id
         WHERE scopes.parent = ? AND slots.type = 'parent' AND instr(slots.parameters, ?) > 0`,
      ),
      countSlots: db.prepare<[Buffer], { count: number }>(
        'SELECT count(*) AS count FROM slots WHERE scope = ?',
      ),
      addSlot: db.prepare(
        `INSERT INTO slots (scope, number, type, kind_version, parameters, public_key, private_half, label, created)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ),
      removeSlot: db.prepare('DELETE FROM slots WHERE scope = ? AND number = ?'),
      setParameters: db.prepare('UPDATE slots SET parameters = ? WHERE scope = ? AND number = ?'),
      setLabel: db.prepare('UPDATE slots SET label = ? WHERE scope = ? AND number = ?'),
      wraps: db.prepare<[Buffer], RawWrap>('SELECT * FROM wraps WHERE scope = ? ORDER BY number, epoch'),
      putWrap: db.prepare(
        `INSERT INTO wraps (scope, number, epoch, wrap, rewrap) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (scope, number, epoch) DO UPDATE SET wrap = excluded.wrap, rewrap = excluded.rewrap`,
      ),
    };
  }

  /** For one program that waits for each commit. */
  static open(path: string): Store {
    const reserve = Reserve.of(path);
    return new Store(
      reserve.retry(() => openDatabase(path, false, 'FULL')),
      reserve,
    );
  }
  static create(path: string): Store {
    const store = new Store(openDatabase(path, true, 'FULL'), Reserve.of(path));
    store.#reserve?.keep(store.#db);
    return store;
  }
  /** For a server: commits at the same time share a sync, and none holds up the thread. */
  static serve(path: string): Store {
    const reserve = Reserve.of(path);
    const db = reserve.retry(() => {
      const opened = openDatabase(path, false, 'NORMAL');
      // The log exists from the first read on, and for as long as the database is open.
      opened.prepare('SELECT count(*) FROM meta').get();
      return opened;
    });
    reserve.keep(db);
    const log = openSync(`${path}-wal`, 'r');
    const directory = openSync(dirname(path), 'r');
    fsyncSync(directory);
    closeSync(directory);
    const sync = promisify(fdatasync);
    const store = new Store(db, reserve, new GroupSync(() => sync(log)));
    store.#end = () => closeSync(log);
    return store;
  }
  close(): void {
    this.#db.close();
    this.#reserve?.close();
    this.#end();
  }

  /**
   * Makes several changes as one, at once: all that `change` reads and writes is one step. Resolves when they are
   * durable. Where they can't be made, none is. `made` is called when they are, still in the same turn: from then on
   * everybody reads them.
   */
  async commit<T>(change: () => T, made: (result: T) => void = () => {}): Promise<T> {
    const result = this.#together(change);
    made(result);
    try {
      await this.#group?.wait();
    } catch (error) {
      throw new Failure('io', 'the metadata store cannot be synced to its disk', {
        reason: 'store_unsynced',
        cause: error,
      });
    }
    return result;
  }
  /** Empties the write-ahead log, which has what was overwritten or deleted. False: another program reads the store. */
  scrub(): boolean {
    const done = this.#db.pragma('wal_checkpoint(TRUNCATE)')[0]?.['busy'] === 0;
    this.#reserve?.keepLog();
    return done;
  }
  /** How many syncs the commits so far took. */
  get syncs(): number {
    return this.#group?.count ?? 0;
  }
  #together<T>(change: () => T): T {
    // A part of another: a full disk may have rolled that back as a whole, so only the whole is tried again.
    if (this.#db.inTransaction) return changing(() => this.#db.transaction(change));
    const result = this.withRoom(() => changing(() => this.#db.transaction(change)));
    this.#reserve?.fill();
    return result;
  }
  /** Runs a change on the store's disk; where that is full, with room that is kept for it. */
  withRoom<T>(change: () => T): T {
    return this.#reserve === undefined ? change() : this.#reserve.retry(change);
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
    return this.#statements.scopes.all().map(scopeOf);
  }
  /** All that a scope's secrets hang on; undefined where there is no such scope. */
  secretsOf(id: ScopeId): ScopeSecretRows | undefined {
    const raw = this.#statements.scope.get(idBytes(id));
    if (raw === undefined) return undefined;
    return {
      scope: scopeOf(raw),
      epochs: this.#statements.epochs.all(idBytes(id)).map((row) => ({
        epoch: row.epoch,
        keyId: row.key_id,
        chain: row.chain ?? undefined,
        created: row.created,
      })),
      slots: this.slots(id),
      wraps: this.#statements.wraps.all(idBytes(id)).map((row) => ({
        number: row.number,
        epoch: row.epoch,
        wrap: row.wrap,
        rewrap: row.rewrap ?? undefined,
      })),
    };
  }
  addScope(rows: ScopeSecretRows): void {
    this.#together(() => {
      const { id, parent, path, state, slotList, created } = rows.scope;
      const above = parent === undefined ? null : idBytes(parent);
      this.#statements.addScope.run(idBytes(id), above, path, state, slotList, created);
      for (const epoch of rows.epochs) this.addEpoch(id, epoch);
      for (const slot of rows.slots) this.addSlot(id, slot);
      for (const wrap of rows.wraps) this.putWrap(id, wrap);
    });
  }
  removeScope(id: ScopeId): void {
    this.#statements.removeScope.run(idBytes(id));
  }
  setPath(id: ScopeId, path: Buffer): void {
    this.#statements.setPath.run(path, idBytes(id));
  }
  setState(id: ScopeId, state: Buffer, slotList: Buffer): void {
    this.#statements.setState.run(state, slotList, idBytes(id));
  }
  addEpoch(id: ScopeId, row: EpochRow): void {
    this.#statements.addEpoch.run(idBytes(id), row.epoch, row.keyId, row.chain ?? null, row.created);
  }

  /** Scopes below one that have a parent slot whose parameters have that text. */
  autoBelow(parent: ScopeId, text: string): ScopeId[] {
    return this.#statements.autoBelow.all(idBytes(parent), text).map((row) => asId(row.id));
  }
  slots(id: ScopeId): SlotRow[] {
    return this.#statements.slots.all(idBytes(id)).map((row) => ({
      number: row.number,
      type: row.type,
      kindVersion: row.kind_version,
      parameters: row.parameters,
      publicKey: row.public_key,
      privateHalf: row.private_half,
      label: row.label ?? undefined,
      created: row.created,
    }));
  }
  countSlots(id: ScopeId): number {
    return this.#statements.countSlots.get(idBytes(id))?.count ?? 0;
  }
  addSlot(id: ScopeId, row: SlotRow): void {
    this.#statements.addSlot.run(
      idBytes(id),
      row.number,
      row.type,
      row.kindVersion,
      row.parameters,
      row.publicKey,
      row.privateHalf,
      row.label ?? null,
      row.created,
    );
  }
  removeSlot(id: ScopeId, number: number): void {
    this.#statements.removeSlot.run(idBytes(id), number);
  }
  setParameters(id: ScopeId, number: number, parameters: string): void {
    this.#statements.setParameters.run(parameters, idBytes(id), number);
  }
  setLabel(id: ScopeId, number: number, label: Buffer): void {
    this.#statements.setLabel.run(label, idBytes(id), number);
  }
  putWrap(id: ScopeId, row: WrapRow): void {
    const { number, epoch, wrap, rewrap } = row;
    this.#statements.putWrap.run(idBytes(id), number, epoch, wrap, rewrap ?? null);
  }
}
