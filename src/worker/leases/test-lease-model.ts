import fc from 'fast-check';
import { freshId, type LeaseId, type ScopeId } from '../../base/ids.js';
import type { Caller, Reply } from '../../filesystem/contract.js';
import { MemoryDisk } from '../../filesystem/disk/test-memory-disk.js';
import { ROOT_NODE } from '../../filesystem/inodes/inode-table.js';
import { memory, nodeOf, Rig, secretOf } from '../../filesystem/test/test-rig.js';
import type { EndReason } from '../../keyring/leases/leases.js';
import { parseVisibility } from '../../keyring/leases/visibility.js';
import { copyMemory } from '../../libc/memory.js';
import type { Unlocked } from '../messages.js';
import { Drains } from './drains.js';
import { LeaseClock, LOCK_LIMIT_MS, type Watch } from './lease-clock.js';
import { type UnlockCommand, UnlockQueue } from './unlock-queue.js';

/**
 * Leases, locks and doors against a model: three clients unlock, renew, revoke, lose their connection, lock, panic, read,
 * write and rename while time passes, sometimes in a jump, and while the kernel's cache sometimes does not answer. Test
 * support of lease-model.test.ts and native-tests/leases/model.long.ts.
 */

type Kind = 'any' | 'uid:1' | 'uid:2';
export type Step =
  | {
      op: 'unlock';
      client: number;
      kind: Kind;
      ro: boolean;
      ttl: number | undefined;
      held: boolean;
      idle: boolean;
    }
  | { op: 'revoke' | 'hangup'; nth: number }
  | { op: 'renew'; nth: number; ttl: number }
  | { op: 'lock' | 'panic' | 'stall' | 'release' }
  | { op: 'pass' | 'suspend'; ms: number }
  | { op: 'read' | 'write' | 'rename' | 'stat' | 'keep' | 'sneak'; uid: number }
  | { op: 'readKept' | 'closeKept'; nth: number };

const uid = fc.constantFrom(0, 1, 2);
const nth = fc.nat({ max: 7 });
const ms = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 300, max: 12_000 }));
export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('unlock' as const),
      client: fc.nat({ max: 2 }),
      kind: fc.constantFrom<Kind>('any', 'uid:1', 'uid:1', 'uid:2'),
      ro: fc.boolean(),
      ttl: fc.option(fc.integer({ min: 100, max: 9_000 }), { nil: undefined }),
      held: fc.boolean(),
      idle: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constantFrom('revoke' as const, 'hangup' as const), nth }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('renew' as const),
      nth,
      ttl: fc.integer({ min: 100, max: 9_000 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom('lock' as const, 'panic' as const, 'stall' as const, 'release' as const),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constantFrom('pass' as const, 'pass' as const, 'suspend' as const), ms }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constantFrom(
        'read' as const,
        'write' as const,
        'rename' as const,
        'stat' as const,
        'keep' as const,
        'sneak' as const,
      ),
      uid,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constantFrom('readKept' as const, 'closeKept' as const), nth }),
  },
);

/** Bugs that the model must find. */
export type Planted = 'outlives its holder' | 'door open after a refusal' | 'deadline waits for a flush';

const IDLE_MS = 2_000;
/** An idle lease is looked at eight times in its time. */
const IDLE_LATE_MS = IDLE_MS / 8;
const FILL = 9;

interface Expected {
  readonly client: number;
  readonly fd: number | undefined;
  unlockedAt: number;
  createdAt: number;
  deadline: number;
  idle: boolean;
}

interface Asked {
  readonly command: UnlockCommand;
  readonly kind: Kind;
  readonly ro: boolean;
  readonly expected: Expected;
}

class Sequence {
  readonly rig: Rig;
  readonly leaseClock: LeaseClock;
  readonly #drains: Drains;
  readonly #unlocks: UnlockQueue;
  readonly #scope: ScopeId;
  readonly #transitions: Map<string, number>;
  #now = 1_000;
  // What is.
  readonly #gone = new Set<number>();
  #nextFd = 1_000;
  // What should be.
  readonly #leases = new Map<LeaseId, Expected>();
  #terms: { kind: Kind; ro: boolean } | undefined;
  /** A lock is under way or not settled: when it must be wiped. */
  #closing: number | undefined;
  #generation = 0;
  #usedAt = 0;
  readonly #waiting: (Asked & { until: number })[] = [];
  readonly #kept: { node: number; handle: number; generation: number }[] = [];
  #files = 0;

