/** What a line of the log says beside its text. Values are JSON; secrets print as [secret] by their type. */
export type Facts = Record<string, unknown>;

/** Where the daemon says what nobody asked for. Names of users' files belong there only where data is at stake. */
export interface Log {
  info(message: string, facts?: Facts): void;
  warn(message: string, facts?: Facts): void;
  error(message: string, facts?: Facts): void;
}

/** Says nothing: for tests and for programs that have their own. */
export const silent: Log = { info: () => {}, warn: () => {}, error: () => {} };
