import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { type Pinned, pinned } from '../../libc/memory.js';
import type { Refusal, Reply } from '../contract.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { LateExecutor } from './test-ports.js';
import { Rig, user } from './test-rig.js';

/** Jobs that complete late and out of order: each request is answered once, and answers are those of some order. */

const C = 4096;

/** Counts every answer; its data buffer is its own, as a transport's is. */
class Counted implements Reply {
  readonly answers: (string | Buffer | number)[] = [];
  #buffer: Pinned | undefined;
  get done(): boolean {
    return this.answers.length > 0;
  }
  error(errno: number): void {
    this.answers.push(`error ${errno}`);
  }
  refuse({ errno }: Refusal): void {
    this.error(errno);
  }
  ok(): void {
    this.answers.push('ok');
  }
  entry(): void {
    this.answers.push('entry');
  }
  negative(): void {
    this.answers.push('negative');
  }
  attributes(): void {
    this.answers.push('attributes');
  }
  opened(handle: number): void {
    this.answers.push(handle);
  }
  created(): void {
    this.answers.push('created');
  }
  data(length: number): { buffer: Pinned; at: number } {
    this.#buffer ??= pinned(length + 16);
    return { buffer: this.#buffer, at: 16 };
  }
  read(length: number): void {
    this.answers.push(Buffer.from((this.#buffer?.bytes ?? Buffer.alloc(16)).subarray(16, 16 + length)));
  }
  written(length: number): void {
    this.answers.push(length);
  }
  target(): void {
    this.answers.push('target');
  }
  bytes(): void {
    this.answers.push('bytes');
  }
  statx(): void {
    this.answers.push('statx');
  }
  position(): void {
    this.answers.push('position');
  }
  usage(): void {
    this.answers.push('usage');
  }
}

interface Model {
  readonly name: string;
  readonly node: number;
  handles: number[];
  content: Buffer;
}

function resized(content: Buffer, size: number): Buffer {
  const next = Buffer.alloc(size);
  content.copy(next);
  return next;
}

function run(seed: number, steps: number): string[] {
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * below);
  };
  const wrong: string[] = [];
  const disk = new MemoryDisk();
  const executor = new LateExecutor(disk);
  const rig = new Rig(disk, { executor });
  const { files } = rig.core;
  const models: Model[] = ['a', 'b', 'c'].map((name) => {
    const { node, handle } = rig.create(ROOT_NODE, name) as { node: number; handle: number };
    return { name, node, handles: [handle], content: Buffer.alloc(0) };
  });
  const pending: { reply: Counted; expected: string | Buffer | number | undefined; what: string }[] = [];
  const begin = (what: string, expected: string | Buffer | number | undefined): Counted => {
    const reply = new Counted();
    pending.push({ reply, expected, what });
    return reply;
  };
  const open = (model: Model): void => {
    // An open without truncation is answered at once.
    const answer = rig.open(model.node, true) as { handle: number };
    model.handles.push(answer.handle);
  };
  for (let step = 0; step < steps; step++) {
    const model = models[random(models.length)] as Model;
    const handle = model.handles[random(model.handles.length)];
    const offset = Math.max(0, random(5) * C + [0, 1, -1, random(C)][random(4)]!);
    const kind = handle === undefined ? 9 : random(10);
    const what = `step ${step}: ${model.name}`;
    if (kind < 3) {
      const length = 1 + random(2 * C);
      const expected = Buffer.from(model.content.subarray(offset, offset + length));
      files.read(model.node, handle as number, { offset, length }, user, begin(`${what} read`, expected));
    } else if (kind < 6) {
      const data = randomBytes(1 + random([20, C, 3 * C][random(3)]!));
      const source = pinned(data.length);
      data.copy(source.bytes);
      if (offset + data.length > model.content.length) {
        model.content = resized(model.content, offset + data.length);
      }
      data.copy(model.content, offset);
      const { length } = data;
      const request = { offset, length, buffer: source, at: 0, fromCache: false, killPrivileges: false };
      const reply = begin(`${what} write`, data.length);
      files.write(model.node, handle as number, request, user, reply);
    } else if (kind === 6) {
      model.content = resized(model.content, random(4) === 0 ? 0 : offset);
      const reply = begin(`${what} truncate`, 'attributes');
      rig.core.attributes.setattr(model.node, { size: model.content.length }, user, reply);
    } else if (kind === 7) {
      files.fsync(model.node, handle as number, random(2) === 0, user, begin(`${what} fsync`, 'ok'));
    } else if (kind === 8) {
      // The kernel releases a handle once its requests are answered.
      while (pending.some(({ reply }) => !reply.done)) executor.step(random);
      model.handles = model.handles.filter((other) => other !== handle);
      files.release(handle as number, begin(`${what} release`, 'ok'));
      if (random(2) === 0) open(model);
    } else {
      open(model);
    }
    for (let i = random(4); i > 0; i--) executor.step(random);
  }
  while (executor.step(random)) {}
  for (const model of models) {
    for (const handle of model.handles) files.release(handle, begin(`${model.name} last release`, 'ok'));
  }
  while (executor.step(random)) {}
  for (const { reply, expected, what } of pending) {
    const [answer] = reply.answers;
    const same = Buffer.isBuffer(expected)
      ? Buffer.isBuffer(answer) && expected.equals(answer)
      : answer === expected;
    if (reply.answers.length !== 1) wrong.push(`${what}: ${reply.answers.length} answers`);
    else if (!same)
      wrong.push(`${what}: ${Buffer.isBuffer(answer) ? `${answer.length} wrong bytes` : answer}`);
  }
  if (disk.openHandles !== 0) wrong.push(`${disk.openHandles} descriptors are open`);
  const fresh = new Rig(disk, { fresh: false });
  for (const model of models) {
    const got = fresh.get(fresh.walk(model.name));
    if (typeof got === 'string' || !got.equals(model.content)) {
      wrong.push(`${model.name} at the end: ${typeof got === 'string' ? got : 'wrong bytes'}`);
    }
  }
  return wrong;
}

test('random reads, writes, truncates, syncs and reopens under late jobs agree with a model', async (t) => {
  const base = Math.floor(Math.random() * 2 ** 30);
  for (let round = 0; round < 25; round++) {
    t.same(run(base + round, 250), [], `seed ${base + round}`);
  }
});

test('a modification time that is set while a file’s header is being written stays', async (t) => {
  const disk = new MemoryDisk();
  const executor = new LateExecutor(disk);
  const rig = new Rig(disk, { executor });
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  const finish = (): void => {
    while (executor.step()) {}
  };
  for (const [offset, text] of [
    [0, 'one'],
    [3, 'two'],
  ] as const) {
    rig.startWrite(node, handle, offset, Buffer.from(text));
    finish();
  }
  // close(2) does not wait for RELEASE: cp -p and tar set times while the header goes out.
  rig.start((reply) => rig.core.files.release(handle, reply));
  t.equal(executor.waiting.length, 1, 'the header is on its way');
  rig.start((reply) => rig.core.attributes.setattr(node, { mtime: [1000, 5] }, user, reply));
  finish();
  t.match(rig.getattr(node), { attributes: { mtime: 1000, mtimeNs: 5 } });
  const fresh = new Rig(disk, { fresh: false });
  t.match(fresh.getattr(fresh.walk('f')), { attributes: { mtime: 1000, mtimeNs: 5 } });
});

test('a read of a hole and a read of data under way do not disturb each other', async (t) => {
  const disk = new MemoryDisk();
  const executor = new LateExecutor(disk);
  const rig = new Rig(disk, { executor });
  const { node, handle } = rig.create(ROOT_NODE, 'f') as { node: number; handle: number };
  const finish = (): void => {
    while (executor.step((waiting) => waiting - 1)) {}
  };
  const data = randomBytes(2 * C);
  rig.startWrite(node, handle, 0, data);
  finish();
  rig.start((reply) => rig.core.attributes.setattr(node, { size: 4 * C }, user, reply));
  finish();
  const replies = [C, 0, 3 * C].map((offset) => {
    const reply = new Counted();
    rig.core.files.read(node, handle, { offset, length: 2 * C }, user, reply);
    return reply;
  });
  finish();
  const whole = Buffer.concat([data, Buffer.alloc(2 * C)]);
  t.same(
    replies.map((reply) => reply.answers),
    [C, 0, 3 * C].map((offset) => [whole.subarray(offset, offset + 2 * C)]),
  );
});
