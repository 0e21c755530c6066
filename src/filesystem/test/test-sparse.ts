import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { Rig } from './test-rig.js';

/** Test support: sparse files on a disk in memory. */
export const C = 4096;
export const MOST = 40 * C;

/** A disk with one file of `size` bytes, these chunks of it written, each with its number and 1; and its stored name. */
export function sparse(chunks: readonly number[], size = MOST): { disk: MemoryDisk; stored: string } {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  for (const chunk of chunks) rig.write(node, handle, chunk * C, Buffer.alloc(C, chunk + 1));
  rig.setattr(node, { size });
  rig.release(handle);
  rig.close();
  const stored = (disk.list(disk.root) as { name: string }[])[0]?.name as string;
  return { disk, stored };
}
export const again = (disk: MemoryDisk, unclean = false): Rig => new Rig(disk, { fresh: false, unclean });
export const content = (rig: Rig): Buffer | string => {
  const got = rig.get(rig.walk('f'));
  rig.close();
  return got;
};
