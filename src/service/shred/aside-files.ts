import { randomBytes } from 'node:crypto';
import { lstat, open, opendir, readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { TAG_AT, TAG_BYTES } from '../../format/file/file-header.js';
import { MAP_PREFIX, mapFileName } from '../../format/file/hole-map.js';
import { asideName, isAside } from '../../format/names/names.js';
import { SLOT_COPY } from '../../format/scope/slot-copy.js';

export interface Unlinked {
  files: number;
  bytes: number;
}

/** Overwrites the slots in a scope's backing directory, durably, before they are unlinked. */
async function overwriteSlots(directory: string): Promise<void> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(join(directory, SLOT_COPY), 'r+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    const { size } = await file.stat();
    await file.write(randomBytes(size), 0, size, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The hole map that a file had beside it, by the tag that its header has in clear. */
async function mapOf(path: Buffer): Promise<string | undefined> {
  const file = await open(path, 'r');
  try {
    const tag = Buffer.alloc(TAG_BYTES);
    const { bytesRead } = await file.read(tag, 0, TAG_BYTES, TAG_AT);
    return bytesRead === TAG_BYTES ? mapFileName(tag) : undefined;
  } finally {
    await file.close();
  }
}

/**
 * Unlinks what is stored of a scope that was moved aside to `tree/name`: names and ciphertext, nothing of it is read but
 * tags. Directories in it are moved beside it first: no path grows, and a crash leaves what {@link leftovers} finds.
 */
export async function unlinkAside(tree: string, name: string): Promise<Unlinked> {
  const unlinked = { files: 0, bytes: 0 };
  const maps = new Set((await readdir(tree)).filter((entry) => entry.startsWith(MAP_PREFIX)));
  await overwriteSlots(join(tree, name));
  const left = [name];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const directory = join(tree, next);
    // Bytes: other programs may have put names there that are not ours.
    for await (const entry of await opendir(directory, { encoding: 'buffer' as BufferEncoding })) {
      const inner = Buffer.concat([Buffer.from(`${directory}/`), entry.name as unknown as Buffer]);
      if (entry.isDirectory()) {
        const aside = asideName();
        await rename(inner, join(tree, aside));
        left.push(aside);
        continue;
      }
      const { size, nlink } = await lstat(inner);
      const map = maps.size > 0 && entry.isFile() && nlink === 1 ? await mapOf(inner) : undefined;
      await unlink(inner);
      if (map !== undefined && maps.delete(map)) await unlink(join(tree, map));
      unlinked.files++;
      unlinked.bytes += size;
    }
    await rmdir(directory);
  }
  return unlinked;
}

/** What a daemon that was killed meanwhile left of such scopes. */
export async function leftovers(tree: string): Promise<string[]> {
  return (await readdir(tree)).filter(isAside);
}
