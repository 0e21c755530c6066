import { test } from 'tap';
import { errno } from '../../base/errno.js';
import { pinned } from '../../libc/memory.js';
import { type Opcode, opcodes, type RequestFields } from './opcodes.js';
import { Request } from './request.js';
import { header, hex, type Rows } from './test-golden.js';

/** A message of each opcode, and all that it decodes to but what lies behind its structs and names. */
interface Golden<Op extends Opcode> {
  readonly rows: Rows;
  readonly fields: {
    readonly [F in keyof RequestFields[Op] as RequestFields[Op][F] extends number | string | boolean
      ? Exclude<F, 'nodeid'>
      : never]: RequestFields[Op][F];
  };
}

const read: Rows = [
  ['0300000000000000', 'fh 3'],
  ['0100000002000000', 'offset 2^33 + 1'],
  ['00100000 02000000', 'size 4096, read_flags LOCKOWNER'],
  ['aaaaaaaaaaaaaaaa', 'lock_owner'],
  ['00800000 00000000', 'flags O_LARGEFILE, padding'],
];
const readFields = { fh: 3, offset: 2 ** 33 + 1, size: 4096, FUSE_READ_LOCKOWNER: true };
const release: Rows = [
  ['0b00000001000000', 'fh 2^32 + 11'],
  ['02000000 01000000', 'flags O_RDWR, release_flags FLUSH'],
  ['aaaaaaaaaaaaaaaa', 'lock_owner'],
];
const fsync: Rows = [
  ['0c00000000000000', 'fh 12'],
  ['01000000 00000000', 'fsync_flags FDATASYNC, padding'],
];
const lock: Rows = [
  ['0d00000000000000 aaaaaaaaaaaaaaaa', 'fh 13, owner'],
  ['0100000000000000 0200000000000000 01000000 92100000', 'lk: start, end, type, pid'],
  ['00000000 00000000', 'lk_flags, padding'],
];
const create: Rows = [
  ['42000000 a4810000', 'flags O_RDWR | O_CREAT, mode 0100644'],
  ['12000000 01000000', 'umask 022, open_flags KILL_SUIDGID'],
  ['6e00', 'name "n"'],
];

