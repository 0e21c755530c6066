import { errno, errnoName } from '../../base/errno.js';
import type { ScopeId } from '../../base/ids.js';
import { repeat } from '../../base/repeat.js';
import { flushHeader } from '../content/file-flush.js';
import { WHOLE } from '../content/file-queue.js';
import type { OpenFiles } from '../content/open-files.js';
import { Operation } from '../content/operation.js';
import type { CachedName, NodeId } from '../contract.js';
import type { LockReceipt } from '../events.js';
import type { Handles } from '../handles/handles.js';
import { flag, NO_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Scope } from '../inodes/scope.js';
import type { Volume } from '../inodes/volume.js';

/** A file's chunks may be written again while others are checked: look so often before the wipe. */
const CHECKPOINTS = 3;

/** What locks work on. */
export interface LockParts {
  readonly volume: Volume;
  readonly handles: Handles;
  readonly files: OpenFiles;
  /**
   * A scope's keys are gone: buffers outside the core that held plaintext must go too, and so must its leases. How many
   * these were.
   */
  readonly wiped: (scope: ScopeId) => number;
}

type Phase = 'waiting' | 'drain' | 'flush' | 'invalidate' | 'checkpoint' | 'wiped' | 'done';

/**
 * One scope on its way from open to locked, in the order that loses no data (DESIGN.md, "Lock protocol"): drain,
 * flush, invalidate, checkpoint, wipe, invalidate again. While it runs the scope is `locking`. `expire` may be
 * called at any moment (a deadline): then the rest is skipped and what was not written is named.
 */
export class LockRun {
  readonly scope: Scope;
  readonly #volume: Volume;
  readonly #handles: Handles;
  readonly #files: OpenFiles;
  readonly #reason: string;
  readonly #started: number;
  readonly #bytesBefore: number;
  readonly #errors: { file: string; error: string }[] = [];
  readonly #onWiped: (scope: ScopeId) => number;
  #phase: Phase = 'waiting';
  #receipt: LockReceipt | undefined;
  #done: (receipt: LockReceipt) => void = () => {};
  /** The kernel forgot the scope's names: until then its next generation must not begin. */
  #namesGone = false;
  /** Files on which a job of this generation is still under way. */
  #jobs = 0;
  #cut = 0;
  #leasesEnded = 0;
  #flushed = 0;
  /** Slots whose dirty pages were asked for and have not been confirmed. */
  #unconfirmed = new Set<Slot>();
  #entries: CachedName[] = [];
  #nodes: NodeId[] = [];

  constructor({ volume, handles, files, wiped }: LockParts, scope: Scope, reason: string) {
    this.#volume = volume;
    this.#handles = handles;
    this.#files = files;
    this.scope = scope;
    this.#reason = reason;
    this.#onWiped = wiped;
    this.#started = volume.clock.boottime();
    this.#bytesBefore = files.bytesWritten;
    scope.state = 'locking';
  }

