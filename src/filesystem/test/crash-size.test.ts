import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { Geometry } from '../../format/file/geometry.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { nodeOf, Rig } from './test-rig.js';

/**
 * A file that was fsynced and then changes its size without another fsync, and a power cut. The size change is
 * metadata and may be there; the header is data and may not (ext4, XFS). What was fsynced must read back as far as
 * the file still reaches.
 */

const C = 4096;

interface Synced {
  readonly disk: MemoryDisk;
  readonly rig: Rig;
  readonly node: number;
  readonly handle: number;
  readonly data: Buffer;
}

/** A file of `size` bytes, the first `written` of them random, the rest a hole; fsynced by whoever wrote it. */
function synced(size: number, written = size): Synced {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const data = Buffer.alloc(size);
  randomBytes(written).copy(data);
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  rig.write(node, handle, 0, data.subarray(0, written));
  if (written < size) rig.setattr(node, { size });
  rig.fsync(node, handle);
  return { disk, rig, node, handle, data };
}

/** Reads the file in each image: the content, or the name of an error. */
function after(disk: MemoryDisk): (Buffer | string)[] {
  const found: (Buffer | string)[] = [];
  for (let n = disk.durableChanges; n <= disk.changes; n++) {
    const rig = new Rig(disk.crash(n), { fresh: false, unclean: true });
    found.push(rig.get(rig.walk('f')));
  }
  return found;
}

test('a file cut shorter after its fsync reads its old bytes up to where it ends', async (t) => {
  for (const size of [2 * C, C + 100, 100]) {
    const { disk, rig, node, data } = synced(3 * C);
    t.match(rig.setattr(node, { size }), { error: undefined });
    for (const content of after(disk)) {
      const right = typeof content !== 'string' && data.subarray(0, content.length).equals(content);
      t.ok(right, `cut to ${size}: ${typeof content === 'string' ? content : `${content.length} bytes`}`);
    }
  }
});

test('a file grown by truncate after its fsync has its old bytes, then zeros', async (t) => {
  for (const [size, written] of [
    [2 * C, 2 * C],
    [C + 100, C + 100],
    [5 * C + 10, C],
  ] as const) {
    const { disk, rig, node, data } = synced(size, written);
    t.match(rig.setattr(node, { size: size + 3 * C }), { error: undefined });
    for (const content of after(disk)) {
      const isBuffer = typeof content !== 'string';
      const right =
        isBuffer &&
        content.length >= size &&
        content.subarray(0, size).equals(data) &&
        content.subarray(size).every((byte) => byte === 0);
      t.ok(right, `${size} bytes, ${written} written: ${isBuffer ? `${content.length} bytes` : content}`);
    }
  }
});

test('a file appended to or overwritten after its fsync has what was fsynced', async (t) => {
  for (const size of [C, C + 100, 3 * C]) {
    const { disk, rig, node, handle, data } = synced(size);
    rig.write(node, handle, size, randomBytes(2 * C));
    rig.release(handle);
    for (const content of after(disk)) {
      t.ok(typeof content !== 'string' && content.subarray(0, size).equals(data), `${size} bytes`);
    }
  }
});

test('a file emptied and written anew after its fsync opens, as the old or the new', async (t) => {
  const { disk, rig, node, handle, data } = synced(2 * C);
  const next = randomBytes(3 * C);
  t.match(rig.setattr(node, { size: 0 }), { error: undefined });
  rig.write(node, handle, 0, next);
  for (const content of after(disk)) {
    const whole =
      typeof content !== 'string' && (content.length === 0 || content.equals(data) || content.equals(next));
    t.ok(whole, typeof content === 'string' ? content : `${content.length} bytes`);
  }
});

test('an fsync by a program that did not write the file counts as one', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const data = randomBytes(3 * C);
  const node = rig.put(ROOT_NODE, 'f', data);
  const { handle } = rig.open(node) as { handle: number };
  t.match(rig.fsync(node, handle), { error: undefined }, 'sync FILE of another process');
  // The header that says so goes out with the last release, and is durable with the next sync.
  rig.release(handle);
  disk.perform({ op: 'syncfs', descriptor: disk.root });
  const image = disk.crash();
  const { directories } = rig.core.volume;
  const path = [directories.stored(directories.get(1) as never, 'f').name];
  image.setRaw(path, Buffer.from(image.raw(path).subarray(0, new Geometry(C).backingSize(C))));
  const fresh = new Rig(image, { fresh: false, unclean: true });
  t.equal(fresh.get(fresh.walk('f')), 'EIO', 'cut below what was synced: never trusted (FORMAT.md)');
});

test('a file with a long name that was fsynced is listed after a power cut', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const name = 'n'.repeat(200);
  const node = rig.put(ROOT_NODE, name, 'content');
  const { handle } = rig.open(node, true) as { handle: number };
  t.match(rig.fsync(node, handle), { error: undefined });
  const fresh = new Rig(disk.crash(), { fresh: false, unclean: true });
  t.same(fresh.get(fresh.walk(name)), Buffer.from('content'), 'it opens by its name');
  t.same(fresh.names(ROOT_NODE), [name], 'and is listed');
});

test('a directory with a long-named file that a power cut hid can be emptied and removed', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const directory = nodeOf(rig.mkdir(ROOT_NODE, 'd'));
  rig.put(directory, 'n'.repeat(200), 'content');
  const fresh = new Rig(disk.crash(), { fresh: false, unclean: true });
  const d = fresh.walk('d');
  for (const name of fresh.names(d) as string[]) fresh.unlink(d, name);
  t.match(fresh.rmdir(ROOT_NODE, 'd'), { error: undefined }, 'rm -r works');
});
