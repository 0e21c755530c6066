import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'tap';
import { Failure, type FailureCode } from '../../base/failure.js';
import { volumeId } from '../../base/ids.js';
import {
  decodeVolumeRecord,
  encodeVolumeRecord,
  incompatible,
  VOLUME_RECORD_BYTES,
  type VolumeRecord,
} from './volume-record.js';

const record: VolumeRecord = {
  volume: volumeId('00112233445566778899aabbccddeeff'),
  suite: 1,
  chunkSize: 16_384,
  compatible: 0,
  incompatible: incompatible.DRAFT,
};
const where = '/srv/vault/volume';

function refusal(bytes: Buffer, release = false): { code: FailureCode; named: boolean; reason: boolean } {
  try {
    decodeVolumeRecord(bytes, where, release);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { code: error.code, named: error.message.includes(where), reason: error.reason !== undefined };
  }
  throw new Error('it was accepted');
}

/** A record with changed bytes whose hash is right again: what a newer build could have written. */
function rehashed(change: (bytes: Buffer) => void): Buffer {
  const bytes = encodeVolumeRecord(record);
  change(bytes);
  createHash('sha256').update(bytes.subarray(0, 96)).digest().copy(bytes, 96);
  return bytes;
}

test('the bytes of a record', async (t) => {
  const bytes = encodeVolumeRecord(record);
  const rows = [
    '53434f5045465356', // magic SCOPEFSV
    '0100', // version
    '01', // suite
    '0e', // 2^14 bytes a chunk
    '00000000', // reserved
    '0000000000000000', // compatible
    '0100000000000000', // incompatible: DRAFT
    '00112233445566778899aabbccddeeff', // volume id
    '00'.repeat(48), // reserved
  ];
  t.equal(bytes.toString('hex', 0, 96), rows.join(''));
  t.equal(bytes.length, VOLUME_RECORD_BYTES);
  t.same(bytes.subarray(96), createHash('sha256').update(bytes.subarray(0, 96)).digest());
});

test('a record comes back, also with compatible bits that nobody knows', async (t) => {
  const records = fc.record({
    volume: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    chunkLog2: fc.integer({ min: 12, max: 20 }),
    compatible: fc.maxSafeNat(),
  });
  fc.assert(
    fc.property(records, ({ volume, chunkLog2, compatible }) => {
      const made: VolumeRecord = {
        ...record,
        volume: volumeId(Buffer.from(volume).toString('hex')),
        chunkSize: 2 ** chunkLog2,
        compatible,
      };
      const read = decodeVolumeRecord(encodeVolumeRecord(made), where, false);
      return (
        JSON.stringify(read, Object.keys(read).sort()) === JSON.stringify(made, Object.keys(made).sort())
      );
    }),
  );
  const high = rehashed((bytes) => bytes.fill(0xff, 16, 24));
  t.equal(decodeVolumeRecord(high, where, false).volume, record.volume, 'all 64 compatible bits set');
});

test('every flipped bit is refused, naming the file and the reason', async (t) => {
  const bytes = encodeVolumeRecord(record);
  const codes = new Map<string, number>();
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    const { code, named, reason } = refusal(flipped);
    if (!named || !reason) t.fail(`bit ${bit}: ${code} without name or reason`);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  t.same(Object.fromEntries(codes), { not_a_vault: 64, unsupported_format: 16, integrity: 1024 - 80 });
});

test('every cut-short or overlong record is refused', async (t) => {
  const bytes = encodeVolumeRecord(record);
  for (let length = 0; length < bytes.length; length++) {
    const { code } = refusal(bytes.subarray(0, length));
    if (code !== 'not_a_vault' && code !== 'integrity') t.fail(`${length} bytes: ${code}`);
  }
  t.equal(refusal(Buffer.concat([bytes, Buffer.alloc(1)])).code, 'integrity');
  t.equal(refusal(Buffer.concat([bytes, bytes])).code, 'integrity');
});

test('a newer version and every unknown incompatible bit are refused as such', async (t) => {
  for (const version of [0, 2, 3, 0xffff]) {
    t.same(refusal(rehashed((bytes) => bytes.writeUInt16LE(version, 8))), {
      code: 'unsupported_format',
      named: true,
      reason: true,
    });
  }
  for (let bit = 1; bit < 64; bit++) {
    const bytes = rehashed((it) => {
      const at = 24 + (bit >> 3);
      it[at] = (it[at] as number) | (1 << (bit & 7));
    });
    t.same(refusal(bytes), { code: 'unsupported_format', named: true, reason: true }, `bit ${bit}`);
    t.equal(refusal(bytes, true).code, 'unsupported_format');
  }
});

test('a draft is refused by a release build and read by a prerelease', async (t) => {
  const bytes = encodeVolumeRecord(record);
  t.same(refusal(bytes, true), { code: 'unsupported_format', named: true, reason: true });
  t.equal(decodeVolumeRecord(bytes, where, false).incompatible, incompatible.DRAFT);
  const final = encodeVolumeRecord({ ...record, incompatible: 0 });
  t.equal(decodeVolumeRecord(final, where, true).incompatible, 0);
});

test('reserved bytes and chunk sizes out of range are refused, also with a right hash', async (t) => {
  for (const at of [12, 15, 48, 95]) {
    t.equal(refusal(rehashed((bytes) => bytes.writeUInt8(1, at))).code, 'integrity', `byte ${at}`);
  }
  for (const log2 of [0, 11, 21, 255]) {
    t.equal(refusal(rehashed((bytes) => bytes.writeUInt8(log2, 11))).code, 'integrity', `2^${log2}`);
  }
});
