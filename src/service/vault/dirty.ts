import { existsSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { syncDirectory, vaultPaths } from './vault.js';

/** Marks the vault as in use, durably, before the first write. True: it was left so, by a stop that was not clean. */
export function markDirty(vault: string, session: string): { unclean: boolean; sessions: string[] } {
  const found = readDirty(vault);
  writeSessions(vault, [...found.sessions, session]);
  return found;
}
/** What {@link markDirty} finds, of a vault that is not written. */
export function readDirty(vault: string): { unclean: boolean; sessions: string[] } {
  const { dirty } = vaultPaths(vault);
  const unclean = existsSync(dirty);
  return { unclean, sessions: unclean ? sessionsOf(dirty) : [] };
}
/** This session ended well. Others that did not are remembered: their files are looked at when they are opened. */
export function markClean(
  vault: string,
  session: string,
  { unclean, behind }: { unclean: boolean; behind: boolean },
): void {
  const { dirty } = vaultPaths(vault);
  // Files of this session are behind: it counts as one that did not end well.
  if (behind) return;
  const left = sessionsOf(dirty).filter((mark) => mark !== session);
  if (unclean) writeSessions(vault, left);
  else unlinkSync(dirty);
  syncDirectory(vault);
}
function sessionsOf(dirty: string): string[] {
  return readFileSync(dirty, 'latin1')
    .split('\n')
    .filter((mark) => /^[0-9a-f]{32}$/.test(mark));
}
/** Replaced at once: half a list would condemn files that were written in the sessions it lost. */
function writeSessions(vault: string, sessions: readonly string[]): void {
  const { dirty } = vaultPaths(vault);
  writeFileSync(`${dirty}.new`, sessions.map((mark) => `${mark}\n`).join(''), { mode: 0o600, flush: true });
  renameSync(`${dirty}.new`, dirty);
  syncDirectory(vault);
}
