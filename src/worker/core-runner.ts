import { errno } from '../base/errno.js';
import type { ScopeId } from '../base/ids.js';
import { suites } from '../crypto/suites.js';
import type { CachePort } from '../filesystem/contract.js';
import { Core } from '../filesystem/core.js';
import type { Executor } from '../filesystem/disk/backing.js';
import { LibcBacking } from '../filesystem/disk/libc-backing.js';
import { InodeTable } from '../filesystem/inodes/inode-table.js';
import type { Scope } from '../filesystem/inodes/scope.js';
import { open, openPath } from '../libc/files.js';
import { Hangups } from '../libc/hangups.js';
import { SecretMemory, sparseArrayBuffer } from '../libc/memory.js';
import { descriptorLimit, systemClock } from '../libc/system.js';
import { Drains } from './leases/drains.js';
import { KeyMemory } from './leases/key-memory.js';
import { LeaseClock, LOCK_LIMIT_MS } from './leases/lease-clock.js';
import { UnlockQueue } from './leases/unlock-queue.js';
import type { Command, CommandMessage, CoreData, Results, WorkerMessage } from './messages.js';

/** Callers of the control socket, the store and processes for keys need descriptors too: else nobody could lock any more. */
const RESERVED_DESCRIPTORS = 2_048;
const descriptorsForFiles = (): number => {
  const limit = descriptorLimit();
  return limit - Math.min(RESERVED_DESCRIPTORS, Math.floor(limit / 4));
};

type CommandTable = {
  readonly [Op in Command['op']]: (
    command: Extract<Command, { op: Op }>,
    answer: (result: Results[Op]) => void,
  ) => void;
};

const INODES = InodeTable.maximum;
/** What a transport gives the core. */
export interface Surroundings<E extends Executor> {
  readonly cache: CachePort;
  executor(backing: LibcBacking): E;
  tell(message: WorkerMessage): void;
  /** A scope was wiped: so must be what buffers hold of it. */
  wiped(): void;
  statistics(): Pick<Results['status'], 'requests' | 'longest'>;
  /** One more I/O worker takes jobs. */
  addLine(memory: SharedArrayBuffer): void;
}

/** Runs the core on its thread: the commands that it takes, and the deadlines that it keeps. */
export class CoreRunner<E extends Executor> {
  readonly core: Core;
  readonly executor: E;
  readonly leaseClock: LeaseClock;
  readonly #drains: Drains;
  readonly #unlocks: UnlockQueue;
  readonly #around: Surroundings<E>;
  // Three AEAD keys, names, binding and epoch secret a scope, one key an open file: 64 bytes each.
  // Files leave some, so that their number keeps nobody from unlocking another scope.
  readonly #memory = new SecretMemory(65_536, 8_192);
  readonly #keys = new KeyMemory(this.#memory);

  constructor(data: CoreData, around: Surroundings<E>) {
    this.#around = around;
    const backing = new LibcBacking(
      openPath(data.tree, open.O_RDONLY | open.O_DIRECTORY),
      descriptorsForFiles(),
      data.readOnly,
    );
    this.executor = around.executor(backing);
    const { tell } = around;
    this.core = new Core(
      {
        backing,
        executor: this.executor,
        suite: suites[data.suite].make(this.#memory),
        memory: this.#memory,
        clock: systemClock,
        cache: around.cache,
        chunkSize: data.chunkSize,
        table: sparseArrayBuffer(InodeTable.bytesFor(INODES)),
        capacity: INODES,
        unclean: data.unclean,
        readOnly: data.readOnly,
        writeback: data.writeback,
        session: Buffer.from(data.session),
        uncleanSessions: new Set(data.uncleanSessions),
        tell,
      },
      data.scopes,
      (scope) => {
        around.wiped();
        this.#tellBehind();
        const ended = this.leaseClock.locked(scope);
        this.#drains.locked(scope);
        return ended;
      },
    );
    this.leaseClock = new LeaseClock(this.core, tell, systemClock, new Hangups());
    this.#drains = new Drains(this.core, systemClock);
    this.#unlocks = new UnlockQueue(this.core, this.leaseClock, this.#drains, systemClock, this.#keys);
  }

  #tellBehind(): void {
    this.#around.tell({ kind: 'behind', behind: this.core.volume.leftBehind.size > 0 });
  }

