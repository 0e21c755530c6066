import { test } from 'tap';
import { errno } from '../../base/errno.js';
import { pinned } from '../../libc/memory.js';
import type { NodeId, Reply } from '../contract.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { LateExecutor, TestCache } from './test-ports.js';
import { type Answer, RigReply } from './test-reply.js';
import { Rig, ROOT_SCOPE, ROOT_SECRET, secretOf, user } from './test-rig.js';

/**
 * A random schedule of requests, slow and failing jobs, locks, deadlines and unlocks: each request gets exactly one
 * answer, none is lost, no descriptor stays open, and no file ever shows a byte that was written to another.
 */

const C = 4096;
const STEPS = 2_000;
const ROUNDS = 50;

interface OpenHandle {
  readonly number: number;
  readonly node: NodeId;
  readonly tag: number;
  readonly directory: boolean;
  /** Of the child scope. */
  readonly child: boolean;
  /** Requests on it that have no answer yet. */
  pending: number;
}

/** Each letter is a file's tag: all its names begin with it, and every byte ever written to it is that letter. */
const NAMES = ['a', 'a2', 'b', 'b2', 'c', 'c2', 'd', 'd2'];
const DIRECTORIES = ['', 's'];

class Schedule {
  readonly wrong: string[] = [];
  readonly disk = new MemoryDisk();
  readonly executor = new LateExecutor(this.disk);
  readonly cache = new TestCache();
  readonly rig: Rig;
  readonly replies: { reply: RigReply; what: string; child: boolean }[] = [];
  /** Steps for which no job is done. */
  stalled = 0;
  readonly nodes = new Map<string, NodeId>();
  handles: OpenHandle[] = [];
  readonly child;
  now = 1000;
  locks = 0;
  receipts = 0;
  killed = 0;
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
    this.rig = new Rig(this.disk, {
      executor: this.executor,
      cache: this.cache,
      now: () => this.now,
    });
    this.child = this.rig.createScope('s', 9);
    this.executor.onJob = (job) => {
      if (!this.disk.isOpen(job.descriptor)) this.wrong.push(`${job.op} on a closed descriptor`);
    };
  }

  random(below: number): number {
    this.#state = (Math.imul(this.#state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((this.#state / 0x80000000) * below);
  }
  pick<T>(from: readonly T[]): T {
    return from[this.random(from.length)] as T;
  }

  /** Starts a request; `then` sees its first answer. */
  request(
    what: string,
    start: (reply: Reply) => void,
    then: (answer: Answer) => void = () => {},
    child = false,
  ): void {
    const reply = new RigReply(pinned(4 * C + 64));
    reply.onAnswer = (answer) => {
      if (answer.error === 'ENOKEY') this.killed++;
      then(answer);
    };
    this.replies.push({ reply, what, child });
    start(reply);
  }

  parentOf(directory: string): NodeId | undefined {
    return directory === '' ? ROOT_NODE : this.nodes.get(directory);
  }

  lookup(directory: string, name: string): void {
    const path = directory === '' ? name : `${directory}/${name}`;
    const parent = this.parentOf(directory);
    if (parent === undefined) {
      if (directory !== '') this.lookup('', directory);
      return;
    }
    this.request(
      `lookup ${path}`,
      (reply) => this.rig.core.namespace.lookup(parent, name, user, reply),
      (answer) => {
        if (answer.error === undefined && answer.node !== undefined) this.nodes.set(path, answer.node);
        else this.nodes.delete(path);
      },
    );
  }

  opened(answer: Answer, node: NodeId, tag: number, directory: boolean): void {
    if (answer.error !== undefined || answer.handle === undefined) return;
    this.handles.push({
      number: answer.handle,
      node,
      tag,
      directory,
      child: this.nodes.get('s') === node || this.inChild(node),
      pending: 0,
    });
  }

  inChild(node: NodeId): boolean {
    return NAMES.some((name) => this.nodes.get(`s/${name}`) === node);
  }

  onHandle(handle: OpenHandle): void {
    const { files } = this.rig.core;
    const { node, number, tag } = handle;
    const offset = Math.max(0, this.random(4) * C + this.pick([0, 1, -1, this.random(C)]));
    const run = (what: string, start: (reply: Reply) => void, then?: (answer: Answer) => void): void => {
      handle.pending++;
      const answered = (answer: Answer): void => {
        handle.pending--;
        then?.(answer);
      };
      this.request(what, start, answered, handle.child);
    };
    if (handle.directory) {
      if (this.random(3) === 0) {
        run('fsyncdir', (reply) => this.rig.core.fsyncdir(node, user, reply));
        return;
      }
      let left = 4;
      const sink = {
        plus: false,
        add: () => left-- > 0,
        addNode: () => false,
        fits: () => left > 0,
        end: (): void => {},
      };
      run('readdir', (reply) => {
        this.rig.core.readdir(
          node,
          number,
          this.random(3) * 4,
          user,
          { ...sink, end: () => reply.ok() },
          reply,
        );
      });
      return;
    }
    switch (this.random(5)) {
      case 0:
      case 1:
        run(
          `read ${offset}`,
          (reply) => files.read(node, number, { offset, length: 1 + this.random(2 * C) }, user, reply),
          (answer) => {
            const data = answer.error === undefined ? answer.data : undefined;
            const foreign = data?.find((byte) => byte !== 0 && byte !== tag);
            if (foreign !== undefined) this.wrong.push(`a read of ${tag} shows ${foreign}`);
          },
        );
        return;
      case 2:
      case 3: {
        const length = 1 + this.random(this.pick([20, C, 3 * C]));
        const source = pinned(length);
        source.bytes.fill(tag);
        const flags = { fromCache: this.random(2) === 0, killPrivileges: this.random(4) === 0 };
        const request = { offset, length, buffer: source, at: 0, ...flags };
        run(`write ${offset}`, (reply) => {
          files.write(node, number, request, user, reply);
        });
        return;
      }
      default:
        run('fsync', (reply) => files.fsync(node, number, this.random(2) === 0, user, reply));
    }
  }

  onName(): void {
    const { core } = this.rig;
    const directory = this.pick(DIRECTORIES);
    const name = this.pick(NAMES);
    const tag = name.charCodeAt(0);
    const path = directory === '' ? name : `${directory}/${name}`;
    const parent = this.parentOf(directory);
    const node = this.nodes.get(path);
    const kind = this.random(12);
    if (parent === undefined || kind === 0) {
      this.lookup(directory, name);
    } else if (kind === 1) {
      this.request(
        `unlink ${path}`,
        (reply) => core.removal.unlink(parent, name, user, reply),
        (answer) => {
          if (answer.error === undefined) this.nodes.delete(path);
        },
      );
    } else if (kind === 2) {
      const other = this.pick(NAMES.filter((one) => one.startsWith(name[0] as string)));
      this.request(`rename ${path}`, (reply) =>
        core.rename.rename({ parent, name, newParent: parent, newName: other, flags: 0 }, user, reply),
      );
      for (const one of NAMES) this.nodes.delete(directory === '' ? one : `${directory}/${one}`);
    } else if (kind === 3) {
      this.request(
        `opendir ${directory}`,
        (reply) => core.opendir(parent, user, reply),
        (answer) => this.opened(answer, parent, 0, true),
      );
    } else if (node === undefined) {
      this.request(
        `create ${path}`,
        (reply) => core.files.create(parent, name, { mode: 0o644, umask: 0 }, user, reply),
        (answer) => {
          if (answer.error !== undefined || answer.node === undefined) return;
          this.nodes.set(path, answer.node);
          this.opened(answer, answer.node, tag, false);
        },
      );
      this.lookup(directory, name);
    } else if (kind < 8) {
      const request = { write: true, truncate: this.random(3) === 0, killPrivileges: false };
      this.request(
        `open ${path}`,
        (reply) => core.files.open(node, request, user, reply),
        (answer) => this.opened(answer, node, tag, false),
      );
    } else if (kind < 10) {
      const size = this.pick([0, this.random(4 * C), C]);
      this.request(`truncate ${path}`, (reply) => core.attributes.setattr(node, { size }, user, reply));
    } else {
      const change = this.pick([{ mode: 0o600 }, { mtime: [5, 5] as const }]);
      this.request(`setattr ${path}`, (reply) => core.attributes.setattr(node, change, user, reply));
    }
  }

  control(): void {
    const { core } = this.rig;
    if (this.random(2) === 0) {
      core.scopeAccess.unlock(ROOT_SCOPE, 1, [secretOf(ROOT_SECRET)]);
      core.scopeAccess.unlock(this.child, 1, [secretOf(Buffer.alloc(32, 9))]);
      return;
    }
    this.locks++;
    const scope = this.random(3) === 0 ? ROOT_SCOPE : this.child;
    const deadline = this.pick([Number.POSITIVE_INFINITY, this.now, this.now + this.random(40)]);
    const before = this.replies.filter((one) => one.child && one.reply.answers.length === 0);
    core.locks.lock([scope], 'test', deadline, (receipts) => {
      this.receipts++;
      if (!receipts.some((receipt) => receipt.scope === this.child)) return;
      const open = before.find(({ reply }) => reply.answers.length === 0);
      if (open !== undefined) this.wrong.push(`${open.what} has no answer after the lock`);
    });
    if (this.random(2) === 0) this.nodes.clear();
  }

  release(): void {
    const free = this.handles.filter(({ pending }) => pending === 0);
    const handle = free.length === 0 ? undefined : this.pick(free);
    if (handle === undefined) return;
    this.handles = this.handles.filter((other) => other !== handle);
    const { core } = this.rig;
    this.request('release', (reply) =>
      handle.directory ? core.releasedir(handle.number, reply) : core.files.release(handle.number, reply),
    );
  }

  step(): void {
    const kind = this.random(100);
    if (kind < 30) this.onName();
    else if (kind < 80 && this.handles.length > 0) this.onHandle(this.pick(this.handles));
    else if (kind < 92) this.release();
    else if (kind >= 98) this.control();
    this.now += this.random(3);
    this.rig.core.locks.tick(this.now);
    this.executor.slow = this.random(4) === 0;
    this.cache.hold = this.random(3) === 0;
    if (this.stalled > 0) this.stalled--;
    else if (this.random(60) === 0) this.stalled = this.random(60);
    for (let i = this.stalled > 0 ? 0 : this.random(6); i > 0; i--)
      this.executor.step((waiting) => this.random(waiting));
    if (this.random(3) === 0) this.cache.answer();
  }

  settle(): void {
    this.cache.hold = false;
    while (this.executor.step((waiting) => this.random(waiting)) || this.cache.answer()) {}
  }

  finish(): void {
    this.disk.faults.before = () => 0;
    this.settle();
    for (const { reply, what } of this.replies) {
      if (reply.answers.length !== 1) this.wrong.push(`${what}: ${reply.answers.length} answers`);
      const [first] = reply.answers;
      if (reply.ignored.length > 0 && first?.error !== 'ENOKEY') {
        this.wrong.push(`${what}: answered ${JSON.stringify(first)}, then again`);
      }
      if (reply.ignored.length > 1) this.wrong.push(`${what}: ${reply.ignored.length} late answers`);
    }
    // Lost answers are in `wrong` by now.
    for (const handle of this.handles) handle.pending = 0;
    while (this.handles.length > 0) {
      this.release();
      this.settle();
    }
    this.rig.core.locks.lock([ROOT_SCOPE], 'end', Number.POSITIVE_INFINITY, () => this.receipts++);
    this.locks++;
    this.settle();
    if (this.receipts !== this.locks) this.wrong.push(`${this.locks} locks, ${this.receipts} receipts`);
    if (this.disk.openHandles !== 0) this.wrong.push(`${this.disk.openHandles} descriptors are open`);
  }
}

test('each request gets one answer under any schedule of jobs, failures, deadlines and locks', async (t) => {
  const base = Number(process.env.SCOPEFS_SEED ?? Math.floor(Math.random() * 2 ** 30));
  let requests = 0;
  let killed = 0;
  let locks = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const schedule = new Schedule(base + round);
    const failing = round % 2 === 0;
    schedule.disk.faults.before = () => {
      if (!failing || schedule.random(40) !== 0) return 0;
      return -schedule.pick([errno.EIO, errno.ENOSPC, errno.EMFILE]);
    };
    for (let step = 0; step < STEPS; step++) schedule.step();
    schedule.finish();
    requests += schedule.replies.length;
    killed += schedule.killed;
    locks += schedule.locks;
    t.same(schedule.wrong.slice(0, 5), [], `seed ${base + round}`);
  }
  t.comment(`${ROUNDS * STEPS} steps: ${requests} requests, ${killed} of them ENOKEY, ${locks} locks`);
  t.ok(killed > 100 && locks > 100, 'locks met requests under way');
});
