import fc from 'fast-check';
import { freshId, type LeaseId, type ScopeId } from '../../base/ids.js';
import type { Caller, Reply } from '../../filesystem/contract.js';
import { MemoryDisk } from '../../filesystem/disk/test-memory-disk.js';
import { ROOT_NODE } from '../../filesystem/inodes/inode-table.js';
import { memory, nodeOf, Rig, secretOf } from '../../filesystem/test/test-rig.js';
import { anything } from '../../keyring/leases/test-callers.js';
import { parseVisibility } from '../../keyring/leases/visibility.js';
import type { Unlocked } from '../messages.js';
import { Drains } from './drains.js';
import { KeyMemory } from './key-memory.js';
import { LeaseClock, LOCK_LIMIT_MS, type Watch } from './lease-clock.js';
import { type Asked, type Expected, IDLE_MS, LeaseModel } from './test-lease-model.js';
import { type Step, step } from './test-lease-steps.js';
import { type UnlockCommand, UnlockQueue } from './unlock-queue.js';

/**
 * Leases, locks and doors against a model: three clients unlock, renew, revoke, lose their connection, lock, panic, read,
 * write and rename while time passes, sometimes in a jump, and while the kernel's cache sometimes does not answer. Test
 * support of lease-model.test.ts and native-tests/leases/model.long.ts.
 */

/** Bugs that the model must find. */
export type Planted = 'outlives its holder' | 'door open after a refusal' | 'deadline waits for a flush';

const FILL = 9;

/** A core with one scope, and what is done to it, beside the model. */
class Sequence {
  readonly rig: Rig;
  readonly leaseClock: LeaseClock;
  readonly #drains: Drains;
  readonly #unlocks: UnlockQueue;
  readonly #scope: ScopeId;
  readonly #transitions: Map<string, number>;
  readonly #model = new LeaseModel();
  readonly #gone = new Set<number>();
  #nextFd = 1_000;
  readonly #waiting: (Asked & { lease: LeaseId; until: number })[] = [];
  #files = 0;

