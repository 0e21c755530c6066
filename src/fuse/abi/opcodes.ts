/**
 * The kernel's FUSE protocol, version 7.45 (include/uapi/linux/fuse.h). One row an opcode: its number, the bytes of
 * its fixed body after the 40-byte header, and how many NUL-terminated names follow. Names, sizes and checks all come
 * from here.
 */
interface Row {
  readonly code: number;
  readonly fixed: number;
  readonly names: 0 | 1 | 2;
}

export const opcodes = {
  LOOKUP: { code: 1, fixed: 0, names: 1 },
  FORGET: { code: 2, fixed: 8, names: 0 },
  GETATTR: { code: 3, fixed: 16, names: 0 },
  SETATTR: { code: 4, fixed: 88, names: 0 },
  READLINK: { code: 5, fixed: 0, names: 0 },
  SYMLINK: { code: 6, fixed: 0, names: 2 },
  MKNOD: { code: 8, fixed: 16, names: 1 },
  MKDIR: { code: 9, fixed: 8, names: 1 },
  UNLINK: { code: 10, fixed: 0, names: 1 },
  RMDIR: { code: 11, fixed: 0, names: 1 },
  RENAME: { code: 12, fixed: 8, names: 2 },
  LINK: { code: 13, fixed: 8, names: 1 },
  OPEN: { code: 14, fixed: 8, names: 0 },
  READ: { code: 15, fixed: 40, names: 0 },
  WRITE: { code: 16, fixed: 40, names: 0 },
  STATFS: { code: 17, fixed: 0, names: 0 },
  RELEASE: { code: 18, fixed: 24, names: 0 },
  FSYNC: { code: 20, fixed: 16, names: 0 },
  // With SETXATTR_EXT, which Linux has had since 5.13.
  SETXATTR: { code: 21, fixed: 16, names: 1 },
  GETXATTR: { code: 22, fixed: 8, names: 1 },
  LISTXATTR: { code: 23, fixed: 8, names: 0 },
  REMOVEXATTR: { code: 24, fixed: 0, names: 1 },
  FLUSH: { code: 25, fixed: 24, names: 0 },
  INIT: { code: 26, fixed: 16, names: 0 },
  OPENDIR: { code: 27, fixed: 8, names: 0 },
  READDIR: { code: 28, fixed: 40, names: 0 },
  RELEASEDIR: { code: 29, fixed: 24, names: 0 },
  FSYNCDIR: { code: 30, fixed: 16, names: 0 },
  GETLK: { code: 31, fixed: 48, names: 0 },
  SETLK: { code: 32, fixed: 48, names: 0 },
  SETLKW: { code: 33, fixed: 48, names: 0 },
  ACCESS: { code: 34, fixed: 8, names: 0 },
  CREATE: { code: 35, fixed: 16, names: 1 },
  INTERRUPT: { code: 36, fixed: 8, names: 0 },
  BMAP: { code: 37, fixed: 16, names: 0 },
  DESTROY: { code: 38, fixed: 0, names: 0 },
  IOCTL: { code: 39, fixed: 32, names: 0 },
  POLL: { code: 40, fixed: 24, names: 0 },
  NOTIFY_REPLY: { code: 41, fixed: 40, names: 0 },
  BATCH_FORGET: { code: 42, fixed: 8, names: 0 },
  FALLOCATE: { code: 43, fixed: 32, names: 0 },
  READDIRPLUS: { code: 44, fixed: 40, names: 0 },
  RENAME2: { code: 45, fixed: 16, names: 2 },
  LSEEK: { code: 46, fixed: 24, names: 0 },
  COPY_FILE_RANGE: { code: 47, fixed: 56, names: 0 },
  SYNCFS: { code: 50, fixed: 8, names: 0 },
  TMPFILE: { code: 51, fixed: 16, names: 1 },
  STATX: { code: 52, fixed: 24, names: 0 },
} as const satisfies Record<string, Row>;

export type Opcode = keyof typeof opcodes;

const byCode: (Opcode | undefined)[] = [];
for (const [name, row] of Object.entries(opcodes)) byCode[row.code] = name as Opcode;

export function opcodeOf(code: number): Opcode | undefined {
  return byCode[code];
}

export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