  constructor(transitions: Map<string, number>, planted: Planted | undefined) {
    this.#transitions = transitions;
    this.rig = new Rig(new MemoryDisk(), { now: () => this.#now });
    const { core } = this.rig;
    const clock = { boottime: () => this.#now, wall: () => 1e12 + this.#now };
    const watch: Watch = {
      fd: -1,
      add: () => 0,
      remove: (fd) => void this.#gone.delete(fd),
      take: () => {
        const taken = planted === 'outlives its holder' ? [] : [...this.#gone];
        this.#gone.clear();
        return taken;
      },
    };
    this.leaseClock = new LeaseClock(
      core,
      (message) => {
        if (message.kind === 'leaseEnded') this.#ended(message.lease.id, message.reason);
      },
      clock,
      watch,
    );
    this.rig.onWiped = (scope) => this.leaseClock.locked(scope);
    this.#drains = new Drains(core, clock);
    this.#unlocks = new UnlockQueue(core, this.leaseClock, this.#drains, clock, {
      adopt: (address) => {
        const secret = memory.allocate(32);
        copyMemory(secret.address, address, 32);
        return secret;
      },
      hasRoom: () => true,
    });
    this.#scope = this.rig.createScope('s', FILL);
    const node = this.#door();
    this.rig.put(node, 'f', 'content');
    this.rig.lock(this.#scope);
    this.#generation = 1;
    if (planted === 'deadline waits for a flush') {
      const { locks } = core;
      const lock = locks.lock.bind(locks);
      locks.lock = (ids, reason, _deadline, done) => lock(ids, reason, Number.POSITIVE_INFINITY, done);
      const set = locks.setDeadline.bind(locks);
      locks.setDeadline = (id, lockAt) => set(id, lockAt, Number.POSITIVE_INFINITY);
    }
    if (planted === 'door open after a refusal') {
      const conflict = this.leaseClock.conflict.bind(this.leaseClock);
      this.leaseClock.conflict = (id, terms) => {
        const found = conflict(id, terms);
        if (found !== undefined) core.scope(id)?.begin({ gate: undefined, readOnly: false });
        return found;
      };
    }
  }

  #fail(what: string): never {
    throw new Error(what);
  }
  get #state(): string {
    if (this.#closing !== undefined) return this.#now >= this.#closing ? 'wiped, not settled' : 'locking';
    if (this.#terms === undefined) return 'locked';
    return `open${this.#terms.kind === 'any' ? '' : ' to some'}${this.#terms.ro ? ', read-only' : ''}`;
  }
  get #open(): boolean {
    return this.#terms !== undefined && this.#closing === undefined;
  }

  #ended(id: LeaseId, reason: EndReason): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    if (reason === 'idle' && (!lease.idle || this.#keeping || this.#now - this.#usedAt < IDLE_MS))
      this.#fail('a lease that was not idle ended as if it were');
    if (reason !== 'locked') this.#drop(id);
  }
  #drop(id: LeaseId): void {
    this.#leases.delete(id);
    // What is left may end before the lock's own limit; what is over by now is told of in the same turn.
    if (this.#closing !== undefined && this.#lastEnd > this.#now)
      this.#closing = Math.min(this.#closing, this.#lastEnd);
  }
  get #keeping(): boolean {
    return this.#kept.some(({ generation }) => generation === this.#generation);
  }

