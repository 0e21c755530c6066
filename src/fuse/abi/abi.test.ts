import { test } from 'tap';
import type { Attributes } from '../../filesystem/contract.js';
import { pinned } from '../../libc/memory.js';
import { encodeInit, initFlag } from './init.js';
import { putInvalEntry, putInvalInode, putPrune } from './notify.js';
import { opcodes } from './opcodes.js';
import { putAttrOut, putDirent, putEntry, putNegative, putOpen, putStatfs, putStatx } from './replies.js';
import { Request } from './request.js';

/** Bytes from rows of hexadecimal, each with what it is: golden messages read like the header file. */
const hex = (rows: readonly (readonly [string, string])[]): Buffer =>
  Buffer.from(rows.map(([bytes]) => bytes.replaceAll(' ', '')).join(''), 'hex');

const header = (length: string, opcode: string): readonly [string, string][] => [
  [length, 'len'],
  [opcode, 'opcode'],
  ['88 77 66 55 44 33 22 11', 'unique 0x1122334455667788'],
  ['ef cd ab 89 67 05 00 00', 'nodeid 0x056789abcdef'],
  ['e8 03 00 00', 'uid 1000'],
  ['e9 03 00 00', 'gid 1001'],
  ['92 10 00 00', 'pid 4242'],
  ['00 00 00 00', 'total_extlen, padding'],
];

function decode(bytes: Buffer): { request: Request; wellFormed: boolean } {
  const buffer = pinned(4096);
  bytes.copy(buffer.bytes);
  const request = new Request();
  return { request, wellFormed: request.decode(buffer, bytes.length) };
}

const messages = {
  LOOKUP: hex([...header('2e000000', '01000000'), ['68 65 ff 6c 6f 00', 'name "he\\xfflo"']]),
  WRITE: hex([
    ...header('54000000', '10000000'),
    ['0300000000000000', 'fh 3'],
    ['0100000001000000', 'offset 2^32 + 1'],
    ['04000000', 'size 4'],
    ['05000000', 'write_flags CACHE | KILL_SUIDGID'],
    ['aaaaaaaaaaaaaaaa', 'lock_owner'],
    ['0200000000000000', 'flags O_RDWR, padding'],
    ['64617461', 'data'],
  ]),
  RENAME2: hex([
    ...header('3c000000', '2d000000'),
    ['0700000000000000', 'newdir 7'],
    ['0100000000000000', 'flags NOREPLACE, padding'],
    ['6100', 'old name'],
    ['6200', 'new name'],
  ]),
  SETATTR: hex([
    ...header('80000000', '04000000'),
    ['71000000 00000000', 'valid MODE | ATIME | MTIME | FH, padding'],
    ['0900000000000000', 'fh 9'],
    ['0000000000000000', 'size'],
    ['0000000000000000', 'lock_owner'],
    ['ffffffffffffffff', 'atime -1'],
    ['0200000000000000', 'mtime 2'],
    ['0000000000000000', 'ctime'],
    ['15cd5b07', 'atimensec 123456789'],
    ['04000000', 'mtimensec 4'],
    ['00000000', 'ctimensec'],
    ['a4810000', 'mode 0100644'],
    ['00000000 00000000 00000000 00000000', 'unused4, uid, gid, unused5'],
  ]),
};

test('requests decode as linux/fuse.h lays them out', async (t) => {
  const lookup = decode(messages.LOOKUP);
  t.ok(lookup.wellFormed);
  t.match(lookup.request, {
    opcode: 'LOOKUP',
    uniqueLow: 0x55667788,
    uniqueHigh: 0x11223344,
    node: 0x056789abcdef,
    uid: 1000,
    gid: 1001,
    pid: 4242,
    names: ['he\xfflo'],
  });
  const write = decode(messages.WRITE).request;
  t.same([write.u64(0), write.u64(8), write.u32(16), write.u32(20)], [3, 2 ** 32 + 1, 4, 5]);
  t.equal(write.payload, 4);
  t.same(decode(messages.RENAME2).request.names, ['a', 'b']);
  const setattr = decode(messages.SETATTR).request;
  t.same([setattr.u32(0), setattr.u64(8), setattr.i64(32), setattr.i64(40)], [0x71, 9, -1, 2]);
  t.same([setattr.u32(56), setattr.u32(60), setattr.u32(68)], [123456789, 4, 0o100644]);
});

