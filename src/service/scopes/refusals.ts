import { errno, errnoName } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import type { ControlResult } from '../../filesystem/scopes/scope-access.js';
import { type ScopePaths, shown } from './scope-paths.js';

/** What of the core's refusal people are told; `what` names the scope. */
export function refused(
  result: Extract<ControlResult, { ok: false }>,
  what: string,
  paths: ScopePaths,
): Failure {
  const at = result.at === undefined ? what : shown(result.at);
  switch (result.errno) {
    case errno.ENOKEY: {
      const parent = result.lockedScope === undefined ? '/' : paths.fullPath(result.lockedScope);
      return new Failure('locked', `${parent} is locked`, {
        hint: `unlock it first: scopefs unlock ${parent} --with SRC`,
        details: { scope: parent },
      });
    }
    case errno.EPERM: {
      const parent = result.lockedScope === undefined ? '/' : paths.fullPath(result.lockedScope);
      return new Failure('conflict', `${parent} is unlocked for some callers alone`, {
        hint: 'lock it, and unlock it for any',
      });
    }
    case errno.EROFS: {
      const parent = result.lockedScope === undefined ? '/' : paths.fullPath(result.lockedScope);
      return new Failure('conflict', `${parent} is unlocked to be read only`, {
        hint: 'lock it, and unlock it without --ro',
      });
    }
    case errno.EBUSY:
      return new Failure('busy', `${what} is being locked`, { hint: 'try again in a moment' });
    case errno.ENOENT:
      return new Failure('not_found', `${at} does not exist`, {
        hint: 'make the directories above a scope with mkdir on the mount',
      });
    case errno.EEXIST:
      return new Failure('conflict', `${what} is a scope already`, {
        hint: 'open it with: scopefs unlock SCOPE --with SRC',
      });
    case errno.ENOTEMPTY:
      return new Failure('conflict', `${what} is not empty`, {
        hint: 'create the scope at a new path and move the files into it with cp and rm',
      });
    case errno.ENOTDIR:
      return new Failure('conflict', `${at} is not a directory`);
    case errno.EINVAL:
      return new Failure('usage', `not a path for a scope: ${what}`);
    case errno.ESTALE:
      return new Failure('integrity', `${what}: the metadata store is older than the vault`, {
        hint: "restore the newer store; after a restore on purpose remove the file +slots in the scope's backing directory",
      });
    case errno.EIO:
      return new Failure('integrity', `${at}: its stored records are damaged or were tampered with`);
    case errno.ENFILE:
      return new Failure('busy', `${what}: there is no room for more keys`, {
        hint: 'lock scopes that nobody needs, or close files',
      });
    case errno.ENOSPC:
      return new Failure('no_space', `no space left for ${what}`);
    default:
      return new Failure('io', `${at}: ${errnoName(result.errno)}`);
  }
}
