import { createHash } from 'node:crypto';
import { ByteReader, ByteWriter } from '../../base/cursor.js';
import { Failure } from '../../base/failure.js';
import { idBytes, type VolumeId, volumeId } from '../../base/ids.js';

export const VOLUME_RECORD_BYTES = 128;
const MAGIC = Buffer.from('SCOPEFSV');
const VERSION = 1;
const HASHED = 96;

/** Incompatible feature bits: a build that does not know one must not touch the vault. */
export const incompatible = { DRAFT: 1 } as const;
const known = incompatible.DRAFT;

export interface VolumeRecord {
  readonly volume: VolumeId;
  readonly suite: number;
  /** Bytes of plaintext in a chunk: a power of two, 4 KiB to 1 MiB. */
  readonly chunkSize: number;
  readonly compatible: number;
  readonly incompatible: number;
}

export const CHUNK_SIZES = { least: 4096, most: 1 << 20 } as const;

export function isChunkSize(bytes: number): boolean {
  return Number.isInteger(Math.log2(bytes)) && bytes >= CHUNK_SIZES.least && bytes <= CHUNK_SIZES.most;
}

const hash = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();

export function encodeVolumeRecord(record: VolumeRecord): Buffer {
  const bytes = Buffer.alloc(VOLUME_RECORD_BYTES);
  new ByteWriter(bytes)
    .bytes(MAGIC)
    .u16(VERSION)
    .u8(record.suite)
    .u8(Math.log2(record.chunkSize))
    .u32(0)
    .u64(record.compatible)
    .u64(record.incompatible)
    .bytes(idBytes(record.volume))
    .zeros(48)
    .bytes(hash(bytes.subarray(0, HASHED)));
  return bytes;
}

/** The hash that each scope's sealed state repeats. */
export function volumeRecordHash(bytes: Buffer): Buffer {
  return hash(bytes);
}

/**
 * Reads and validates a record. `release` is true for builds without a prerelease tag: they refuse drafts.
 * @throws Failure not_a_vault, integrity or unsupported_format, naming `where`.
 */
export function decodeVolumeRecord(bytes: Buffer, where: string, release: boolean): VolumeRecord {
  const reader = new ByteReader(bytes);
  const magic = reader.bytes(8);
  if (!magic.equals(MAGIC)) {
    throw new Failure('not_a_vault', `${where} is not a volume record`, {
      reason: 'record_foreign',
    });
  }
  const version = reader.u16();
  if (version !== VERSION && !reader.short) {
    throw new Failure(
      'unsupported_format',
      `${where} has format version ${version}, this build reads ${VERSION}`,
      {
        reason: 'made_by_newer',
      },
    );
  }
  const suite = reader.u8();
  const chunkLog2 = reader.u8();
  const reservedA = reader.u32();
  const compatible = reader.u64();
  const features = reader.u64();
  const volume = reader.bytes(16);
  const reservedB = reader.bytes(48);
  const digest = reader.bytes(32);
  if (
    reader.short ||
    bytes.length !== VOLUME_RECORD_BYTES ||
    !digest.equals(hash(bytes.subarray(0, HASHED))) ||
    reservedA !== 0 ||
    reservedB.some((byte) => byte !== 0) ||
    !isChunkSize(2 ** chunkLog2)
  ) {
    throw new Failure('integrity', `${where} is damaged`, {
      reason: 'record_damaged',
    });
  }
  if (Number.isNaN(features) || (features % 0x1_0000_0000) & ~known || features > known) {
    throw new Failure(
      'unsupported_format',
      `${where} needs features this build does not know (${features})`,
      {
        reason: 'made_by_newer',
      },
    );
  }
  if (release && (features & incompatible.DRAFT) !== 0) {
    throw new Failure('unsupported_format', `${where} was written by a draft of format 1`, {
      reason: 'vault_by_draft',
    });
  }
  return {
    volume: volumeId(volume.toString('hex')),
    suite,
    chunkSize: 2 ** chunkLog2,
    compatible: Number.isNaN(compatible) ? 0 : compatible,
    incompatible: features,
  };
}