test('a message cut short at any byte is not well-formed', async (t) => {
  for (const [name, bytes] of Object.entries(messages)) {
    for (let length = 0; length < bytes.length; length++) {
      const cut = Buffer.from(bytes.subarray(0, length));
      t.notOk(decode(cut).wellFormed, `${name} ${length}: its length says more`);
      if (length < 40) continue;
      cut.writeUInt32LE(length, 0);
      const fixed = 40 + opcodes[name as keyof typeof opcodes].fixed;
      const { wellFormed } = decode(cut);
      if (length < fixed) t.notOk(wellFormed, `${name} ${length}: the fixed part is short`);
    }
  }
  const unknown = Buffer.from(messages.LOOKUP);
  unknown.writeUInt32LE(4095, 4);
  const { request, wellFormed } = decode(unknown);
  t.ok(wellFormed, 'an unknown opcode is well-formed, to be answered with ENOSYS');
  t.equal(request.opcode, undefined);
});

test('a 64-bit number beyond 2^53 is NaN, which no node, offset or size is', async (t) => {
  const bytes = Buffer.from(messages.WRITE);
  bytes.writeBigUInt64LE(2n ** 63n - 1n, 48);
  bytes.writeBigUInt64LE(2n ** 60n, 16);
  const { request } = decode(bytes);
  t.ok(Number.isNaN(request.u64(8)));
  t.ok(Number.isNaN(request.node));
});

test('INIT takes what we want of what the kernel offers', async (t) => {
  const into = Buffer.alloc(16 + 64);
  const everything = {
    major: 7,
    minor: 45,
    maxReadahead: 131072,
    low: 0xffffffff,
    high: 0xffffffff,
    writeback: true,
  };
  const all = encodeInit(into, everything);
  for (const bit of Object.values(initFlag)) {
    const word = bit < 32 ? all.low : all.high;
    t.not(word & (1 << (bit % 32)), 0, `bit ${bit}`);
  }
  t.same(
    into.subarray(16, 16 + 44),
    hex([
      ['07000000 2d000000', 'major 7, minor 45'],
      ['00001000', 'max_readahead 1 MiB'],
      ['69e0d572', 'flags'],
      ['4000 3000', 'max_background 64, congestion_threshold 48'],
      ['00001000', 'max_write 1 MiB'],
      ['01000000', 'time_gran 1 ns'],
      ['0001 0000', 'max_pages 256, map_alignment'],
      ['10000000', 'flags2: DIRECT_IO_ALLOW_MMAP'],
      ['00000000 0000 0000', 'max_stack_depth, request_timeout, unused'],
    ]),
  );
  const through = encodeInit(into, { ...everything, writeback: false });
  t.equal(
    through.low,
    (all.low & ~(1 << initFlag.WRITEBACK_CACHE)) >>> 0,
    'the cache only where it is asked for',
  );
  t.same(encodeInit(into, { ...everything, minor: 39, low: 1, high: 0 }), { low: 1, high: 0, minor: 39 });
});

const attributes: Attributes = {
  ino: 0x0102030405,
  size: 2 ** 40 + 5,
  blocks: 9,
  mode: 0o100640,
  nlink: 2,
  uid: 3,
  gid: 4,
  rdev: 0,
  atime: -2,
  atimeNs: 1,
  mtime: 5,
  mtimeNs: 999999999,
  ctime: 6,
  ctimeNs: 7,
  cacheable: true,
};
const attrRows: readonly [string, string][] = [
  ['0504030201000000', 'ino'],
  ['0500000000010000', 'size'],
  ['0900000000000000', 'blocks'],
  ['feffffffffffffff', 'atime -2'],
  ['0500000000000000', 'mtime'],
  ['0600000000000000', 'ctime'],
  ['01000000 ffc99a3b 07000000', 'nanoseconds'],
  ['a0810000', 'mode'],
  ['02000000 03000000 04000000', 'nlink, uid, gid'],
  ['00000000 00100000 00000000', 'rdev, blksize 4096, flags'],
];

