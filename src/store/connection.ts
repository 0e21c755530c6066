import Database from 'better-sqlite3';
import { Failure } from '../base/failure.js';

export type Statement<Parameters extends unknown[] = unknown[], Row = unknown> = Database.Statement<
  Parameters,
  Row
>;

/** What must not become garbage, see {@link Connection}. */
const kept: object[] = [];

export interface ConnectionOptions {
  readonly readonly?: boolean;
  /** The database must be there already. */
  readonly fileMustExist?: boolean;
}

/**
 * One SQLite database and its statements, none of which is ever collected: each text is prepared once, and what was made
 * stays until the process ends. Since Node 24.19 the destructor of node::ObjectWrap, from which better-sqlite3 12 derives
 * them, aborts the process when a collection runs outside of JavaScript (`RemoveEnvironmentCleanupHook`, FACTS.md).
 */
export class Connection {
  readonly #database: Database.Database;
  readonly #statements = new Map<string, Statement>();

  /** @throws Failure unsupported_system where better-sqlite3 was built for another Node; SqliteError */
  constructor(path: string, options: ConnectionOptions = {}) {
    this.#database = loaded(() => new Database(path, options));
    kept.push(this, this.#database);
  }

  /** A statement of this text: the same one each time. */
  prepare<Parameters extends unknown[] = unknown[], Row = unknown>(text: string): Statement<Parameters, Row> {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#database.prepare<unknown[], unknown>(text);
      this.#statements.set(text, statement);
    }
    return statement as unknown as Statement<Parameters, Row>;
  }
  /** Runs statements for their effect: rows are dropped. */
  exec(texts: string): void {
    this.#database.exec(texts);
  }
  /** The rows of a PRAGMA. */
  pragma(text: string): Record<string, unknown>[] {
    return this.prepare<[], Record<string, unknown>>(`PRAGMA ${text}`).all();
  }
  /** The one value of a PRAGMA. */
  pragmaValue(text: string): unknown {
    return Object.values(this.pragma(text)[0] ?? {})[0];
  }
  /** Runs `change` as one: all of it or nothing. May be nested. */
  transaction<T>(change: () => T): T {
    return this.#database.transaction(change)();
  }
  get inTransaction(): boolean {
    return this.#database.inTransaction;
  }
  close(): void {
    this.#database.close();
  }
}

/** The native part is loaded with the first database. */
function loaded<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    // Built for another Node, or not at all (`bindings` lists where it looked).
    const isUnloadable =
      error instanceof Error &&
      ((error as NodeJS.ErrnoException).code === 'ERR_DLOPEN_FAILED' || 'tries' in error);
    if (!isUnloadable) throw error;
    throw new Failure(
      'unsupported_system',
      `better-sqlite3 cannot be loaded by Node ${process.versions.node}: ${error.message.split('\n')[0]}`,
      {
        reason: 'sqlite_for_other_node',
        cause: error,
      },
    );
  }
}

/** What SQLite refused with, as `SQLITE_FULL`; empty where it was something else. */
export function sqliteCode(error: unknown): string {
  return error instanceof Database.SqliteError ? error.code : '';
}
