import { test } from 'tap';
import type { Attributes } from '../../filesystem/contract.js';
import { encodeInit, initFlag } from './init.js';
import { ALL_PAGES, NO_PAGES, putInvalEntry, putInvalInode, putPrune } from './notify.js';
import { putAttrOut, putDirent, putEntry, putNegative, putOpen, putStatfs, putStatx } from './replies.js';
import { hex } from './test-golden.js';

test('INIT takes what we want of what the kernel offers', async (t) => {
  const into = Buffer.alloc(16 + 64);
  const everything = { minor: 45, max_readahead: 131072, flags: 0xffffffff, flags2: 0xffffffff };
  const all = encodeInit(into, everything, true);
  for (const bit of Object.values(initFlag)) {
    const word = bit < 32 ? all.flags : all.flags2;
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
  const through = encodeInit(into, everything, false);
  t.equal(
    through.flags,
    (all.flags & ~(1 << initFlag.WRITEBACK_CACHE)) >>> 0,
    'the cache only where it is asked for',
  );
  const little = { ...everything, minor: 39, flags: 1, flags2: 0 };
  t.same(encodeInit(into, little, true), { minor: 39, flags: 1, flags2: 0 });
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

test('STATX out has every field in its place', async (t) => {
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
  t.equal(putInvalInode(bytes, 9, NO_PAGES), 40);
  t.same(bytes.subarray(24, 32), hex([['ffffffffffffffff', 'off -1: attributes alone']]));
  t.equal(putInvalInode(bytes, 9, { offset: 2 ** 32 + 4096, length: 8192 }), 40);
  t.same(bytes.subarray(24, 40), hex([['0010000001000000 0020000000000000', 'a range']]));
  t.equal(putInvalInode(bytes, 9, ALL_PAGES), 40);
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
