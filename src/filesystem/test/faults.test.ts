import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { errno } from '../../base/errno.js';
import { Geometry, HEADER_REGION } from '../../format/file/geometry.js';
import { XATTR } from '../../format/names/binding.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { flag, ROOT_NODE } from '../inodes/inode-table.js';
import type { Answer } from './test-reply.js';
import { Rig } from './test-rig.js';

/** A full disk and a disk with errors: what was there before still reads right, and errors say what happened. */

const C = 4096;
const geometry = new Geometry(C);

/** One file whose stored state can be put back again and again. */
class Subject {
  readonly disk = new MemoryDisk();
  readonly rig = new Rig(this.disk);
  readonly old: Buffer;
  readonly node: number;
  readonly #path: string[];
  readonly #stored: Buffer;
  readonly #xattr: Buffer | undefined;

  constructor(size: number) {
    this.old = randomBytes(size);
    this.node = this.rig.put(ROOT_NODE, 'f', this.old);
    const { directories } = this.rig.core.volume;
    this.#path = [directories.stored(directories.get(1) as never, 'f').name];
    this.#stored = Buffer.from(this.disk.raw(this.#path));
    this.#xattr = this.disk.xattrs(this.#path).get(XATTR);
  }
  get used(): number {
    return this.#stored.length;
  }
  reset(): void {
    this.disk.faults.capacity = Number.POSITIVE_INFINITY;
    this.disk.faults.before = () => 0;
    // An empty file is emptied through the core: it need not notice what happens behind its back.
    if (this.old.length === 0) this.rig.setattr(this.node, { size: 0 });
    this.disk.setRaw(this.#path, Buffer.from(this.#stored));
    if (this.#xattr !== undefined) this.disk.xattrs(this.#path).set(XATTR, this.#xattr);
    this.rig.core.volume.table.set(1, flag.STALE);
  }
  read(handle: number): Buffer | string {
    const answer = this.rig.read(this.node, handle, 0, 1 << 17);
    return answer.error ?? (answer.data as Buffer);
  }
  /** A failing call: the nth of its kind from now, once. */
  fail(call: string, number: number, nth = 1): void {
    let seen = 0;
    this.disk.faults.before = (made) => (made === call && ++seen === nth ? -number : 0);
  }
}

/** Capacities around the edges of what an operation needs, and some between. */
function capacities(used: number, need: number): number[] {
  const found = new Set<number>();
  for (let edge = 0; edge <= need + geometry.stride; edge += geometry.stride) {
    for (const at of [edge, edge + HEADER_REGION]) for (let d = -46; d <= 46; d++) found.add(at + d);
  }
  for (let i = 0; i < 100; i++) found.add(Math.floor(Math.random() * (need + 1)));
  return [...found].filter((room) => room >= 0 && room <= need + 1).map((room) => used + room);
}

/** What may be read after a write of which `written` bytes were taken: bytes outside it are old, inside old or new. */
function fits(got: Buffer, old: Buffer, offset: number, data: Buffer, written: number): string {
  const size = Math.max(old.length, written > 0 ? offset + written : 0);
  if (got.length !== size) return `size ${got.length} instead of ${size}`;
  for (let at = 0; at < size; at++) {
    const before = at < old.length ? old[at] : 0;
    const inside = at >= offset && at < offset + data.length;
    const after = inside ? data[at - offset] : before;
    const right = at < offset + written ? got[at] === after : got[at] === before || got[at] === after;
    if (!right) return `wrong byte ${at}`;
  }
  return '';
}

test('a write on a disk of every capacity: short or ENOSPC, and no old byte is lost', async (t) => {
  for (const size of [0, 1, C - 1, C, C + 100, 2 * C + 17]) {
    const subject = new Subject(size);
    const { rig, node, old, disk } = subject;
    const writes = [
      [size, 1],
      [size, 2 * C + 50],
      [Math.min(size, 50), 2 * C],
      [size + C + 5, C + 300],
    ] as const;
    for (const [offset, length] of writes) {
      const data = randomBytes(length);
      const need = geometry.backingSize(Math.max(size, offset + length)) - subject.used;
      const wrong = new Map<string, number>();
      for (const capacity of capacities(subject.used, need)) {
        subject.reset();
        disk.faults.capacity = capacity;
        const { handle } = rig.open(node, true) as { handle: number };
        const answer = rig.write(node, handle, offset, data);
        const written = answer.error === undefined ? (answer.written as number) : 0;
        let verdict = answer.error === undefined || answer.error === 'ENOSPC' ? '' : String(answer.error);
        if (capacity >= subject.used + need && written !== length) verdict = 'failed with room';
        const got = subject.read(handle);
        verdict ||= typeof got === 'string' ? `read ${got}` : fits(got, old, offset, data, written);
        rig.release(handle);
        const again = rig.get(node);
        verdict ||= typeof again === 'string' ? `reopened ${again}` : fits(again, old, offset, data, written);
        if (verdict !== '') wrong.set(verdict.replace(/\d+/, 'N'), capacity - subject.used);
      }
      t.same(Object.fromEntries(wrong), {}, `${length} bytes at ${offset} of ${size} (room left)`);
    }
    t.equal(disk.openHandles, 0);
  }
});

test('a truncate on a disk of every capacity: done, or ENOSPC and nothing changed', async (t) => {
  for (const [from, to] of [
    [C + 100, C + 3000],
    [C + 100, 3 * C],
    [100, C],
    [3 * C, C + 5],
  ] as const) {
    const subject = new Subject(from);
    const { rig, node, old, disk } = subject;
    const wrong = new Map<string, number>();
    for (const capacity of capacities(subject.used, geometry.stride)) {
      subject.reset();
      disk.faults.capacity = capacity;
      const answer = rig.setattr(node, { size: to });
      const next = Buffer.alloc(to);
      old.copy(next);
      const expected = answer.error === undefined ? next : old;
      const got = rig.get(node);
      const fine = answer.error === undefined || answer.error === 'ENOSPC';
      if (!fine) wrong.set(String(answer.error), capacity);
      if (typeof got === 'string' || !got.equals(expected)) {
        wrong.set(`${answer.error ?? 'done'}: ${typeof got === 'string' ? got : 'wrong bytes'}`, capacity);
      }
    }
    t.same(Object.fromEntries(wrong), {}, `${from} to ${to}`);
  }
});

test('a call that fails once inside a truncate leaves the old bytes readable', async (t) => {
  for (const [from, to] of [
    [0, 5],
    [0, 3 * C],
    [C + 100, 3 * C],
    [3 * C, C + 5],
    [100, 50],
    [C, 0],
  ] as const) {
    for (const call of ['pread', 'pwrite', 'ftruncate', 'setxattr', 'openFile']) {
      for (const [nth, number] of [
        [1, errno.EIO],
        [1, errno.ENOSPC],
        [2, errno.EIO],
      ] as const) {
        const subject = new Subject(from);
        const { rig, node, old } = subject;
        subject.fail(call, number, nth);
        const answer = rig.setattr(node, { size: to });
        subject.disk.faults.before = () => 0;
        const next = Buffer.alloc(to);
        old.copy(next);
        const allowed = answer.error === undefined ? [next] : [old, next];
        const got = rig.get(node);
        const right = typeof got !== 'string' && allowed.some((it) => it.equals(got));
        const what = typeof got === 'string' ? got : `${got.length} bytes`;
        t.ok(right, `${from} to ${to}, ${call} ${nth} fails: ${answer.error ?? 'done'}, then ${what}`);
        const fresh = new Rig(subject.disk, { fresh: false });
        t.same(fresh.get(fresh.walk('f')), got, 'a fresh core agrees');
      }
    }
  }
});

test('a call that fails once inside a write leaves the old bytes readable', async (t) => {
  for (const size of [0, 100, 2 * C + 17]) {
    for (const [offset, length] of [
      [0, 10],
      [size, C + 9],
      [size + 2 * C, 10],
    ] as const) {
      for (const call of ['pread', 'pwrite', 'setxattr']) {
        for (const nth of [1, 2, 3]) {
          const subject = new Subject(size);
          const { rig, node, old } = subject;
          const data = randomBytes(length);
          const { handle } = rig.open(node, true) as { handle: number };
          subject.fail(call, errno.EIO, nth);
          const answer: Answer = rig.write(node, handle, offset, data);
          subject.disk.faults.before = () => 0;
          const written = answer.error === undefined ? (answer.written as number) : 0;
          const got = subject.read(handle);
          const verdict = typeof got === 'string' ? got : fits(got, old, offset, data, written);
          const what = `${length} bytes at ${offset} of ${size}, ${call} ${nth}: ${answer.error ?? written}`;
          t.equal(verdict, '', what);
          rig.release(handle);
          t.same(rig.get(node), got, 'the same when opened again');
        }
      }
    }
  }
});

test('a failed fsync or header write is reported for as long as the file is open; a failed read is not', async (t) => {
  const subject = new Subject(2 * C);
  const { rig, node } = subject;
  const { handle } = rig.open(node, true) as { handle: number };
  subject.fail('fsync', errno.EIO);
  t.match(rig.fsync(node, handle), { error: 'EIO' });
  subject.disk.faults.before = () => 0;
  t.match(rig.fsync(node, handle), { error: 'EIO' }, 'a second fsync does not say that all is well');
  rig.release(handle);
  const second = (rig.open(node, true) as { handle: number }).handle;
  t.match(rig.fsync(node, second), { error: undefined }, 'a new open begins anew');
  rig.write(node, second, 2 * C, 'more');
  subject.fail('pwrite', errno.EIO);
  t.match(rig.fsync(node, second), { error: 'EIO' }, 'its header could not be written');
  subject.disk.faults.before = () => 0;
  t.match(rig.fsync(node, second), { error: 'EIO' });
  subject.fail('pread', errno.EIO);
  t.match(rig.read(node, second, 0, 10), { error: 'EIO' });
  t.match(rig.read(node, second, 0, 10), { error: undefined });
  rig.release(second);
  t.equal(subject.disk.openHandles, 0);
});
