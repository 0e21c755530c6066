import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { Geometry, HEADER_REGION } from '../../format/file/geometry.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { Rig } from './test-rig.js';

/** Content of one file: whatever is done to its stored bytes, a chunk reads right or is EIO, alone. */

const C = 4096;
const geometry = new Geometry(C);

class Victim {
  readonly disk = new MemoryDisk();
  readonly rig = new Rig(this.disk);
  readonly data: Buffer;
  readonly node: number;
  readonly path: readonly string[];
  readonly stored: Buffer;

  constructor(size: number) {
    this.data = randomBytes(size);
    this.node = this.rig.put(ROOT_NODE, 'victim', this.data);
    const { directories } = this.rig.core.volume;
    this.path = [directories.stored(directories.get(1) as never, 'victim').name];
    this.stored = Buffer.from(this.disk.raw(this.path));
  }
  get chunks(): number {
    return geometry.chunksOf(this.data.length);
  }
  /** Where chunk `index`'s frame lies. */
  frame(index: number): [from: number, to: number] {
    const from = geometry.frameOffset(index);
    return [from, from + geometry.stride - C + geometry.extent(index, this.data.length)];
  }
  put(stored: Buffer): void {
    this.disk.setRaw(this.path, stored);
  }
  /** What each chunk reads as: 'ok', an error, or 'WRONG BYTES'. */
  verdicts(): string[] {
    const { handle } = this.rig.open(this.node) as { handle: number };
    const found = Array.from({ length: this.chunks }, (_, k) => {
      const answer = this.rig.read(this.node, handle, k * C, C);
      if (answer.error !== undefined) return answer.error;
      return this.data.subarray(k * C, (k + 1) * C).equals(answer.data as Buffer) ? 'ok' : 'WRONG BYTES';
    });
    this.rig.release(handle);
    return found;
  }
  /** The same with one chunk at a time that is not ok. */
  expected(bad: number | 'all'): string[] {
    return Array.from({ length: this.chunks }, (_, k) => (bad === 'all' || k === bad ? 'EIO' : 'ok'));
  }
}

function flip(stored: Buffer, at: number, bit = at % 8): Buffer {
  const copy = Buffer.from(stored);
  copy[at] = (copy[at] as number) ^ (1 << bit);
  return copy;
}
const splice = (stored: Buffer, from: number, to: number, ...put: Buffer[]): Buffer =>
  Buffer.concat([stored.subarray(0, from), ...put, stored.subarray(to)]);

test('a flipped bit anywhere in the header is EIO for the whole file', async (t) => {
  const victim = new Victim(2 * C + 17);
  for (let at = 0; at < HEADER_REGION; at++) {
    victim.put(flip(victim.stored, at));
    const found = victim.verdicts();
    if (found.some((verdict) => verdict !== 'EIO')) t.fail(`byte ${at}: ${found}`);
  }
  victim.put(victim.stored);
  t.same(victim.verdicts(), victim.expected(-1), 'put back, it reads');
});

test('a flipped bit in a frame is EIO for its chunk, and every other chunk reads right', async (t) => {
  for (const size of [1, C - 1, C, 4 * C + 17]) {
    const victim = new Victim(size);
    for (let chunk = 0; chunk < victim.chunks; chunk++) {
      const [from, to] = victim.frame(chunk);
      const places = new Set<number>();
      for (let i = 0; i < 28; i++) places.add(from + i);
      for (let i = 1; i <= 17; i++) places.add(to - i);
      for (let i = 0; i < 100; i++) places.add(from + Math.floor(Math.random() * (to - from)));
      for (const at of places) {
        victim.put(flip(victim.stored, at));
        const found = victim.verdicts();
        if (`${found}` !== `${victim.expected(chunk)}`) t.fail(`size ${size}, byte ${at}: ${found}`);
      }
    }
    victim.put(flip(victim.stored, victim.stored.length - 1));
    t.equal(victim.rig.get(victim.node), 'EIO', 'a read over the bad chunk is no short read');
  }
});

test('chunks swapped, moved, duplicated or replaced by zeros are EIO, each alone', async (t) => {
  const victim = new Victim(4 * C + 17);
  const frame = (k: number): Buffer => Buffer.from(victim.stored.subarray(...victim.frame(k)));
  const put = (k: number, bytes: Buffer): void => {
    const now = Buffer.from(victim.disk.raw(victim.path));
    bytes.copy(now, victim.frame(k)[0]);
    victim.put(now);
  };
  put(0, frame(1));
  put(1, frame(0));
  t.same(victim.verdicts(), ['EIO', 'EIO', 'ok', 'ok', 'ok'], 'swapped');
  victim.put(victim.stored);
  put(2, frame(3));
  t.same(victim.verdicts(), ['ok', 'ok', 'EIO', 'ok', 'ok'], 'duplicated');
  for (let k = 0; k < 5; k++) {
    victim.put(victim.stored);
    put(k, Buffer.alloc(frame(k).length));
    t.same(victim.verdicts(), victim.expected(k), `a forged hole at chunk ${k}`);
  }
  victim.put(splice(victim.stored, ...victim.frame(1)));
  t.same(victim.verdicts(), victim.expected('all'), 'dropped from the middle');
  victim.put(splice(victim.stored, victim.frame(1)[0], victim.frame(1)[0], frame(1)));
  t.same(victim.verdicts(), victim.expected('all'), 'inserted twice');
  victim.put(splice(victim.stored, ...victim.frame(1), Buffer.alloc(geometry.stride)));
  t.same(victim.verdicts(), victim.expected(1), 'a hole punched in the backing file');
});