const golden: { readonly [Op in Opcode]: Golden<Op> } = {
  LOOKUP: {
    rows: [['2e000000 01000000', 'len, opcode'], ...header, ['6865ff6c6f00', 'name "he\\xfflo"']],
    fields: { name: 'he\xfflo' },
  },
  FORGET: {
    rows: [['30000000 02000000', 'len, opcode'], ...header, ['0500000001000000', 'nlookup 2^32 + 5']],
    fields: { nlookup: 2 ** 32 + 5 },
  },
  GETATTR: {
    rows: [
      ['38000000 03000000', 'len, opcode'],
      ...header,
      ['01000000 00000000', 'getattr_flags FH, dummy'],
      ['0900000000000000', 'fh 9'],
    ],
    fields: { FUSE_GETATTR_FH: true, fh: 9 },
  },
  SETATTR: {
    rows: [
      ['80000000 04000000', 'len, opcode'],
      ...header,
      ['71080000 00000000', 'valid MODE | ATIME | MTIME | FH | KILL_SUIDGID, padding'],
      ['0900000000000000', 'fh 9'],
      ['0600000004000000', 'size 2^34 + 6'],
      ['aaaaaaaaaaaaaaaa', 'lock_owner'],
      ['ffffffffffffffff', 'atime -1'],
      ['0200000000000000', 'mtime 2'],
      ['0300000000000000', 'ctime 3'],
      ['15cd5b07', 'atimensec 123456789'],
      ['04000000', 'mtimensec 4'],
      ['05000000', 'ctimensec 5'],
      ['a4810000 00000000', 'mode 0100644, unused4'],
      ['e8030000 feffffff 00000000', 'uid 1000, gid 2^32 - 2, unused5'],
    ],
    fields: {
      FATTR_MODE: true,
      FATTR_UID: false,
      FATTR_GID: false,
      FATTR_SIZE: false,
      FATTR_ATIME: true,
      FATTR_MTIME: true,
      FATTR_FH: true,
      FATTR_ATIME_NOW: false,
      FATTR_MTIME_NOW: false,
      FATTR_KILL_SUIDGID: true,
      fh: 9,
      size: 2 ** 34 + 6,
      atime: -1,
      mtime: 2,
      atimensec: 123456789,
      mtimensec: 4,
      mode: 0o100644,
      uid: 1000,
      gid: 2 ** 32 - 2,
    },
  },
  READLINK: { rows: [['28000000 05000000', 'len, opcode'], ...header], fields: {} },
  SYMLINK: {
    rows: [['2d000000 06000000', 'len, opcode'], ...header, ['6e00 74ff00', 'name "n", link "t\\xff"']],
    fields: { name: 'n', link: 't\xff' },
  },
  MKNOD: {
    rows: [
      ['3a000000 08000000', 'len, opcode'],
      ...header,
      ['a4210000 34120000', 'mode 020644, rdev 0x1234'],
      ['12000000 00000000', 'umask 022, padding'],
      ['6e00', 'name "n"'],
    ],
    fields: { mode: 0o020644, rdev: 0x1234, umask: 0o022, name: 'n' },
  },
  MKDIR: {
    rows: [
      ['32000000 09000000', 'len, opcode'],
      ...header,
      ['ed010000 3f000000', 'mode 0755, umask 077'],
      ['6e00', 'name "n"'],
    ],
    fields: { mode: 0o755, umask: 0o077, name: 'n' },
  },
  UNLINK: {
    rows: [['2a000000 0a000000', 'len, opcode'], ...header, ['6e00', 'name "n"']],
    fields: { name: 'n' },
  },
  RMDIR: {
    rows: [['2a000000 0b000000', 'len, opcode'], ...header, ['6e00', 'name "n"']],
    fields: { name: 'n' },
  },
  RENAME: {
    rows: [
      ['34000000 0c000000', 'len, opcode'],
      ...header,
      ['0700000000000000', 'newdir 7'],
      ['6100 6200', 'oldname "a", newname "b"'],
    ],
    fields: { newdir: 7, oldname: 'a', newname: 'b' },
  },
  LINK: {
    rows: [
      ['32000000 0d000000', 'len, opcode'],
      ...header,
      ['0800000000000000', 'oldnodeid 8'],
      ['6e00', 'name "n"'],
    ],
    fields: { oldnodeid: 8, name: 'n' },
  },
  OPEN: {
    rows: [
      ['30000000 0e000000', 'len, opcode'],
      ...header,
      ['01020000 01000000', 'flags O_WRONLY | O_TRUNC, open_flags KILL_SUIDGID'],
    ],
    fields: { flags: 0o1001, FUSE_OPEN_KILL_SUIDGID: true },
  },
  READ: { rows: [['50000000 0f000000', 'len, opcode'], ...header, ...read], fields: readFields },
  WRITE: {
    rows: [
      ['54000000 10000000', 'len, opcode'],
      ...header,
      ['0300000000000000', 'fh 3'],
      ['0100000001000000', 'offset 2^32 + 1'],
      ['04000000 05000000', 'size 4, write_flags CACHE | KILL_SUIDGID'],
      ['aaaaaaaaaaaaaaaa', 'lock_owner'],
      ['02000000 00000000', 'flags O_RDWR, padding'],
      ['64617461', 'data'],
    ],
    fields: {
      fh: 3,
      offset: 2 ** 32 + 1,
      size: 4,
      FUSE_WRITE_CACHE: true,
      FUSE_WRITE_LOCKOWNER: false,
      FUSE_WRITE_KILL_SUIDGID: true,
    },
  },
  STATFS: { rows: [['28000000 11000000', 'len, opcode'], ...header], fields: {} },
  RELEASE: {
    rows: [['40000000 12000000', 'len, opcode'], ...header, ...release],
    fields: { fh: 2 ** 32 + 11 },
  },
  FSYNC: {
    rows: [['38000000 14000000', 'len, opcode'], ...header, ...fsync],
    fields: { fh: 12, FUSE_FSYNC_FDATASYNC: true },
  },
  SETXATTR: {
    rows: [
      ['44000000 15000000', 'len, opcode'],
      ...header,
      ['05000000 02000000', 'size 5, flags XATTR_REPLACE'],
      ['01000000 00000000', 'setxattr_flags ACL_KILL_SGID, padding'],
      ['757365722e6100', 'name "user.a"'],
      ['68656c6c6f', 'value "hello"'],
    ],
    fields: { size: 5, flags: 2, FUSE_SETXATTR_ACL_KILL_SGID: true, name: 'user.a' },
  },
  GETXATTR: {
    rows: [
      ['37000000 16000000', 'len, opcode'],
      ...header,
      ['00010000 00000000', 'size 256, padding'],
      ['757365722e6100', 'name "user.a"'],
    ],
    fields: { size: 256, name: 'user.a' },
  },
  LISTXATTR: {
    rows: [['30000000 17000000', 'len, opcode'], ...header, ['00020000 00000000', 'size 512, padding']],
    fields: { size: 512 },
  },
  REMOVEXATTR: {
    rows: [['2f000000 18000000', 'len, opcode'], ...header, ['757365722e6100', 'name "user.a"']],
    fields: { name: 'user.a' },
  },
  FLUSH: {
    rows: [
      ['40000000 19000000', 'len, opcode'],
      ...header,
      ['0300000000000000 00000000 00000000', 'fh 3, unused, padding'],
      ['aaaaaaaaaaaaaaaa', 'lock_owner'],
    ],
    fields: { fh: 3 },
  },
  INIT: {
    rows: [
      ['68000000 1a000000', 'len, opcode'],
      ...header,
      ['07000000 2d000000', 'major 7, minor 45'],
      ['00000200 fbffff73', 'max_readahead 131072, flags'],
      ['10000000', 'flags2 DIRECT_IO_ALLOW_MMAP'],
      ['00'.repeat(44), 'unused'],
    ],
    fields: { major: 7, minor: 45, max_readahead: 131072, flags: 0x73fffffb, flags2: 16 },
  },
  OPENDIR: {
    rows: [
      ['30000000 1b000000', 'len, opcode'],
      ...header,
      ['00000100 00000000', 'flags O_DIRECTORY, open_flags'],
    ],
    fields: { flags: 0o200000, FUSE_OPEN_KILL_SUIDGID: false },
  },
  READDIR: { rows: [['50000000 1c000000', 'len, opcode'], ...header, ...read], fields: readFields },
  RELEASEDIR: {
    rows: [['40000000 1d000000', 'len, opcode'], ...header, ...release],
    fields: { fh: 2 ** 32 + 11 },
  },
  FSYNCDIR: {
    rows: [['38000000 1e000000', 'len, opcode'], ...header, ...fsync],
    fields: { fh: 12, FUSE_FSYNC_FDATASYNC: true },
  },
  GETLK: { rows: [['58000000 1f000000', 'len, opcode'], ...header, ...lock], fields: { fh: 13 } },
  SETLK: { rows: [['58000000 20000000', 'len, opcode'], ...header, ...lock], fields: { fh: 13 } },
  SETLKW: { rows: [['58000000 21000000', 'len, opcode'], ...header, ...lock], fields: { fh: 13 } },
  ACCESS: {
    rows: [['30000000 22000000', 'len, opcode'], ...header, ['04000000 00000000', 'mask R_OK, padding']],
    fields: { mask: 4 },
  },
  CREATE: {
    rows: [['3a000000 23000000', 'len, opcode'], ...header, ...create],
    fields: { flags: 0o102, mode: 0o100644, umask: 0o022, name: 'n' },
  },
  INTERRUPT: {
    rows: [['30000000 24000000', 'len, opcode'], ...header, ['8877665544332211', 'unique']],
    fields: {},
  },
  BMAP: {
    rows: [
      ['38000000 25000000', 'len, opcode'],
      ...header,
      ['0500000000000000 00100000 00000000', 'block 5, blocksize 4096, padding'],
    ],
    fields: { block: 5, blocksize: 4096 },
  },
  DESTROY: { rows: [['28000000 26000000', 'len, opcode'], ...header], fields: {} },
  IOCTL: {
    rows: [
      ['48000000 27000000', 'len, opcode'],
      ...header,
      ['0300000000000000 01000000 01660880', 'fh 3, flags COMPAT, cmd FS_IOC_GETFLAGS'],
      ['0400000000000000 05000000 06000000', 'arg 4, in_size 5, out_size 6'],
    ],
    fields: { fh: 3, flags: 1, cmd: 0x80086601, arg: 4, in_size: 5, out_size: 6 },
  },
  POLL: {
    rows: [
      ['40000000 28000000', 'len, opcode'],
      ...header,
      ['0300000000000000 0400000000000000', 'fh 3, kh 4'],
      ['01000000 05000000', 'flags SCHEDULE_NOTIFY, events POLLIN | POLLOUT'],
    ],
    fields: { fh: 3, kh: 4, flags: 1, events: 5 },
  },
  NOTIFY_REPLY: {
    rows: [
      ['50000000 29000000', 'len, opcode'],
      ...header,
      ['0000000000000000', 'dummy1'],
      ['0700000000000000 08000000 00000000', 'offset 7, size 8, dummy2'],
      ['00000000000000000000000000000000', 'dummy3, dummy4'],
    ],
    fields: { offset: 7, size: 8 },
  },
  BATCH_FORGET: {
    rows: [
      ['50000000 2a000000', 'len, opcode'],
      ...header,
      ['02000000 00000000', 'count 2, dummy'],
      ['0500000000000000 0300000000000000', 'nodeid 5, nlookup 3'],
      ['0200000001000000 0100000000000000', 'nodeid 2^32 + 2, nlookup 1'],
    ],
    fields: {},
  },
  FALLOCATE: {
    rows: [
      ['48000000 2b000000', 'len, opcode'],
      ...header,
      ['0300000000000000 0400000002000000', 'fh 3, offset 2^33 + 4'],
      ['0500000001000000 03000000 00000000', 'length 2^32 + 5, mode KEEP_SIZE | PUNCH_HOLE, padding'],
    ],
    fields: { fh: 3, offset: 2 ** 33 + 4, length: 2 ** 32 + 5, mode: 3 },
  },
  READDIRPLUS: { rows: [['50000000 2c000000', 'len, opcode'], ...header, ...read], fields: readFields },
  RENAME2: {
    rows: [
      ['3c000000 2d000000', 'len, opcode'],
      ...header,
      ['0700000000000000', 'newdir 7'],
      ['01000000 00000000', 'flags NOREPLACE, padding'],
      ['6100 6200', 'oldname "a", newname "b"'],
    ],
    fields: { newdir: 7, flags: 1, oldname: 'a', newname: 'b' },
  },
  LSEEK: {
    rows: [
      ['40000000 2e000000', 'len, opcode'],
      ...header,
      ['0300000000000000 0400000002000000', 'fh 3, offset 2^33 + 4'],
      ['03000000 00000000', 'whence SEEK_DATA, padding'],
    ],
    fields: { fh: 3, offset: 2 ** 33 + 4, whence: 3 },
  },
  COPY_FILE_RANGE: {
    rows: [
      ['60000000 2f000000', 'len, opcode'],
      ...header,
      ['0300000000000000 0400000000000000', 'fh_in 3, off_in 4'],
      ['0500000000000000 0600000000000000 0700000000000000', 'nodeid_out 5, fh_out 6, off_out 7'],
      ['0800000000000000 0000000000000000', 'len 8, flags'],
    ],
    fields: { fh_in: 3, off_in: 4, nodeid_out: 5, fh_out: 6, off_out: 7, len: 8 },
  },
  SYNCFS: {
    rows: [['30000000 32000000', 'len, opcode'], ...header, ['0000000000000000', 'padding']],
    fields: {},
  },
  TMPFILE: {
    rows: [['3a000000 33000000', 'len, opcode'], ...header, ...create],
    fields: { flags: 0o102, mode: 0o100644, umask: 0o022, name: 'n' },
  },
  STATX: {
    rows: [
      ['40000000 34000000', 'len, opcode'],
      ...header,
      ['01000000 00000000 0900000000000000', 'getattr_flags FH, reserved, fh 9'],
      ['01000000 ff0f0000', 'sx_flags, sx_mask'],
    ],
    fields: { FUSE_GETATTR_FH: true, fh: 9, sx_flags: 1, sx_mask: 0xfff },
  },
};
const all = Object.keys(golden) as Opcode[];
const bytesOf = (opcode: Opcode): Buffer => hex(golden[opcode].rows);

