import { existsSync } from 'node:fs';
import { Failure } from '../base/failure.js';
import { Connection, sqliteCode } from './connection.js';

/** Each step brings the schema one version further; `user_version` counts them. Never edit one that was released. */
const migrations = [
  `CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
   CREATE TABLE scopes (
     id BLOB PRIMARY KEY CHECK (length(id) = 16),
     parent BLOB REFERENCES scopes (id),
     path BLOB NOT NULL,
     state BLOB NOT NULL,
     slot_list BLOB NOT NULL,
     created INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE epochs (
     scope BLOB NOT NULL REFERENCES scopes (id) ON DELETE CASCADE,
     epoch INTEGER NOT NULL,
     key_id BLOB NOT NULL,
     chain BLOB,
     created INTEGER NOT NULL,
     PRIMARY KEY (scope, epoch)
   ) STRICT;
   CREATE TABLE slots (
     scope BLOB NOT NULL REFERENCES scopes (id) ON DELETE CASCADE,
     number INTEGER NOT NULL,
     type TEXT NOT NULL,
     kind_version INTEGER NOT NULL,
     parameters TEXT NOT NULL,
     public_key BLOB NOT NULL,
     private_half BLOB NOT NULL,
     label BLOB,
     created INTEGER NOT NULL,
     PRIMARY KEY (scope, number)
   ) STRICT;
   CREATE TABLE wraps (
     scope BLOB NOT NULL,
     number INTEGER NOT NULL,
     epoch INTEGER NOT NULL,
     wrap BLOB NOT NULL,
     rewrap BLOB,
     PRIMARY KEY (scope, number, epoch),
     FOREIGN KEY (scope, number) REFERENCES slots (scope, number) ON DELETE CASCADE
   ) STRICT;
   CREATE TABLE audit (
     sequence INTEGER PRIMARY KEY AUTOINCREMENT,
     at INTEGER NOT NULL,
     event TEXT NOT NULL,
     result TEXT NOT NULL,
     scope BLOB,
     slot INTEGER,
     lease TEXT,
     uid INTEGER,
     pid INTEGER,
     note BLOB,
     note_key INTEGER
   ) STRICT;
   CREATE INDEX audit_scope ON audit (scope, sequence);
   CREATE TRIGGER audit_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
   CREATE TRIGGER audit_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;`,
  `CREATE TABLE shares (
     scope BLOB NOT NULL,
     slot INTEGER NOT NULL,
     number INTEGER NOT NULL,
     sealed BLOB,
     tag BLOB NOT NULL,
     PRIMARY KEY (scope, slot, number),
     FOREIGN KEY (scope, slot) REFERENCES slots (scope, number) ON DELETE CASCADE
   ) STRICT;`,
];

/**
 * Opens the metadata store. `create`: it must not exist yet; otherwise it must. `synchronous`: FULL makes each commit
 * durable when it returns; NORMAL leaves that to whoever syncs the write-ahead log (sqlite.org/wal.html).
 */
export function openDatabase(path: string, create: boolean, synchronous: 'FULL' | 'NORMAL'): Connection {
  if (create && existsSync(path)) {
    throw new Failure('conflict', `${path} exists already`);
  }
  if (!create && !existsSync(path)) {
    throw new Failure('not_found', `the metadata store ${path} is missing`, {
      reason: 'store_missing',
    });
  }
  let db: Connection | undefined;
  try {
    db = new Connection(path);
    // secure_delete overwrites what a removed slot leaves in its page.
    db.exec(
      `PRAGMA journal_mode = WAL;
       PRAGMA synchronous = ${synchronous};
       PRAGMA secure_delete = ON;
       PRAGMA foreign_keys = ON;
       PRAGMA trusted_schema = OFF;`,
    );
    migrate(db, path);
  } catch (error) {
    db?.close();
    if (error instanceof Failure) throw error;
    // A full disk is no reason for a backup.
    changing(() => {
      if (sqliteCode(error) === 'SQLITE_FULL') throw error;
    });
    throw new Failure('integrity', `the metadata store ${path} cannot be read: ${String(error)}`, {
      reason: 'store_unreadable',
      cause: error,
    });
  }
  return db;
}

/** Runs a change; what SQLite refuses for want of space or by the disk has the code that callers know. */
export function changing<T>(change: () => T): T {
  try {
    return change();
  } catch (error) {
    const code = sqliteCode(error);
    if (code === 'SQLITE_FULL') {
      throw new Failure('no_space', 'no space left for the metadata store', {
        reason: 'store_full',
        cause: error,
      });
    }
    if (/^SQLITE_(IOERR|READONLY|CANTOPEN|BUSY)/.test(code)) {
      throw new Failure('io', `the metadata store cannot be written (${code})`, { cause: error });
    }
    throw error;
  }
}

function migrate(db: Connection, path: string): void {
  const version = db.pragmaValue('user_version') as number;
  const draft = db.prepare("SELECT 1 FROM pragma_table_info('scopes') WHERE name = 'key_id'").get();
  if (draft !== undefined) {
    throw new Failure('unsupported_format', `${path} was made by an earlier draft of scopefs`, {
      reason: 'store_by_draft',
    });
  }
  if (version > migrations.length) {
    throw new Failure(
      'unsupported_format',
      `${path} has schema version ${version}, this build knows ${migrations.length}`,
      {
        reason: 'made_by_newer',
      },
    );
  }
  db.transaction(() => {
    for (let step = version; step < migrations.length; step++) {
      db.exec(`${migrations[step]}; PRAGMA user_version = ${step + 1};`);
    }
  });
}
