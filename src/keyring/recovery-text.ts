import type { SecretInput } from '../libc/memory.js';

/**
 * A recovery key as people copy it: 64 letters of modhex (letters that lie alike on most keyboards, as
 * systemd-cryptenroll(1) shows its recovery keys), 256 bits, in groups of 8 joined by dashes.
 */
const LETTERS = Buffer.from('cbdefghijklnrtuv');
const DIGITS = 64;
const GROUP = 8;
/** Bytes of the shown form. */
export const RECOVERY_TEXT_BYTES = DIGITS + DIGITS / GROUP - 1;

/** Writes the text of 32 bytes to `to` (71 bytes). */
export function writeRecoveryText(from: Buffer, to: Buffer): void {
  let at = 0;
  for (let i = 0; i < DIGITS; i++) {
    if (i > 0 && i % GROUP === 0) to[at++] = 0x2d;
    const byte = from[i >> 1] as number;
    to[at++] = LETTERS[(i & 1) === 0 ? byte >> 4 : byte & 15] as number;
  }
}

/** Reads what somebody typed (dashes, blanks and capitals do not matter) to 32 bytes. False: not a recovery key. */
export function readRecoveryText(input: SecretInput, to: Buffer): boolean {
  let digits = 0;
  to.fill(0, 0, DIGITS / 2);
  for (const byte of input.view) {
    if (byte === 0x2d || byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) continue;
    const digit = LETTERS.indexOf(byte | 0x20);
    if (digit < 0 || digits === DIGITS) return false;
    const at = digits >> 1;
    to[at] = (to[at] as number) | ((digits & 1) === 0 ? digit << 4 : digit);
    digits++;
  }
  return digits === DIGITS;
}