  #slots(bits: number): Slot[] {
    const { table } = this.#volume;
    const found: Slot[] = [];
    for (let slot = 1; slot < table.end; slot++) {
      const mine = table.scope[slot] === this.scope.index && table.lookups[slot] !== 0;
      if (mine && !table.has(slot, flag.DEAD) && table.has(slot, bits)) found.push(slot);
    }
    return found;
  }

  /**
   * Until then the kernel may still have pages or names of this generation, or a job of it may still change a file: the
   * scope can't be unlocked.
   */
  get settled(): boolean {
    return this.#receipt !== undefined && this.#namesGone && this.#jobs === 0;
  }

  /** Begins, unless a deadline was faster. `done`: with the receipt, once no page is left. */
  start(done: (receipt: LockReceipt) => void): void {
    this.#done = done;
    if (this.#receipt !== undefined) done(this.#receipt);
    if (this.#phase !== 'waiting') return;
    this.#phase = 'drain';
    const busy = this.#files.of(this.scope).filter((file) => file.queue.busy);
    let left = busy.length;
    const one = (): void => {
      if (--left === 0 && this.#phase === 'drain') this.#flush();
    };
    if (left === 0) this.#flush();
    else for (const file of busy) file.queue.whenIdle(one);
  }

  #flush(): void {
    this.#phase = 'flush';
    const { table, cache } = this.#volume;
    const slots = this.#slots(flag.WRITABLE);
    this.#unconfirmed = new Set(slots);
    if (slots.length === 0) {
      this.#invalidate();
      return;
    }
    for (const slot of slots) {
      const node = table.node(slot);
      cache.flush(node, (result) => {
        if (this.#phase !== 'flush') {
          // The deadline was faster: a write(2) that ended only now left pages.
          cache.dropPages([node], () => {});
          return;
        }
        this.#unconfirmed.delete(slot);
        // ESTALE: the kernel has no such inode any more, so no pages either.
        if (result < 0 && result !== -errno.ESTALE) {
          this.#errors.push({ file: this.#nameOf(slot), error: errnoName(-result) });
        }
        if (this.#unconfirmed.size === 0) this.#invalidate();
      });
    }
  }

  #collect(): void {
    const { table, directories } = this.#volume;
    const slots = this.#slots(flag.PAGES | flag.WRITABLE);
    this.#nodes = slots.map((slot) => table.node(slot));
    const { root } = this.scope;
    if (root === NO_SLOT) return;
    const rootNode = table.node(root);
    if (!this.#nodes.includes(rootNode)) this.#nodes.push(rootNode);
    const children = directories.get(root)?.children.keys() ?? [];
    this.#entries = [...children].map((name) => ({ parent: rootNode, name }));
  }

  #invalidate(): void {
    this.#phase = 'invalidate';
    this.#collect();
    let left = 2;
    const one = (): void => {
      if (--left === 0 && this.#phase === 'invalidate') this.#checkpoint(CHECKPOINTS);
    };
    this.#volume.cache.dropNames(this.#entries, one);
    this.#volume.cache.dropPages(this.#nodes, one);
  }

  #checkpoint(times: number): void {
    this.#phase = 'checkpoint';
    const files = this.#files.of(this.scope);
    let at = 0;
    repeat((again) => {
      if (this.#phase !== 'checkpoint') return;
      const file = files[at++];
      if (file === undefined) {
        this.#syncAll(times);
        return;
      }
      if (file.closed) {
        again();
        return;
      }
      Operation.run(file, WHOLE, undefined, { loaded: false, refused: again }, (operation) => {
        flushHeader(file, operation.buffers, () => {
          operation.leave();
          // A failure stays with the file, and the receipt names it once, at the end.
          again();
        });
      });
    });
  }

  #syncAll(times: number): void {
    const { executor, backing } = this.#volume;
    executor.run({ op: 'syncfs', descriptor: backing.root }, (result) => {
      if (this.#phase !== 'checkpoint') return;
      if (result < 0) this.#errors.push({ file: '*', error: errnoName(-result) });
      const again = this.#files.of(this.scope).some((file) => file.queue.busy || file.behind);
      if (again && times > 1) {
        this.#checkpoint(times - 1);
        return;
      }
      for (const file of this.#files.of(this.scope)) {
        if (file.failed !== 0) {
          this.#errors.push({ file: this.#nameOf(file.slot), error: errnoName(file.failed) });
        }
      }
      this.#wipe(false);
      this.#invalidateAgain();
    });
  }

  /** The moment after which the scope is locked: no key, no plaintext, every handle and node of it dead. */
  #wipe(early: boolean): void {
    for (const slot of this.#unconfirmed) {
      this.#errors.push({ file: this.#nameOf(slot), error: errnoName(errno.ETIMEDOUT) });
    }
    this.#unconfirmed.clear();
    if (this.#phase !== 'invalidate' && this.#phase !== 'checkpoint') this.#collect();
    this.#phase = 'wiped';
    const { scope } = this;
    const { table, directories, hardLinks, io, suite, directoryJobs } = this.#volume;
    for (const file of this.#files.of(this.scope)) {
      if ((file.behind || file.queue.changing) && !table.has(file.slot, flag.UNLINKED)) {
        this.#volume.leftBehind.add(table.ino[file.slot] as number);
      }
      if (file.behind || (early && file.queue.busy)) {
        this.#errors.push({ file: this.#nameOf(file.slot), error: errnoName(errno.ETIMEDOUT) });
      }
      file.kill();
      this.#jobs++;
      file.queue.whenIdle(() => {
        this.#jobs--;
        // A program that keeps its handles open must not keep descriptors from others.
        this.#files.end(file);
      });
    }
    directoryJobs.wipe(scope);
    this.#cut = this.#handles.cut(scope);
    this.#flushed = this.#files.bytesWritten - this.#bytesBefore;
    for (let slot = 1; slot < table.end; slot++) {
      if (table.scope[slot] !== scope.index || table.has(slot, flag.FREE)) continue;
      directories.remove(slot);
      if (slot === scope.root) {
        table.clear(slot, flag.PAGES);
        continue;
      }
      hardLinks.drop(slot);
      // What only we looked up has nobody who would forget it.
      if (table.lookups[slot] === 0) table.release(slot);
      else table.set(slot, flag.DEAD);
    }
    scope.keys?.close();
    scope.keys = undefined;
    scope.state = 'locked';
    scope.end();
    scope.lockAt = Number.POSITIVE_INFINITY;
    scope.deadline = Number.POSITIVE_INFINITY;
    suite.forget();
    io.wipe();
    directories.wipe();
    this.#leasesEnded = this.#onWiped(scope.id);
  }

  /** What came into the kernel's cache in the meantime goes too. The receipt waits for pages, an unlock for names. */
  #invalidateAgain(): void {
    const { cache, clock } = this.#volume;
    cache.dropPages(this.#nodes, (failures) => {
      if (failures > 0) {
        this.#errors.push({ file: '*', error: `${failures} cached objects could not be dropped` });
      }
      this.#phase = 'done';
      this.#receipt = {
        scope: this.scope.id,
        generation: this.scope.generation,
        reason: this.#reason,
        leasesEnded: this.#leasesEnded,
        handlesCut: this.#cut,
        inodesInvalidated: this.#nodes.length,
        bytesFlushed: this.#flushed,
        errors: this.#errors,
        seconds: (clock.boottime() - this.#started) / 1000,
      };
      this.#done(this.#receipt);
    });
    cache.dropNames(this.#entries, () => {
      this.#namesGone = true;
    });
  }

  /** The deadline: wipes now, whatever is under way or waits for its turn, and goes on from there. */
  expire(): void {
    if (this.#phase === 'wiped' || this.#phase === 'done') return;
    this.#wipe(true);
    this.#invalidateAgain();
  }

  #nameOf(slot: Slot): string {
    return this.#volume.directories.pathInScope(slot) ?? `inode ${this.#volume.table.ino[slot]}`;
  }
}
