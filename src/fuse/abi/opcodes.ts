import { errno } from '../../base/errno.js';
import { MAX_TRANSFER } from '../../filesystem/contract.js';
import {
  type Fields,
  fixedBytes,
  flags,
  forgets,
  type Layout,
  name,
  nameCount,
  payload,
  seconds,
  u32,
  u32IfSent,
  u64,
  unread,
} from './layout.js';

/**
 * The kernel's FUSE protocol, version 7.45 (include/uapi/linux/fuse.h): enum fuse_opcode, and of each opcode the struct
 * and the names that follow struct fuse_in_header, under the names that they have there. All that is known of a request
 * comes from its row: how long it must be, what its fields are, and with which errno one that is whole is refused.
 */
interface Row<L extends Layout = Layout> {
  readonly code: number;
  readonly layout: L;
  /** Bytes after the header that there must be. */
  readonly fixed: number;
  /** NUL-terminated names behind them. */
  readonly names: number;
  /** 0, or an errno for fields that no operation of the core takes. `request`: the row's own {@link Fields}. */
  readonly refuse: ((request: never) => number) | undefined;
}

function row<const L extends Layout>(
  code: number,
  layout: L,
  refuse?: (request: Fields<L>) => number,
): Row<L> {
  return { code, layout, fixed: fixedBytes(layout), names: nameCount(layout), refuse };
}

const padding = unread(4);
/** Whose locks: opaque. */
const lock_owner = unread(8);

/** struct fuse_getattr_in. */
const getattr = { getattr_flags: flags({ FUSE_GETATTR_FH: 1 << 0 }), dummy: padding, fh: u64 };
/** struct fuse_open_in; `flags` as open(2) has them. */
const open = { flags: u32, open_flags: flags({ FUSE_OPEN_KILL_SUIDGID: 1 << 0 }) };
/** struct fuse_create_in, and a name: of no meaning for O_TMPFILE. */
const create = { flags: u32, mode: u32, umask: u32, open_flags: padding, name };
/** struct fuse_read_in. */
const read = {
  fh: u64,
  offset: u64,
  size: u32,
  read_flags: flags({ FUSE_READ_LOCKOWNER: 1 << 1 }),
  lock_owner,
  flags: padding,
  padding,
};
/** struct fuse_release_in. */
const release = { fh: u64, flags: padding, release_flags: padding, lock_owner };
/** struct fuse_fsync_in. */
const fsync = { fh: u64, fsync_flags: flags({ FUSE_FSYNC_FDATASYNC: 1 << 0 }), padding };
/** struct fuse_lk_in. */
const lock = { fh: u64, owner: unread(8), lk: unread(24), lk_flags: padding, padding };
/** struct fuse_getxattr_in. */
const getxattr = { size: u32, padding };

const isPosition = ({ offset }: { offset: number }): number => (Number.isNaN(offset) ? errno.EINVAL : 0);