const request = new Request();
function decode(bytes: Buffer): number {
  const buffer = pinned(256);
  bytes.copy(buffer.bytes);
  return request.decode(buffer, bytes.length);
}
/** The fields of a message that is whole. */
function fieldsOf<Op extends Opcode>(opcode: Op, bytes = bytesOf(opcode)): RequestFields[Op] {
  if (decode(bytes) !== 0 || request.opcode !== opcode) throw new Error(`refused: ${opcode}`);
  return request.fields as RequestFields[Op];
}

test('each request decodes as linux/fuse.h lays it out', async (t) => {
  for (const opcode of all) {
    const fields = fieldsOf(opcode) as unknown as Record<string, unknown>;
    for (const [field, value] of Object.entries(golden[opcode].fields)) {
      t.equal(fields[field], value, `${opcode} ${field}`);
    }
    t.equal(fields['nodeid'], 0x056789abcdef, `${opcode} nodeid`);
    t.match(request, { uniqueLow: 0x55667788, uniqueHigh: 0x11223344, uid: 1000, gid: 1001, pid: 4242 });
  }
});

test('a payload is what follows structs and names', async (t) => {
  const { data } = fieldsOf('WRITE');
  t.same([data.buffer, data.at, data.length], [request.buffer, 80, 4]);
  const { value } = fieldsOf('SETXATTR');
  t.equal(value.buffer.bytes.toString('latin1', value.at, value.at + value.length), 'hello');
  const forgotten: [number, number][] = [];
  fieldsOf('BATCH_FORGET').forgets((nodeid, nlookup) => forgotten.push([nodeid, nlookup]));
  t.same(forgotten, [
    [5, 3],
    [2 ** 32 + 2, 1],
  ]);
});