  /** The last lease is over, or somebody locks: closed for all from now on. */
  #close(limit: number): void {
    this.#closing = Math.min(this.#closing ?? Number.POSITIVE_INFINITY, limit, this.#lastEnd);
    if (this.rig.cache.hold) return;
    this.#closing = undefined;
    this.#closed();
  }
  /** The leases' own ends hold too, whoever ended them before. */
  get #lastEnd(): number {
    const ends = [...this.#leases.values()].map(({ deadline }) => deadline);
    return ends.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...ends);
  }
  #closed(): void {
    this.#leases.clear();
    this.#terms = undefined;
  }

  /** What time alone does, in the model: ends of leases. */
  #settle(): void {
    if (this.#closing !== undefined && this.#now >= this.#closing) this.#closed();
    if (!this.#open) return;
    const [last] = [...this.#leases.values()].sort((a, b) => b.deadline - a.deadline);
    if (last === undefined) return;
    const lockAt = last.deadline - Math.min(1_000, (last.deadline - last.createdAt) / 10);
    if (lockAt <= this.#now) {
      this.#close(last.deadline);
      if (this.#closing !== undefined && this.#now >= this.#closing) this.#closed();
      return;
    }
    for (const [id, { deadline }] of this.#leases) if (deadline <= this.#now) this.#leases.delete(id);
  }

  #tick(): void {
    this.rig.core.locks.tick(this.#now);
    this.leaseClock.tick(this.#now);
    this.#unlocks.tick(this.#now);
  }
  /** Ends that the system told of: an idle last lease closes the scope. */
  #follow(): void {
    const scope = this.rig.core.scope(this.#scope);
    // Idle ones end when somebody looks, in the system's time: perhaps together with one whose time was over.
    const idles = [...this.#leases.values()].every(
      (one) => one.idle && !this.#keeping && this.#now - this.#usedAt >= IDLE_MS,
    );
    if (this.#open && idles && scope?.isOpen === false)
      this.#close(scope.state === 'locked' ? this.#now : this.#now + LOCK_LIMIT_MS);
    if (this.#open && this.#leases.size === 0) this.#fail('the scope is open without a lease');
  }

  #pass(until: number, jump: boolean): void {
    for (;;) {
      const { locks } = this.rig.core;
      const next = jump ? until : Math.min(locks.due, this.leaseClock.due, this.#unlocks.due, until);
      this.#now = Math.max(this.#now, next);
      this.#settle();
      this.#tick();
      this.#follow();
      this.#unlockWaiting();
      if (this.#now >= until) return;
    }
  }

  #caller(uid: number): Caller {
    return { uid, gid: uid, pid: 0, trusted: false };
  }
  #door(): number {
    return nodeOf(this.rig.lookup(ROOT_NODE, 's'));
  }
  /** The error of an operation, or ''. */
  #errorOf(act: (reply: Reply) => void): string {
    const [answer] = this.rig.start(act).answers;
    return answer === undefined ? 'no answer' : (answer.error ?? '');
  }
  /** As the kernel walks: the door is asked, then the name. Undefined: refused on the way. */
  #walk(caller: Caller, ask: boolean): number | undefined {
    const { core } = this.rig;
    const door = this.#door();
    const refused = this.#errorOf((reply) => core.files.attributes.getattr(door, false, caller, reply));
    if (refused !== '' && ask) return undefined;
    const found = this.rig.lookup(door, 'f', caller);
    return found.error === undefined ? nodeOf(found) : undefined;
  }

  #unlockWaiting(): void {
    for (const entry of [...this.#waiting]) {
      if (this.#closing !== undefined && this.#now < entry.until) continue;
      this.#waiting.splice(this.#waiting.indexOf(entry), 1);
      if (this.#closing === undefined) this.#expectUnlocked(entry);
      else this.#mark('unlock gave up waiting');
    }
  }
  /** What an unlock does to the model; false: it is refused. */
  #expectUnlocked({ command, kind, ro, expected }: Asked): boolean {
    if (this.#terms !== undefined && (this.#terms.kind !== kind || this.#terms.ro !== ro)) return false;
    if (this.#terms === undefined) {
      this.#terms = { kind, ro };
      this.#generation++;
      this.#usedAt = this.#now;
    }
    const length = expected.deadline - expected.createdAt;
    this.#leases.set(command.lease, {
      ...expected,
      unlockedAt: this.#now,
      createdAt: this.#now,
      deadline: this.#now + length,
    });
    return true;
  }

  #mark(event: string, before = this.#state): void {
    const key = `${before} -- ${event}`;
    this.#transitions.set(key, (this.#transitions.get(key) ?? 0) + 1);
  }

  #unlock(one: Extract<Step, { op: 'unlock' }>): void {
    const { kind, ro, ttl, held, idle, client } = one;
    const secret = secretOf(Buffer.alloc(32, FILL));
    const fd = held ? this.#nextFd++ : undefined;
    const command: UnlockCommand = {
      op: 'unlock',
      scope: this.#scope,
      lease: freshId<LeaseId>(),
      terms: {
        purpose: '',
        holder: { uid: 0, pid: 1, command: undefined, unit: undefined },
        bound: held ? ['connection'] : [],
        ttl,
        maxTtl: undefined,
        idle: idle ? IDLE_MS : undefined,
        until: undefined,
        visibility: parseVisibility(kind),
        readOnly: ro,
        budget: undefined,
      },
      pid: undefined,
      connection: fd,
      oldest: 1,
      secrets: [secret.address],
      stored: { epoch: 1, list: 1 },
    };
    const deadline = this.#now + (ttl ?? Number.POSITIVE_INFINITY);
    const expected: Expected = { client, fd, unlockedAt: this.#now, createdAt: this.#now, deadline, idle };
    const before = this.#state;
    let unlocked: Unlocked | undefined;
    this.#unlocks.ask(command, (answer) => {
      unlocked = answer;
      secret.wipe();
    });
    if (this.#closing !== undefined) {
      if (unlocked !== undefined) this.#fail('an unlock did not wait for a lock');
      this.#waiting.push({ command, kind, ro, expected, until: this.#now + 10_000 });
      this.#mark('unlock waits', before);
      return;
    }
    const right = this.#expectUnlocked({ command, kind, ro, expected });
    if (unlocked?.ok !== right)
      this.#fail(`an unlock of ${before} for ${kind}${ro ? ', read-only' : ''}: ${JSON.stringify(unlocked)}`);
    this.#mark(right ? 'unlock' : 'unlock of another kind', before);
  }

  #nth(n: number): [LeaseId, Expected] | undefined {
    const all = [...this.#leases];
    return all.length === 0 ? undefined : all[n % all.length];
  }

  #end(id: LeaseId, event: string): void {
    const before = this.#state;
    const wasLast = this.#leases.size === 1;
    if (this.#open && wasLast) this.#close(this.#now + LOCK_LIMIT_MS);
    else if (!wasLast) this.#drop(id);
    this.#mark(`${event}${wasLast ? ' of the last' : ''}`, before);
  }

  run(one: Step): void {
    const { core, cache } = this.rig;
    switch (one.op) {
      case 'unlock':
        this.#unlock(one);
        break;
      case 'revoke': {
        const chosen = this.#nth(one.nth);
        if (chosen === undefined) break;
        this.#end(chosen[0], 'revoke');
        this.leaseClock.end(chosen[0], 'revoked', () => {});
        break;
      }
      case 'hangup': {
        const chosen = [...this.#leases].find(
          ([, lease]) => lease.fd !== undefined && lease.client === one.nth % 3,
        );
        if (chosen === undefined) break;
        this.#end(chosen[0], 'hangup');
        this.#gone.add(chosen[1].fd as number);
        this.leaseClock.collect();
        break;
      }
      case 'renew': {
        const chosen = this.#nth(one.nth);
        if (chosen === undefined) break;
        const changed = this.leaseClock.change(chosen[0], one.ttl);
        if ((changed !== undefined) !== this.#open)
          this.#fail('a renewal that should not be, or was refused');
        if (changed !== undefined)
          Object.assign(chosen[1], { createdAt: this.#now, deadline: this.#now + one.ttl });
        this.#mark('renew');
        break;
      }
      case 'lock':
      case 'panic': {
        const before = this.#state;
        const deadline = this.#now + (one.op === 'panic' ? 0 : LOCK_LIMIT_MS);
        if (this.#open) this.#close(deadline);
        else if (this.#closing !== undefined) this.#closing = Math.min(this.#closing, deadline);
        core.locks.lock([this.#scope], 'test', deadline, () => {});
        if (one.op === 'panic') core.locks.tick(this.#now);
        this.#mark(one.op, before);
        break;
      }
      case 'stall':
        cache.hold = true;
        break;
      case 'release':
        cache.hold = false;
        while (cache.answer());
        if (this.#closing !== undefined) {
          this.#mark('the kernel answers');
          this.#closing = undefined;
          this.#closed();
        }
        break;
      case 'pass':
      case 'suspend':
        this.#mark(one.op);
        this.#pass(this.#now + one.ms, one.op === 'suspend');
        break;
      default:
        this.#access(one);
    }
    this.#settle();
    this.#pass(this.#now, false);
    this.check();
  }

  #access(
    one: Extract<
      Step,
      { op: 'read' | 'write' | 'rename' | 'stat' | 'keep' | 'sneak' | 'readKept' | 'closeKept' }
    >,
  ): void {
    const { core } = this.rig;
    if (one.op === 'readKept' || one.op === 'closeKept') {
      const kept = this.#kept[one.nth % Math.max(1, this.#kept.length)];
      if (kept === undefined) return;
      if (one.op === 'closeKept') {
        this.#kept.splice(this.#kept.indexOf(kept), 1);
        this.rig.release(kept.handle);
        if (kept.generation === this.#generation) this.#usedAt = this.#now;
        return;
      }
      const error = this.#errorOf((reply) =>
        core.files.read(kept.node, kept.handle, 0, 7, this.#caller(0), reply),
      );
      const right = this.#open && kept.generation === this.#generation;
      if ((error === '') !== right)
        this.#fail(`a kept handle reads: ${error === '' ? 'yes' : error}, in ${this.#state}`);
      this.#mark(right ? 'read by a kept handle' : 'read by a dead handle');
      return;
    }
    const { uid } = one as { uid: number };
    const caller = this.#caller(uid);
    const may = this.#open && (this.#terms?.kind === 'any' || this.#terms?.kind === `uid:${uid}`);
    const writes = one.op === 'write' || one.op === 'rename';
    const right = may && !(writes && this.#terms?.ro === true);
    let error = 'refused';
    const door = this.#door();
    if (one.op === 'stat') {
      // A locked scope's root may be looked at; a restricted one's by those who may see it.
      error = this.#errorOf((reply) => core.files.attributes.getattr(door, false, caller, reply));
      const shown =
        this.#terms === undefined || this.#terms.kind === 'any' || this.#terms.kind === `uid:${uid}`;
      const keeps = this.#closing === undefined || this.#now < this.#closing;
      if (keeps && (error === '') !== shown)
        this.#fail(`a look at the door by ${uid}: ${error}, in ${this.#state}`);
      return;
    }
    const node = this.#walk(caller, one.op !== 'sneak');
    if (node !== undefined && one.op === 'rename') {
      const name = `g${this.#files++}`;
      const wanted = { mode: 0o644, umask: 0 };
      const [made] = this.rig.start((reply) => core.files.create(door, name, wanted, caller, reply)).answers;
      error = made?.error ?? '';
      if (made?.error === undefined) {
        this.rig.release((made as { handle: number }).handle);
        error = this.#errorOf((reply) =>
          core.renaming.rename(
            { parent: door, name, newParent: door, newName: `${name}x`, flags: 0 },
            caller,
            reply,
          ),
        );
      }
    } else if (node !== undefined) {
      const request = { write: writes, truncate: false, killPrivileges: false };
      const [answer] = this.rig.start((reply) => core.files.open(node, request, caller, reply)).answers;
      error = answer?.error ?? '';
      if (answer?.error === undefined) {
        const handle = (answer as { handle: number }).handle;
        if (one.op === 'keep') this.#kept.push({ node, handle, generation: this.#generation });
        else this.rig.release(handle);
      }
    }
    if ((error === '') !== right)
      this.#fail(`${one.op} by ${uid}: ${error === '' ? 'yes' : error}, in ${this.#state}`);
    if (right) this.#usedAt = this.#now;
    this.#mark(`${one.op}${right ? '' : ' refused'}`);
  }

  check(): void {
    const scope = this.rig.core.scope(this.#scope);
    const leases = this.leaseClock.leases.count(this.#scope);
    if (scope?.isOpen !== this.#open)
      this.#fail(`the scope is ${scope?.state}, and should be: ${this.#state}`);
    if (this.#open && leases !== this.#leases.size)
      this.#fail(`${leases} leases, and should be ${this.#leases.size}`);
    // Idle ones end when somebody looks; what is overdue is wrong.
    const overdue = (one: Expected): boolean =>
      one.idle &&
      !this.#keeping &&
      this.#now - Math.max(this.#usedAt, one.unlockedAt) > IDLE_MS + 2 * IDLE_LATE_MS;
    if (this.#open && [...this.#leases.values()].some(overdue)) this.#fail('an idle lease did not end');
    if (scope?.state === 'locked' && leases !== 0) this.#fail('a locked scope has a lease');
    if (this.#closing !== undefined && this.#now >= this.#closing && scope?.state !== 'locked')
      this.#fail('a deadline passed, and keys are there still');
  }
  end(): void {
    this.rig.cache.hold = false;
    while (this.rig.cache.answer());
    this.#pass(this.#now + 20_000, false);
    this.rig.close();
  }
}

/** Runs sequences of 30 and more steps. `failure`: the shortest that went wrong, and how. */
export function runLeaseModel(
  runs: number,
  options: { seed?: number; planted?: Planted } = {},
): { failure: string | undefined; transitions: Map<string, number>; steps: number } {
  const transitions = new Map<string, number>();
  let steps = 0;
  const result = fc.check(
    fc.property(fc.array(step, { minLength: 30, maxLength: 60, size: 'max' }), (sequence) => {
      const run = new Sequence(transitions, options.planted);
      try {
        for (const one of sequence) {
          steps++;
          run.run(one);
        }
      } finally {
        run.end();
      }
    }),
    {
      numRuns: runs,
      endOnFailure: options.planted !== undefined,
      ...(options.seed === undefined ? {} : { seed: options.seed }),
    },
  );
  const failure = result.failed
    ? `seed ${result.seed}, ${String((result.errorInstance as Error | undefined)?.message)}: ${JSON.stringify(result.counterexample?.[0])}`
    : undefined;
  return { failure, transitions, steps };
}