  constructor(transitions: Map<string, number>, planted: Planted | undefined) {
    this.#transitions = transitions;
    this.rig = new Rig(new MemoryDisk(), { now: () => this.#model.now });
    const { core } = this.rig;
    const clock = { boottime: () => this.#model.now, wall: () => 1e12 + this.#model.now };
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
        if (message.kind === 'leaseEnded') this.#model.ended(message.lease.id, message.reason);
      },
      clock,
      watch,
    );
    this.rig.onWiped = (scope) => this.leaseClock.locked(scope);
    this.#drains = new Drains(core, clock);
    this.#unlocks = new UnlockQueue(core, this.leaseClock, this.#drains, clock, new KeyMemory(memory));
    this.#scope = this.rig.createScope('s', FILL);
    const node = this.#door();
    this.rig.put(node, 'f', 'content');
    this.rig.lock(this.#scope);
    this.#model.generation = 1;
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
  #tick(): void {
    this.rig.core.locks.tick(this.#model.now);
    this.leaseClock.tick(this.#model.now);
    this.#unlocks.tick(this.#model.now);
  }
  /** Ends that the system told of: an idle last lease closes the scope. */
  #follow(): void {
    const scope = this.rig.core.scope(this.#scope);
    // Idle leases end when they are looked at, in the system's time: perhaps together with one whose time was over.
    if (this.#model.open && this.#model.idles && scope?.isOpen === false)
      this.#model.close(scope.state === 'locked' ? this.#model.now : this.#model.now + LOCK_LIMIT_MS);
    if (this.#model.open && this.#model.leases.size === 0) this.#fail('the scope is open without a lease');
  }

  #pass(until: number, jump: boolean): void {
    for (;;) {
      const { locks } = this.rig.core;
      const next = jump ? until : Math.min(locks.due, this.leaseClock.due, this.#unlocks.due, until);
      this.#model.now = Math.max(this.#model.now, next);
      this.#model.settle();
      this.#tick();
      this.#follow();
      this.#unlockWaiting();
      if (this.#model.now >= until) return;
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
    const refused = this.#errorOf((reply) => core.attributes.getattr(door, false, caller, reply));
    if (refused !== '' && ask) return undefined;
    const found = this.rig.lookup(door, 'f', caller);
    return found.error === undefined ? nodeOf(found) : undefined;
  }

  #unlockWaiting(): void {
    for (const entry of [...this.#waiting]) {
      if (this.#model.closing !== undefined && this.#model.now < entry.until) continue;
      this.#waiting.splice(this.#waiting.indexOf(entry), 1);
      if (this.#model.closing === undefined) this.#model.unlock(entry.lease, entry);
      else this.#mark('unlock gave up waiting');
    }
  }
  #mark(event: string, before = this.#model.state): void {
    const key = `${before} -- ${event}`;
    this.#transitions.set(key, (this.#transitions.get(key) ?? 0) + 1);
  }

  #unlock(one: Extract<Step, { op: 'unlock' }>): void {
    const { kind, ro, ttl, held, idle, client } = one;
    const secret = secretOf(Buffer.alloc(32, FILL));
    const fd = held ? this.#nextFd++ : undefined;
    const lease = freshId<LeaseId>();
    const command: UnlockCommand = {
      op: 'unlock',
      scope: this.#scope,
      lease,
      terms: {
        purpose: '',
        holder: { uid: 0, pid: 1, command: undefined, unit: undefined },
        bound: held ? ['connection'] : [],
        ttl,
        maxTtl: undefined,
        idle: idle ? IDLE_MS : undefined,
        until: undefined,
        visibility: parseVisibility(kind, anything),
        readOnly: ro,
        budget: undefined,
      },
      pid: undefined,
      connection: fd,
      oldest: 1,
      secrets: [secret.address],
      stored: { epoch: 1, list: 1 },
      since: 0,
      wait: undefined,
    };
    const deadline = this.#model.now + (ttl ?? Number.POSITIVE_INFINITY);
    const expected: Expected = {
      client,
      fd,
      unlockedAt: this.#model.now,
      createdAt: this.#model.now,
      deadline,
      idle,
    };
    const before = this.#model.state;
    let unlocked: Unlocked | undefined;
    this.#unlocks.ask(command, (answer) => {
      unlocked = answer;
      secret.wipe();
    });
    if (this.#model.closing !== undefined) {
      if (unlocked !== undefined) this.#fail('an unlock did not wait for a lock');
      this.#waiting.push({ lease, kind, ro, expected, until: this.#model.now + 10_000 });
      this.#mark('unlock waits', before);
      return;
    }
    const right = this.#model.unlock(lease, { kind, ro, expected });
    if (unlocked?.ok !== right)
      this.#fail(`an unlock of ${before} for ${kind}${ro ? ', read-only' : ''}: ${JSON.stringify(unlocked)}`);
    this.#mark(right ? 'unlock' : 'unlock of another kind', before);
  }

  #nth(n: number): [LeaseId, Expected] | undefined {
    const all = [...this.#model.leases];
    return all.length === 0 ? undefined : all[n % all.length];
  }

  #end(id: LeaseId, event: string): void {
    const before = this.#model.state;
    const wasLast = this.#model.leases.size === 1;
    if (this.#model.open && wasLast) this.#model.close(this.#model.now + LOCK_LIMIT_MS);
    else if (!wasLast) this.#model.drop(id);
    this.#mark(`${event}${wasLast ? ' of the last' : ''}`, before);
  }

  #stall(hold: boolean): void {
    this.rig.cache.hold = hold;
    this.#model.stalled = hold;
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
        const chosen = [...this.#model.leases].find(
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
        if ((changed !== undefined) !== this.#model.open)
          this.#fail('a renewal that should not be, or was refused');
        if (changed !== undefined)
          Object.assign(chosen[1], { createdAt: this.#model.now, deadline: this.#model.now + one.ttl });
        this.#mark('renew');
        break;
      }
      case 'lock':
      case 'panic': {
        const before = this.#model.state;
        const deadline = this.#model.now + (one.op === 'panic' ? 0 : LOCK_LIMIT_MS);
        if (this.#model.open) this.#model.close(deadline);
        else if (this.#model.closing !== undefined)
          this.#model.closing = Math.min(this.#model.closing, deadline);
        core.locks.lock([this.#scope], 'test', deadline, () => {});
        if (one.op === 'panic') core.locks.tick(this.#model.now);
        this.#mark(one.op, before);
        break;
      }
      case 'stall':
        this.#stall(true);
        break;
      case 'release':
        this.#stall(false);
        while (cache.answer());
        if (this.#model.closing !== undefined) {
          this.#mark('the kernel answers');
          this.#model.closed();
        }
        break;
      case 'pass':
      case 'suspend':
        this.#mark(one.op);
        this.#pass(this.#model.now + one.ms, one.op === 'suspend');
        break;
      default:
        this.#access(one);
    }
    this.#model.settle();
    this.#pass(this.#model.now, false);
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
      const kept = this.#model.kept[one.nth % Math.max(1, this.#model.kept.length)];
      if (kept === undefined) return;
      if (one.op === 'closeKept') {
        this.#model.kept.splice(this.#model.kept.indexOf(kept), 1);
        this.rig.release(kept.handle);
        if (kept.generation === this.#model.generation) this.#model.usedAt = this.#model.now;
        return;
      }
      const error = this.#errorOf((reply) =>
        core.files.read(kept.node, kept.handle, { offset: 0, length: 7 }, this.#caller(0), reply),
      );
      const right = this.#model.open && kept.generation === this.#model.generation;
      if ((error === '') !== right)
        this.#fail(`a kept handle reads: ${error === '' ? 'yes' : error}, in ${this.#model.state}`);
      this.#mark(right ? 'read by a kept handle' : 'read by a dead handle');
      return;
    }
    const { uid } = one as { uid: number };
    const caller = this.#caller(uid);
    const may = this.#model.open && this.#model.admits(uid);
    const writes = one.op === 'write' || one.op === 'rename';
    const right = may && !(writes && this.#model.terms?.ro === true);
    let error = 'refused';
    const door = this.#door();
    if (one.op === 'stat') {
      // A locked scope's root may be looked at; a restricted one's by those who may see it.
      error = this.#errorOf((reply) => core.attributes.getattr(door, false, caller, reply));
      const shown = this.#model.terms === undefined || this.#model.admits(uid);
      const keeps = this.#model.closing === undefined || this.#model.now < this.#model.closing;
      if (keeps && (error === '') !== shown)
        this.#fail(`a look at the door by ${uid}: ${error}, in ${this.#model.state}`);
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
          core.rename.rename(
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
        if (one.op === 'keep') this.#model.kept.push({ node, handle, generation: this.#model.generation });
        else this.rig.release(handle);
      }
    }
    if ((error === '') !== right)
      this.#fail(`${one.op} by ${uid}: ${error === '' ? 'yes' : error}, in ${this.#model.state}`);
    if (right) this.#model.usedAt = this.#model.now;
    this.#mark(`${one.op}${right ? '' : ' refused'}`);
  }

  check(): void {
    const scope = this.rig.core.scope(this.#scope);
    const leases = this.leaseClock.leases.count(this.#scope);
    if (scope?.isOpen !== this.#model.open)
      this.#fail(`the scope is ${scope?.state}, and should be: ${this.#model.state}`);
    if (this.#model.open && leases !== this.#model.leases.size)
      this.#fail(`${leases} leases, and should be ${this.#model.leases.size}`);
    // Idle leases end when they are looked at; what is overdue is wrong.
    if (this.#model.open && this.#model.overdue) this.#fail('an idle lease did not end');
    if (scope?.state === 'locked' && leases !== 0) this.#fail('a locked scope has a lease');
    if (
      this.#model.closing !== undefined &&
      this.#model.now >= this.#model.closing &&
      scope?.state !== 'locked'
    )
      this.#fail('a deadline passed, and keys are there still');
  }
  end(): void {
    this.#stall(false);
    while (this.rig.cache.answer());
    this.#pass(this.#model.now + 20_000, false);
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