test('a message cut short at any byte of its structs and names is EIO', async (t) => {
  for (const opcode of all) {
    const bytes = bytesOf(opcode);
    const { fixed, names } = opcodes[opcode];
    let end = 40 + fixed;
    for (let i = 0; i < names; i++) end = bytes.indexOf(0, end) + 1;
    for (let length = 0; length < bytes.length; length++) {
      const cut = Buffer.from(bytes.subarray(0, length));
      t.equal(decode(cut), errno.EIO, `${opcode} ${length}: its length says more`);
      t.equal(request.uniqueLow, length < 40 ? 0 : 0x55667788, 'whom to answer, where that is known');
      if (length < 40) continue;
      cut.writeUInt32LE(length, 0);
      if (length < end) t.equal(decode(cut), errno.EIO, `${opcode} ${length}: too short`);
    }
  }
});

test('a payload cut short is refused, or read as far as it goes', async (t) => {
  const cut = (opcode: Opcode, length: number): Buffer => {
    const bytes = bytesOf(opcode).subarray(0, length);
    bytes.writeUInt32LE(length, 0);
    return bytes;
  };
  for (let length = 80; length < 84; length++) t.equal(decode(cut('WRITE', length)), errno.EINVAL);
  for (let length = 63; length < 68; length++) t.equal(decode(cut('SETXATTR', length)), errno.EINVAL);
  for (let length = 56; length < 60; length++) t.equal(fieldsOf('INIT', cut('INIT', length)).flags2, 0);
  for (let length = 48; length < 80; length++) {
    let count = 0;
    fieldsOf('BATCH_FORGET', cut('BATCH_FORGET', length)).forgets(() => count++);
    t.equal(count, length < 64 ? 0 : 1, 'nothing is forgotten that was not sent');
  }
});

