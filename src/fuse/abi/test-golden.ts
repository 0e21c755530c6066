/** Bytes from rows of hexadecimal, each with what it is: golden messages read like the header file. */
export type Rows = readonly (readonly [bytes: string, meaning: string])[];

export function hex(rows: Rows): Buffer {
  return Buffer.from(rows.map(([bytes]) => bytes.replaceAll(' ', '')).join(''), 'hex');
}

/** struct fuse_in_header, but for its length and its opcode. */
export const header: Rows = [
  ['88 77 66 55 44 33 22 11', 'unique 0x1122334455667788'],
  ['ef cd ab 89 67 05 00 00', 'nodeid 0x056789abcdef'],
  ['e8 03 00 00', 'uid 1000'],
  ['e9 03 00 00', 'gid 1001'],
  ['92 10 00 00', 'pid 4242'],
  ['00 00 00 00', 'total_extlen, padding'],
];
