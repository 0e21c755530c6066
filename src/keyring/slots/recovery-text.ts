import type { SecretInput } from '../../libc/memory.js';
import { readModhex, writeModhex } from '../modhex.js';

/** A recovery key as people copy it: 256 bits as 64 letters of modhex, in groups of 8 joined by dashes. */
const BYTES = 32;
const GROUP = 8;
/** Bytes of the shown form. */
export const RECOVERY_TEXT_BYTES = 2 * BYTES + (2 * BYTES) / GROUP - 1;

/** Writes the text of 32 bytes to `to` (71 bytes). */
export function writeRecoveryText(from: Buffer, to: Buffer): void {
  writeModhex(from, BYTES, to, 0, GROUP);
}

/** Reads what a person typed (dashes, blanks and capitals do not matter) to 32 bytes. False: not a recovery key. */
export function readRecoveryText(input: SecretInput, to: Buffer): boolean {
  return readModhex(input.view, to, BYTES);
}
