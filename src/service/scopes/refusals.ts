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
        reason: { name: 'scope_locked', scope: parent },
        details: { scope: parent },
      });
    }
    case errno.EPERM: {
      const parent = result.lockedScope === undefined ? '/' : paths.fullPath(result.lockedScope);
      return new Failure('conflict', `${parent} is unlocked for some callers alone`, {
        reason: 'scope_for_some_callers',
      });
    }
    case errno.EROFS: {
      const parent = result.lockedScope === undefined ? '/' : paths.fullPath(result.lockedScope);
      return new Failure('conflict', `${parent} is unlocked to be read only`, {
        reason: 'scope_read_only',
      });
    }
    case errno.EBUSY:
      return new Failure('busy', `${what} is being locked`);
    case errno.ENOENT:
      return new Failure('not_found', `${at} does not exist`, {
        reason: 'scope_directory_missing',
      });
    case errno.EEXIST:
      return new Failure('conflict', `${what} is a scope already`, {
        reason: 'scope_present',
      });
    case errno.ENOTEMPTY:
      return new Failure('conflict', `${what} is not empty`, {
        reason: 'scope_directory_not_empty',
      });
    case errno.ENOTDIR:
      return new Failure('conflict', `${at} is not a directory`);
    case errno.EINVAL:
      return new Failure('usage', `not a path for a scope: ${what}`);
    case errno.ESTALE:
      return new Failure('integrity', `${what}: the metadata store is older than the vault`, {
        reason: 'store_older',
      });
    case errno.EIO:
      return new Failure('integrity', `${at}: its stored records are damaged or were tampered with`);
    case errno.ENFILE:
      return new Failure('busy', `${what}: there is no room for more keys`, {
        reason: 'scope_keys_full',
      });
    case errno.ENOSPC:
      return new Failure('no_space', `no space left for ${what}`);
    default:
      return new Failure('io', `${at}: ${errnoName(result.errno)}`);
  }
}
