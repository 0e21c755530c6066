import type { Attributes, Usage } from '../../filesystem/contract.js';
import { NAME_MAX } from '../../format/names/names.js';
import type { NativeStat, NativeUsage } from './binding.js';

/** Between the core's values and those that the binding takes. */

/** What the binding puts where a name is not UTF-8. */
const REPLACED = '\ufffd';

/** Raw bytes as the core has them, of a path or target that the binding gives; undefined: it was not UTF-8. */
export function rawOf(text: string): string | undefined {
  return text.includes(REPLACED) ? undefined : Buffer.from(text, 'utf8').toString('latin1');
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** As the binding takes it, or undefined: not UTF-8, or with the character that stands for what was not. */
export function textOf(raw: string): string | undefined {
  try {
    const text = decoder.decode(Buffer.from(raw, 'latin1'));
    return text.includes(REPLACED) ? undefined : text;
  } catch {
    return undefined;
  }
}

export function statOf(attributes: Attributes): NativeStat {
  // Times before 1970 would come out as the far future.
  const ms = (seconds: number, ns: number): number => Math.max(0, seconds * 1000 + Math.floor(ns / 1e6));
  const { mode, uid, gid, size, nlink, rdev, blocks } = attributes;
  return {
    mode,
    uid,
    gid,
    size,
    nlink,
    rdev,
    blksize: 4096,
    blocks,
    atime: ms(attributes.atime, attributes.atimeNs),
    mtime: ms(attributes.mtime, attributes.mtimeNs),
    ctime: ms(attributes.ctime, attributes.ctimeNs),
  };
}

/** statvfs in numbers of 32 bits: larger filesystems are counted in larger units. */
export function usageOf(usage: Usage): NativeUsage {
  let unit = 1;
  while (usage.blocks / unit > 0xffff_ffff) unit *= 2;
  const blocks = (count: number): number => Math.floor(count / unit);
  const files = (count: number): number => Math.min(count, 0xffff_ffff);
  return {
    bsize: usage.blockSize,
    frsize: usage.blockSize * unit,
    blocks: blocks(usage.blocks),
    bfree: blocks(usage.blocksFree),
    bavail: blocks(usage.blocksAvailable),
    files: files(usage.files),
    ffree: files(usage.filesFree),
    favail: files(usage.filesFree),
    namemax: NAME_MAX,
  };
}
