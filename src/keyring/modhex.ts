/** Letters that lie alike on most keyboards, a digit of four bits each (as systemd-cryptenroll(1) shows recovery keys). */
const LETTERS = Buffer.from('cbdefghijklnrtuv');

/** Writes `count` bytes as letters to `to`, in groups of `group` letters joined by dashes (0: in one). Where it ended. */
export function writeModhex(from: Buffer, count: number, to: Buffer, at = 0, group = 0): number {
  let end = at;
  for (let digit = 0; digit < count * 2; digit++) {
    if (group > 0 && digit > 0 && digit % group === 0) to[end++] = 0x2d;
    const byte = from[digit >> 1] as number;
    to[end++] = LETTERS[(digit & 1) === 0 ? byte >> 4 : byte & 15] as number;
  }
  return end;
}

/** Reads exactly `count` bytes; dashes, blanks and capitals do not matter. False: it is something else. */
export function readModhex(text: Buffer, to: Buffer, count: number): boolean {
  let digits = 0;
  to.fill(0, 0, count);
  for (const byte of text) {
    if (byte === 0x2d || byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) continue;
    const digit = LETTERS.indexOf(byte | 0x20);
    if (digit < 0 || digits === count * 2) return false;
    const at = digits >> 1;
    to[at] = (to[at] as number) | ((digits & 1) === 0 ? digit << 4 : digit);
    digits++;
  }
  return digits === count * 2;
}
