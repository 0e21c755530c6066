import type { OpenRequest } from '../filesystem/contract.js';
import { open } from '../libc/files.js';

/** `flags`: those of open(2), as both transports pass them. */
export function openRequest(flags: number, killPrivileges: boolean): OpenRequest {
  return {
    write: (flags & open.O_ACCMODE) !== open.O_RDONLY,
    truncate: (flags & open.O_TRUNC) !== 0,
    killPrivileges,
  };
}