test('SETXATTR carries a name and a value; STATX out has every field in its place', async (t) => {
  const { request, wellFormed } = decode(
    hex([
      ...header('44000000', '15000000'),
      ['05000000 01000000 01000000 00000000', 'size, XATTR_CREATE, ACL_KILL_SGID, padding'],
      ['757365722e6100', 'user.a'],
      ['68656c6c6f', 'hello'],
    ]),
  );
  t.ok(wellFormed);
  t.match(request, { opcode: 'SETXATTR', names: ['user.a'] });
  t.equal(request.after(7).toString(), 'hello');
  t.equal(request.after(70).length, 0, 'nothing beyond its end');
  const bytes = Buffer.alloc(288, 0xee);
  putStatx(bytes, 0, { ...attributes, rdev: 0x1230_6745 }, [-3, 8]);
  t.same(
    bytes,
    hex([
      ['8051010000000000 00000000 00000000', 'attr_valid: a day'],
      ['00000000000000000000000000000000', 'spare'],
      ['ff0f0000 00100000 0000000000000000', 'mask with BTIME, blksize, attributes'],
      ['02000000 03000000 04000000 a081 0000', 'nlink, uid, gid, mode, spare'],
      ['0504030201000000 0500000000010000 0900000000000000', 'ino, size, blocks'],
      ['0000000000000000', 'attributes_mask'],
      ['feffffffffffffff 01000000 00000000', 'atime'],
      ['fdffffffffffffff 08000000 00000000', 'btime'],
      ['0600000000000000 07000000 00000000', 'ctime'],
      ['0500000000000000 ffc99a3b 00000000', 'mtime'],
      ['67000000 45230100', 'rdev: major 0x067, minor 0x12345'],
      ['00'.repeat(8 + 112), 'dev, spare'],
    ]),
  );
  putStatx(bytes, 0, attributes, undefined);
  t.equal(bytes.readUInt32LE(32), 0x7ff, 'no time of birth, and it says so');
});

test('replies are laid out as linux/fuse.h says', async (t) => {
  const bytes = Buffer.alloc(200, 0xee);
  putEntry(bytes, 0, 0x2_0000_0001, attributes);
  t.same(
    bytes.subarray(0, 128),
    hex([
      ['0100000002000000', 'nodeid'],
      ['0000000000000000', 'generation'],
      ['8051010000000000 8051010000000000', 'entry_valid, attr_valid: a day'],
      ['0000000000000000', 'their nanoseconds'],
      ...attrRows,
    ]),
  );
  putAttrOut(bytes, 0, { ...attributes, cacheable: false });
  t.same(
    bytes.subarray(0, 104),
    hex([['0000000000000000 00000000 00000000', 'attr_valid 0 s'], ...attrRows]),
  );
  putNegative(bytes, 0);
  t.equal(bytes.readUInt32LE(16), 86_400, 'an absence is valid for a day');
  t.equal(
    bytes.subarray(0, 128).filter((byte) => byte !== 0).length,
    3,
    'and all else is zero: node id 0 says absent',
  );
  putOpen(bytes, 0, 77, 2);
  t.same(bytes.subarray(0, 16), hex([['4d00000000000000 02000000 00000000', 'fh, open_flags, backing_id']]));
  putDirent(bytes, 0, 5, 6, 8, 'na\xffme');
  t.same(
    bytes.subarray(0, 32),
    hex([
      ['0500000000000000 0600000000000000', 'ino, off'],
      ['05000000 08000000', 'namelen, type DT_REG'],
      ['6e61ff6d65 000000', 'name, padded to 8'],
    ]),
  );
  const usage = {
    blockSize: 4096,
    blocks: 1,
    blocksFree: 2,
    blocksAvailable: 3,
    files: 4,
    filesFree: 5,
  };
  putStatfs(bytes, 0, usage);
  t.same(
    bytes.subarray(0, 56),
    hex([
      ['0100000000000000 0200000000000000 0300000000000000', 'blocks, bfree, bavail'],
      ['0400000000000000 0500000000000000', 'files, ffree'],
      ['00100000 ff000000 00100000 00000000', 'bsize, namelen, frsize, padding'],
    ]),
  );
});

test('notifications have unique 0 and a code where the error would be', async (t) => {
  const bytes = Buffer.alloc(100);
  t.equal(putInvalInode(bytes, 9, true), 40);
  t.same(
    bytes.subarray(0, 40),
    hex([
      ['28000000 02000000 0000000000000000', 'len, INVAL_INODE, unique'],
      ['0900000000000000', 'ino'],
      ['0000000000000000 ffffffffffffffff', 'off 0, len -1: all pages'],
    ]),
  );
  t.equal(putPrune(bytes, [5, 0x1_0000_0002]), 48);
  t.same(
    bytes.subarray(0, 48),
    hex([
      ['30000000 09000000 0000000000000000', 'len, PRUNE, unique'],
      ['02000000 00000000 0000000000000000', 'count, padding, spare'],
      ['0500000000000000 0200000001000000', 'node ids'],
    ]),
  );
  t.equal(putInvalEntry(bytes, 1, 'ab'), 35);
  t.same(
    bytes.subarray(0, 35),
    hex([
      ['23000000 03000000 0000000000000000', 'len, INVAL_ENTRY, unique'],
      ['0100000000000000 02000000 00000000', 'parent, namelen, flags'],
      ['616200', 'name'],
    ]),
  );
});
