import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { rows } from './errors.js';
import { scenarios } from './scenarios.js';
import { as, outcome, sys } from './sys.js';

/** Runs `act` in a fresh directory below `base` that everybody may enter. */
function inside<T>(base: string, act: () => T): T {
  const directory = mkdtempSync(join(base, 'posix-'));
  const back = process.cwd();
  sys.chmod(base, 0o755);
  sys.chmod(directory, 0o777);
  process.chdir(directory);
  try {
    return act();
  } finally {
    process.chdir(back);
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What each row of the table gave in a directory: in the table's order. */
export function errorsIn(base: string): string[] {
  return rows.map(({ who, prepare, act }) =>
    inside(base, () => {
      prepare?.();
      return as(who, () => outcome(act()));
    }),
  );
}

/** What each scenario showed in a directory. */
export function observationsIn(base: string): Record<string, unknown> {
  const seen: Record<string, unknown> = {};
  for (const [name, play] of Object.entries(scenarios)) {
    const umask = sys.umask(0o022);
    try {
      seen[name] = inside(base, play);
    } catch (error) {
      seen[name] = `threw ${error}`;
    }
    sys.umask(umask);
  }
  return seen;
}

export function fresh(base: string, name: string): string {
  const directory = join(base, name);
  mkdirSync(directory, { recursive: true });
  return directory;
}
