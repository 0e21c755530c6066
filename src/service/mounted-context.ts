import type { Log } from '../base/log.js';
import type { SlotServices } from './vault/mounted-vault.js';

/** A mounted vault, and where and how it is mounted. */
export interface MountedContext extends SlotServices {
  /** Whether requests say who asks. */
  readonly knowsCallers: boolean;
  readonly mountPoint: string;
  readonly log: Log;
}