test('a file cut short or made longer at any place is EIO as a whole, and empty only when it is empty', async (t) => {
  const victim = new Victim(3 * C + 17);
  const ends = [1, 511, 512, 1023, 1024, 1025, 1068, 1069];
  for (let k = 0; k < victim.chunks; k++) {
    const [from, to] = victim.frame(k);
    ends.push(from, from + 28, from + 44, from + 45, to - 1, to);
  }
  for (const end of ends.filter((it) => it < victim.stored.length)) {
    victim.put(Buffer.from(victim.stored.subarray(0, end)));
    const found = victim.verdicts();
    if (found.some((verdict) => verdict !== 'EIO')) t.fail(`cut to ${end}: ${found}`);
    t.equal(victim.rig.get(victim.node), 'EIO', `cut to ${end}`);
  }
  for (const more of [1, 44, 45, 1000, geometry.stride]) {
    victim.put(Buffer.concat([victim.stored, randomBytes(more)]));
    t.same(victim.verdicts(), victim.expected('all'), `${more} bytes longer`);
  }
  // FORMAT.md and PRODUCT.md: emptying a whole file is shown by a witness only.
  victim.put(Buffer.alloc(0));
  t.same(victim.rig.get(victim.node), Buffer.alloc(0));
});

test('a fresh core judges a cut file the same, and its size is no lie about bytes', async (t) => {
  const victim = new Victim(3 * C);
  victim.put(Buffer.from(victim.stored.subarray(0, victim.frame(1)[1])));
  const fresh = new Rig(victim.disk, { fresh: false });
  t.equal(fresh.get(fresh.walk('victim')), 'EIO');
});

test('the header of another file, or one copy of it, is EIO', async (t) => {
  const victim = new Victim(2 * C);
  const otherNode = victim.rig.put(ROOT_NODE, 'other', randomBytes(2 * C));
  const { directories } = victim.rig.core.volume;
  const path = [directories.stored(directories.get(1) as never, 'other').name];
  const other = Buffer.from(victim.disk.raw(path));
  for (const [from, to] of [
    [0, 1024],
    [0, 512],
    [512, 1024],
  ] as const) {
    victim.put(splice(victim.stored, from, to, other.subarray(from, to)));
    t.same(victim.verdicts(), victim.expected('all'), `header bytes ${from} to ${to} of another file`);
  }
  victim.put(splice(victim.stored, ...victim.frame(1), other.subarray(...victim.frame(1))));
  t.same(victim.verdicts(), ['ok', 'EIO'], 'the same chunk of another file');
  t.type(victim.rig.get(otherNode), Buffer, 'the other one is as it was');
});

test('a write never seals a tampered chunk anew', async (t) => {
  const victim = new Victim(3 * C + 17);
  const { rig, node } = victim;
  const { handle } = rig.open(node, true) as { handle: number };
  for (const chunk of [1, 3]) {
    victim.put(flip(victim.stored, victim.frame(chunk)[0] + 40));
    t.match(rig.write(node, handle, chunk * C + 5, 'x'), { error: 'EIO' }, 'inside');
    t.match(rig.read(node, handle, chunk * C, 10), { error: 'EIO' });
  }
  t.match(rig.write(node, handle, 5 * C, 'x'), { error: 'EIO' }, 'an append that grows the bad last chunk');
  t.match(rig.setattr(node, { size: 3 * C + 5 }), { error: 'EIO' }, 'a cut inside it');
  t.match(rig.setattr(node, { size: 3 * C + 500 }), { error: 'EIO' }, 'growing it');
  rig.release(handle);
  t.same(victim.verdicts(), victim.expected(3), 'the neighbours are as they were');

  victim.put(flip(victim.stored, victim.frame(1)[0] + 40));
  const again = (rig.open(node, true) as { handle: number }).handle;
  t.match(rig.write(node, again, C, Buffer.from(victim.data.subarray(C, 2 * C))), { written: C });
  rig.release(again);
  t.same(victim.verdicts(), victim.expected(-1), 'written over as a whole it is good again');
});

test('a bad header stops every write, and deleting the file works', async (t) => {
  const victim = new Victim(C + 5);
  const { rig, node } = victim;
  const broken = flip(victim.stored, 100);
  victim.put(broken);
  const { handle } = rig.open(node, true) as { handle: number };
  t.match(rig.write(node, handle, 0, 'x'), { error: 'EIO' });
  t.match(rig.setattr(node, { size: 3 }), { error: 'EIO' });
  rig.release(handle);
  t.ok(victim.disk.raw(victim.path).equals(broken), 'not a byte was written');
  t.match(rig.getattr(node), { attributes: { size: C + 5 } }, 'its size needs no key');
  t.match(rig.unlink(ROOT_NODE, 'victim'), {});
  t.same(rig.names(ROOT_NODE), []);
});

test('what lies in the backing behind the last written chunk is a hole, whatever it holds', async (t) => {
  const victim = new Victim(C);
  const { rig, node } = victim;
  rig.setattr(node, { size: 3 * C + 5 });
  const stored = Buffer.from(victim.disk.raw(victim.path));
  const expected = Buffer.concat([victim.data, Buffer.alloc(2 * C + 5)]);
  t.same(rig.get(node), expected);
  victim.put(
    splice(
      stored,
      geometry.frameOffset(1),
      stored.length,
      randomBytes(stored.length - geometry.frameOffset(1)),
    ),
  );
  t.same(rig.get(node), expected, 'garbage there never shows');
});