test('a name without its NUL is EIO, whatever lies behind the message', async (t) => {
  for (const opcode of all.filter((one) => opcodes[one].names > 0)) {
    const bytes = bytesOf(opcode);
    const unended = bytes.fill('n', 40 + opcodes[opcode].fixed);
    t.equal(decode(unended), errno.EIO, opcode);
  }
});

test('an unknown opcode is ENOSYS', async (t) => {
  for (const code of [0, 7, 19, 48, 49, 53, 4095, 2 ** 32 - 1]) {
    const bytes = bytesOf('READLINK');
    bytes.writeUInt32LE(code, 4);
    t.equal(decode(bytes), errno.ENOSYS, String(code));
    t.equal(request.opcode, undefined);
  }
});

test('a 64-bit number beyond 2^53 is NaN, and refused where the core would count with it', async (t) => {
  const beyond = (opcode: Opcode, at: number, value = 2n ** 53n): Buffer => {
    const bytes = bytesOf(opcode);
    bytes.writeBigUInt64LE(value, at);
    return bytes;
  };
  t.equal(fieldsOf('READ', beyond('READ', 48, 2n ** 53n - 1n)).offset, 2 ** 53 - 1);
  t.equal(decode(beyond('READ', 48)), errno.EINVAL);
  t.equal(decode(beyond('READDIR', 48)), errno.EINVAL);
  t.equal(decode(beyond('READDIRPLUS', 48)), errno.EINVAL);
  t.equal(decode(beyond('WRITE', 48, 2n ** 64n - 1n)), errno.EFBIG);
  t.equal(decode(beyond('FALLOCATE', 48)), errno.EFBIG);
  t.equal(decode(beyond('FALLOCATE', 56)), errno.EFBIG);
  t.equal(decode(beyond('LSEEK', 48)), errno.ENXIO);
  t.ok(Number.isNaN(fieldsOf('SETATTR', beyond('SETATTR', 56)).size), 'a size that is not to be set');
  const truncate = beyond('SETATTR', 56);
  truncate.writeUInt32LE(8, 40);
  t.equal(decode(truncate), errno.EFBIG);
  t.ok(Number.isNaN(fieldsOf('READ', beyond('READ', 40)).fh));
  t.ok(Number.isNaN(fieldsOf('LOOKUP', beyond('LOOKUP', 16)).nodeid));
  const past = fieldsOf('SETATTR', beyond('SETATTR', 72, 2n ** 63n));
  t.equal(past.atime, -Number.MAX_SAFE_INTEGER, 'a time is brought back to what fits');
});

test('a transfer larger than the negotiated one is EINVAL', async (t) => {
  for (const [opcode, size, expected] of [
    ['READ', 1 << 20, 0],
    ['READ', (1 << 20) + 1, errno.EINVAL],
    ['WRITE', (1 << 20) + 1, errno.EINVAL],
  ] as const) {
    const bytes = bytesOf(opcode);
    bytes.writeUInt32LE(size, 56);
    t.equal(decode(bytes), expected, `${opcode} ${size}`);
  }
});
