import type { ScopeId } from '../base/ids.js';

/** What one lock did (PRODUCT.md, "lock receipt"). */
export interface LockReceipt {
  readonly scope: ScopeId;
  readonly generation: number;
  readonly reason: string;
  readonly leasesEnded: number;
  /** Handles that were open and answer ENOKEY from now on. */
  readonly handlesCut: number;
  /** Inodes whose cached pages, names and attributes the kernel was told to drop. */
  readonly inodesInvalidated: number;
  /** Bytes of dirty pages that the kernel wrote because of the lock. */
  readonly bytesFlushed: number;
  /** Files whose data could not be written back, and why; `*` stands for the whole scope. */
  readonly errors: readonly { readonly file: string; readonly error: string }[];
  readonly seconds: number;
}

/** What the core tells without being asked. Paths are latin1, below their scope's root; `ino` is that of the backing, and of the mount. */
export type VolumeEvent =
  /** A scope's root got another path below its parent scope. */
  | { readonly kind: 'moved'; readonly scope: ScopeId; readonly path: string }
  /** A lock without a command: a lease ended. Children first. */
  | { readonly kind: 'expired'; readonly receipts: readonly LockReceipt[] }
  /** A file was repaired after an unclean stop: the size its header had, and the one it has now. */
  | {
      readonly kind: 'recovered';
      readonly scope: ScopeId;
      readonly path: string;
      readonly ino: number;
      readonly before: number;
      readonly after: number;
    }
  /** A file's header could not be written when its last handle was released. `error`: errno. */
  | {
      readonly kind: 'writeBackFailed';
      readonly scope: ScopeId;
      readonly path: string;
      readonly ino: number;
      readonly error: number;
    };
