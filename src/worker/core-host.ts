import { errno } from '../base/errno.js';
import { suites } from '../crypto/suites.js';
import type { CachePort } from '../filesystem/contract.js';
import { Core } from '../filesystem/core.js';
import type { Executor } from '../filesystem/disk/backing.js';
import { LibcBacking } from '../filesystem/disk/libc-backing.js';
import { InodeTable } from '../filesystem/inodes/inode-table.js';
import { open, openPath } from '../libc/files.js';
import { Hangups } from '../libc/hangups.js';
import { SecretMemory, sparseArrayBuffer } from '../libc/memory.js';
import { descriptorLimit, systemClock } from '../libc/system.js';
import { Drains } from './leases/drains.js';
import { KeyMemory } from './leases/key-memory.js';
import { LeaseClock, LOCK_LIMIT_MS } from './leases/lease-clock.js';
import { UnlockQueue } from './leases/unlock-queue.js';
import type { CommandMessage, CoreData, Results, WorkerMessage } from './messages.js';

/** Callers of the control socket, the store and processes for keys need descriptors too: else nobody could lock any more. */
const RESERVED_DESCRIPTORS = 2_048;
const descriptorsForFiles = (): number => {
  const limit = descriptorLimit();
  return limit - Math.min(RESERVED_DESCRIPTORS, Math.floor(limit / 4));
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

/** The core on its thread, the commands that it takes, and the deadlines that it keeps. */
export class CoreHost<E extends Executor> {
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
        writeback: data.writeback,
        session: Buffer.from(data.session),
        uncleanSessions: new Set(data.uncleanSessions),
      },
      data.scopes,
      {
        moved: (scope, path) => tell({ kind: 'moved', scope, path }),
        expired: (receipts) => tell({ kind: 'expired', receipts }),
        recovered: (scope, path, before, after) => tell({ kind: 'recovered', scope, path, before, after }),
        writeBackFailed: (scope, path, error) => tell({ kind: 'writeBackFailed', scope, path, error }),
        wiped: (scope) => {
          around.wiped();
          this.#tellBehind();
          const ended = this.leaseClock.locked(scope);
          this.#drains.locked(scope);
          return ended;
        },
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
    const { core } = this;
    const { tell } = this.#around;
    const answer = (result: Results[keyof Results]): void =>
      tell({ kind: 'answer', id: command.id, answer: result });
    switch (command.op) {
      case 'unlock':
        this.#unlocks.ask(command, (unlocked) => answer({ unlocked }));
        return;
      case 'changeLease':
        answer({ lease: this.leaseClock.change(command.lease, command.ttl) });
        return;
      case 'endLease':
        this.leaseClock.end(command.lease, command.reason, (receipts) => answer({ receipts }));
        return;
      case 'labels':
        for (const { id, path } of command.labels) core.label(id, path);
        answer({});
        return;
      case 'leases':
        answer({
          leases:
            command.lease === undefined
              ? this.leaseClock.leases.all()
              : [this.leaseClock.leases.get(command.lease)].filter((lease) => lease !== undefined),
        });
        return;
      case 'advance': {
        const { scope, epoch, secret } = command;
        if (this.#keys.hasRoom(1)) {
          answer({ advanced: core.access.advance(scope, epoch, this.#keys.adopt(secret)) });
          return;
        }
        // Nothing more may be written under the epoch before.
        const deadline = systemClock.boottime() + LOCK_LIMIT_MS;
        core.locks.lock([scope], 'no memory for the keys of a new epoch', deadline, (receipts) => {
          tell({ kind: 'expired', receipts });
          answer({ advanced: false });
        });
        return;
      }
      case 'lend':
        answer({ epoch: core.access.lendEpochSecret(command.scope, command.to, command.epoch) });
        return;
      case 'slotCopy':
        answer({ result: core.access.writeSlotCopy(command.scope, Buffer.from(command.bytes)) });
        return;
      case 'create':
        if (!this.#keys.hasRoom(1)) {
          answer({ result: { ok: false, errno: errno.ENFILE } });
          return;
        }
        core.creation.create(
          command.names,
          command.scope,
          command.epoch,
          this.#keys.adopt(command.secret),
          command.owner,
          (result, parent, path) => {
            const scope = core.scope(command.scope);
            // All may have been locked meanwhile.
            if (result.ok && scope?.isOpen === true) this.leaseClock.add(command.lease, scope, command.terms);
            answer({
              result,
              ...(parent === undefined ? {} : { parent }),
              ...(path === undefined ? {} : { path }),
            });
          },
        );
        return;
      case 'removeScope':
        core.scopeRemoval.remove(command.scope, (result, aside) =>
          answer({ result, ...(aside === undefined ? {} : { aside }) }),
        );
        return;
      case 'drain':
        this.#drains.start(command.scopes, command.wait, (drained, left) => answer({ drained, left }));
        return;
      case 'lock': {
        const { scopes, reason, limit } = command;
        const deadline = systemClock.boottime() + limit;
        core.locks.lock(scopes, reason, deadline, (receipts) => answer({ receipts }));
        // Panic: not even what is quick is waited for.
        if (limit === 0) core.locks.tick(deadline);
        return;
      }
      case 'line':
        this.#around.addLine(command.memory);
        answer({});
        return;
      case 'status':
        answer({
          scopes: (command.scope === undefined
            ? core.volume.scopes.filter(({ gone }) => !gone)
            : [core.scope(command.scope)].filter((scope) => scope !== undefined)
          ).map((scope) => ({
            id: scope.id,
            state: core.locks.stateOf(scope),
            generation: scope.generation,
            openHandles: scope.handles,
            ...this.leaseClock.statusOf(scope.id),
          })),
          inodes: core.volume.table.used,
          ...this.#around.statistics(),
          secretMemory: this.#memory.backing,
        });
    }
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