export const opcodes = {
  LOOKUP: row(1, { name }),
  FORGET: row(2, { nlookup: u64 }),
  GETATTR: row(3, getattr),
  SETATTR: row(
    4,
    {
      valid: flags({
        FATTR_MODE: 1 << 0,
        FATTR_UID: 1 << 1,
        FATTR_GID: 1 << 2,
        FATTR_SIZE: 1 << 3,
        FATTR_ATIME: 1 << 4,
        FATTR_MTIME: 1 << 5,
        FATTR_FH: 1 << 6,
        FATTR_ATIME_NOW: 1 << 7,
        FATTR_MTIME_NOW: 1 << 8,
        FATTR_KILL_SUIDGID: 1 << 11,
      }),
      padding,
      fh: u64,
      size: u64,
      lock_owner,
      atime: seconds,
      mtime: seconds,
      ctime: unread(8),
      atimensec: u32,
      mtimensec: u32,
      ctimensec: padding,
      mode: u32,
      unused4: padding,
      uid: u32,
      gid: u32,
      unused5: padding,
    },
    ({ FATTR_SIZE, size }) => (FATTR_SIZE && Number.isNaN(size) ? errno.EFBIG : 0),
  ),
  READLINK: row(5, {}),
  SYMLINK: row(6, { name, link: name }),
  MKNOD: row(8, { mode: u32, rdev: u32, umask: u32, padding, name }),
  MKDIR: row(9, { mode: u32, umask: u32, name }),
  UNLINK: row(10, { name }),
  RMDIR: row(11, { name }),
  RENAME: row(12, { newdir: u64, oldname: name, newname: name }),
  LINK: row(13, { oldnodeid: u64, name }),
  OPEN: row(14, open),
  READ: row(15, read, ({ offset, size }) => (Number.isNaN(offset) || size > MAX_TRANSFER ? errno.EINVAL : 0)),
  WRITE: row(
    16,
    {
      fh: u64,
      offset: u64,
      size: u32,
      write_flags: flags({
        FUSE_WRITE_CACHE: 1 << 0,
        FUSE_WRITE_LOCKOWNER: 1 << 1,
        FUSE_WRITE_KILL_SUIDGID: 1 << 2,
      }),
      lock_owner,
      flags: padding,
      padding,
      data: payload,
    },
    ({ offset, size, data }) => {
      if (Number.isNaN(offset)) return errno.EFBIG;
      return size !== data.length || size > MAX_TRANSFER ? errno.EINVAL : 0;
    },
  ),
  STATFS: row(17, {}),
  RELEASE: row(18, release),
  FSYNC: row(20, fsync),
  SETXATTR: row(
    21,
    {
      size: u32,
      flags: u32,
      // With SETXATTR_EXT, which Linux has had since 5.13.
      setxattr_flags: flags({ FUSE_SETXATTR_ACL_KILL_SGID: 1 << 0 }),
      padding,
      name,
      value: payload,
    },
    ({ size, value }) => (size === value.length ? 0 : errno.EINVAL),
  ),
  GETXATTR: row(22, { ...getxattr, name }),
  LISTXATTR: row(23, getxattr),
  REMOVEXATTR: row(24, { name }),
  FLUSH: row(25, { fh: u64, unused: padding, padding, lock_owner }),
  // Older kernels end it with `flags`.
  INIT: row(26, { major: u32, minor: u32, max_readahead: u32, flags: u32, flags2: u32IfSent }),
  OPENDIR: row(27, open),
  READDIR: row(28, read, isPosition),
  RELEASEDIR: row(29, release),
  FSYNCDIR: row(30, fsync),
  GETLK: row(31, lock),
  SETLK: row(32, lock),
  SETLKW: row(33, lock),
  ACCESS: row(34, { mask: u32, padding }),
  CREATE: row(35, create),
  INTERRUPT: row(36, { unique: unread(8) }),
  BMAP: row(37, { block: u64, blocksize: u32, padding }),
  DESTROY: row(38, {}),
  IOCTL: row(39, { fh: u64, flags: u32, cmd: u32, arg: u64, in_size: u32, out_size: u32 }),
  POLL: row(40, { fh: u64, kh: u64, flags: u32, events: u32 }),
  NOTIFY_REPLY: row(41, { dummy1: unread(8), offset: u64, size: u32, dummy2: padding, dummy3: unread(16) }),
  BATCH_FORGET: row(42, { forgets }),
  FALLOCATE: row(43, { fh: u64, offset: u64, length: u64, mode: u32, padding }, ({ offset, length }) =>
    Number.isNaN(offset) || Number.isNaN(length) ? errno.EFBIG : 0,
  ),
  READDIRPLUS: row(44, read, isPosition),
  RENAME2: row(45, { newdir: u64, flags: u32, padding, oldname: name, newname: name }),
  LSEEK: row(46, { fh: u64, offset: u64, whence: u32, padding }, ({ offset }) =>
    Number.isNaN(offset) ? errno.ENXIO : 0,
  ),
  COPY_FILE_RANGE: row(47, {
    fh_in: u64,
    off_in: u64,
    nodeid_out: u64,
    fh_out: u64,
    off_out: u64,
    len: u64,
    flags: unread(8),
  }),
  SYNCFS: row(50, { padding: unread(8) }),
  TMPFILE: row(51, create),
  // `dummy` is `reserved` there.
  STATX: row(52, { ...getattr, sx_flags: u32, sx_mask: u32 }),
} satisfies Record<string, Row>;

export type Opcode = keyof typeof opcodes;
/** What a handler gets: the fields of the body, and the node id of the header (NaN beyond 2^53: no node has it). */
export type RequestFields = {
  readonly [Op in Opcode]: { readonly nodeid: number } & Fields<(typeof opcodes)[Op]['layout']>;
};

/** struct fuse_in_header and struct fuse_out_header. */
export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