  /** When {@link tick} has something to do (CLOCK_BOOTTIME, ms). */
  get due(): number {
    return Math.min(this.core.locks.due, this.leaseClock.due, this.#drains.due, this.#unlocks.due);
  }
  tick(now: number): void {
    this.core.locks.tick(now);
    this.leaseClock.tick(now);
    this.#drains.tick(now);
    this.#unlocks.tick(now);
  }

  perform(command: CommandMessage): void {
    const handler = this.#commands[command.op] as (
      command: Command,
      answer: (result: Results[keyof Results]) => void,
    ) => void;
    handler(command, (answer) => this.#around.tell({ kind: 'answer', id: command.id, answer }));
  }

  /** A command without a row does not compile. */
  readonly #commands: CommandTable = {
    unlock: (command, answer) => this.#unlocks.ask(command, (unlocked) => answer({ unlocked })),
    changeLease: ({ lease, ttl }, answer) => answer({ lease: this.leaseClock.change(lease, ttl) }),
    endLease: ({ lease, reason }, answer) =>
      this.leaseClock.end(lease, reason, (receipts) => answer({ receipts })),
    labels: ({ labels }, answer) => {
      for (const { id, path } of labels) this.core.label(id, path);
      answer({});
    },
    leases: ({ lease }, answer) => {
      const { leases } = this.leaseClock;
      const found = lease === undefined ? leases.all() : [leases.get(lease)];
      answer({ leases: found.filter((one) => one !== undefined) });
    },
    advance: ({ scope, epoch, secret }, answer) => {
      if (this.#keys.hasRoom(1)) {
        answer({ advanced: this.core.scopeAccess.advance(scope, epoch, this.#keys.adopt(secret)) });
        return;
      }
      // Nothing more may be written under the epoch before.
      const deadline = systemClock.boottime() + LOCK_LIMIT_MS;
      this.core.locks.lock([scope], 'no memory for the keys of a new epoch', deadline, (receipts) => {
        this.#around.tell({ kind: 'expired', receipts });
        answer({ advanced: false });
      });
    },
    lend: ({ scope, to, epoch }, answer) =>
      answer({ epoch: this.core.scopeAccess.lendEpochSecret(scope, to, epoch) }),
    slotCopy: ({ scope, bytes }, answer) =>
      answer({ result: this.core.scopeAccess.writeSlotCopy(scope, Buffer.from(bytes)) }),
    create: (command, answer) => {
      if (!this.#keys.hasRoom(1)) {
        answer({ result: { ok: false, errno: errno.ENFILE } });
        return;
      }
      const { scope: id, names, epoch, owner, lease, terms, pid } = command;
      const unbound = this.leaseClock.bind(lease, terms, pid, undefined);
      if (unbound !== undefined) {
        answer({ result: { ok: false, errno: 'gone' in unbound ? errno.ESRCH : unbound.errno } });
        return;
      }
      const secret = this.#keys.adopt(command.secret);
      this.core.scopeCreation.create(
        { id, names, epoch, secret, owner, terms: this.leaseClock.termsOf(terms) },
        (result, place) => {
          const scope = this.core.scope(id);
          // A lock of everything may have been faster.
          if (result.ok && scope?.isOpen === true) this.leaseClock.add(lease, scope, terms);
          else this.leaseClock.unbind(lease);
          answer({ result, ...place });
        },
      );
    },
    removeScope: ({ scope }, answer) =>
      this.core.scopeRemoval.remove(scope, (result, aside) =>
        answer({ result, ...(aside === undefined ? {} : { aside }) }),
      ),
    drain: ({ scopes, wait, order }, answer) =>
      this.#drains.start(scopes, wait, order, (drained, left) => answer({ drained, left })),
    lock: ({ scopes, reason, limit, idle, order }, answer) => {
      this.#drains.finish(order);
      if (idle && this.#drains.busy(scopes)) {
        answer({ receipts: [], busy: true });
        return;
      }
      this.#unlocks.lockAsked(scopes, order);
      const deadline = systemClock.boottime() + limit;
      this.core.locks.lock(scopes, reason, deadline, (receipts) => answer({ receipts, busy: false }));
      // Panic: not even what is quick is waited for.
      if (limit === 0) this.core.locks.tick(deadline);
    },
    line: ({ memory }, answer) => {
      this.#around.addLine(memory);
      answer({});
    },
    status: ({ scope }, answer) => answer(this.#status(scope)),
  };

  /** Of one scope, or of all. */
  #status(id: ScopeId | undefined): Results['status'] {
    const { core } = this;
    const asked = id === undefined ? core.volume.scopes : [core.scope(id)];
    const scopes = asked.filter((scope) => scope !== undefined && !scope.gone) as Scope[];
    return {
      scopes: scopes.map((scope) => ({
        id: scope.id,
        state: core.locks.stateOf(scope),
        generation: scope.generation,
        openHandles: scope.handles,
        ...this.leaseClock.statusOf(scope.id),
      })),
      inodes: core.volume.table.used,
      ...this.#around.statistics(),
      secretMemory: this.#memory.backing,
    };
  }

  /** Unmounted, nobody can reach a file any more: writes back what is open and wipes every key. */
  end(done: () => void): void {
    const all = this.core.volume.scopes.map((scope) => scope.id);
    this.core.locks.lock(all, 'unmounted', Number.POSITIVE_INFINITY, (receipts) => {
      this.#around.tell({ kind: 'expired', receipts });
      this.#tellBehind();
      done();
    });
  }
}
