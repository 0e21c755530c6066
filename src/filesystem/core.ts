import { randomBytes } from 'node:crypto';
import { errno } from '../base/errno.js';
import { idBytes, type ScopeId } from '../base/ids.js';
import { repeat } from '../base/repeat.js';
import { XATTR, XATTR_ROOT } from '../format/binding.js';
import { encodeDirectoryRecord } from '../format/directory-record.js';
import { NAME_MAX } from '../format/names.js';
import { ScopeKeys } from '../format/scope-keys.js';
import { peekSlotCopy, SLOT_COPY, SLOT_COPY_HEAD, type SlotVersion } from '../format/slot-copy.js';
import type { Address } from '../libc/ffi.js';
import { pinned, type Secret } from '../libc/memory.js';
import { Bindings } from './bindings.js';
import type { Caller, DirectorySink, NodeId, Reply } from './contract.js';
import type { Directory } from './directories.js';
import { Files } from './files.js';
import { Handles } from './handles.js';
import { flag, NO_SLOT, ROOT_SLOT, type Slot } from './inode-table.js';
import { Listing } from './listing.js';
import { type LockReceipt, LockRun } from './lock.js';
import { Namespace } from './namespace.js';
import { Nodes } from './nodes.js';
import { Removal } from './removal.js';
import { Renaming } from './renaming.js';
import { Scope, type ScopeState } from './scope.js';
import { Volume, type VolumeOptions } from './volume.js';

/** A scope as the store knows it, parents before children. `path` is latin1, below the parent scope's root. */
export interface KnownScope {
  readonly id: ScopeId;
  readonly parent: ScopeId | undefined;
  readonly path: string;
}

/** Why a control operation did not happen. */
export type ControlResult =
  /** `copyBehind`: the slots' copy in the scope's root directory is missing or older than the store. */
  | { readonly ok: true; readonly copyBehind?: boolean }
  | { readonly ok: false; readonly errno: number; readonly at?: string; readonly lockedScope?: ScopeId };

const OK: ControlResult = { ok: true };

interface TreeLock {
  readonly runs: readonly LockRun[];
  deadline: number;
  /** Whoever asked for the same while it ran. */
  readonly after: ((receipts: readonly LockReceipt[]) => void)[];
}

export interface CoreEvents {
  /** A scope's root got another path below its parent scope. */
  moved(scope: ScopeId, path: string): void;
  /** A lock that nobody asked for: a lease ended. Children first. */
  expired(receipts: readonly LockReceipt[]): void;
  /** A file was repaired after an unclean stop; `path` is below its scope's root. */
  recovered(scope: ScopeId, path: string, before: number, after: number): void;
  /** A file's last write-back failed after it was closed. */
  writeBackFailed(scope: ScopeId, path: string, error: number): void;
  /** Keys are gone: buffers outside the core that held plaintext must go too. */
  wiped(): void;
}

/**
 * The filesystem: the single writer behind every transport. `files`, `namespace`, `removal`, `renaming` and the methods here are the
 * contract's operations; the rest is for the control plane.
 */
export class Core {
  readonly volume: Volume;
  readonly nodes: Nodes;
  readonly namespace: Namespace;
  readonly removal: Removal;
  readonly renaming: Renaming;
  readonly files: Files;
  readonly #handles = new Handles();
  readonly #events: CoreEvents;
  #locks: TreeLock[] = [];
  /** Locks with a receipt whose names the kernel has not forgotten yet. */
  #settling: LockRun[] = [];
  /** The next moment (CLOCK_BOOTTIME, ms) at which {@link tick} has something to do. */
  due = Number.POSITIVE_INFINITY;

  constructor(options: VolumeOptions, scopes: readonly KnownScope[], events: CoreEvents) {
    this.volume = new Volume(options);
    this.nodes = new Nodes(this.volume);
    const bindings = new Bindings(this.volume);
    this.namespace = new Namespace(this.volume, this.nodes, bindings);
    this.removal = new Removal(this.volume, this.nodes);
    this.renaming = new Renaming(this.volume, this.nodes, this.removal, bindings);
    this.files = new Files(this.volume, this.nodes, this.namespace, this.#handles);
    this.#events = events;
    this.nodes.onMoved = (scope, path) => events.moved(scope.id, path);
    const pathOf = (at: Slot): string => this.volume.directories.pathInScope(at) ?? '?';
    this.volume.onRecovered = (at, before, after) =>
      events.recovered(this.volume.scopeOf(at).id, pathOf(at), before, after);
    this.volume.onWriteBackFailed = (at, error) =>
      events.writeBackFailed(this.volume.scopeOf(at).id, pathOf(at), error);
    for (const known of scopes) this.#addScope(known);
    const root = this.volume.scopes[0];
    if (root === undefined) throw new Error('a volume needs a root scope');
    const { table, backing, stat } = this.volume;
    const slot = table.allocate(0, NO_SLOT, '');
    table.lookups[slot] = 1;
    table.set(slot, flag.SCOPE_ROOT);
    root.root = slot;
    if (backing.fstat(backing.root, stat) < 0) throw new Error('the tree cannot be read');
    table.fill(slot, stat, stat.size);
    table.parent[slot] = ROOT_SLOT;
  }

  #addScope(known: KnownScope): Scope {
    const { scopes } = this.volume;
    const parent = scopes.find((scope) => scope.id === known.parent);
    const scope = new Scope(scopes.length, known.id, parent, known.path);
    scopes.push(scope);
    return scope;
  }

  scope(id: ScopeId): Scope | undefined {
    return this.volume.scopes.find((scope) => scope.id === id);
  }
  /** As others may see it: `locking` until the receipt is out, as only then no page of it is left. */
  stateOf(scope: Scope): ScopeState {
    const running = this.#locks.some((lock) => lock.runs.some((run) => run.scope === scope));
    return running ? 'locking' : scope.state;
  }
  /** The kernel still has names of the generation that was locked: the next must not begin. */
  #hasOldNames(scope: Scope): boolean {
    this.#settling = this.#settling.filter((run) => !run.settled);
    return this.#settling.some((run) => run.scope === scope);
  }
  openHandles(scope: Scope): number {
    return this.#handles.count(scope);
  }

  // Directories and the volume as a whole.

  opendir(node: NodeId, caller: Caller, reply: Reply): void {
    const directory = this.nodes.directory(node, caller);
    if (typeof directory === 'number') {
      reply.error(-directory);
      return;
    }
    const { slot, scope } = directory;
    const { table } = this.volume;
    const listing = new Listing(this.volume, this.nodes, directory);
    const handle = this.#handles.add({
      slot,
      scope,
      file: undefined,
      listing,
      own: caller.trusted,
      dead: false,
    });
    table.set(slot, flag.PAGES);
    // Not for a scope's root: it keeps its node id over a lock, so an old handle would read the next caller's cache.
    const cacheDirectory = !table.has(slot, flag.SCOPE_ROOT);
    reply.opened(handle, { keepCache: cacheDirectory, cacheDirectory });
  }

  readdir(
    node: NodeId,
    number: number,
    offset: number,
    caller: Caller,
    sink: DirectorySink,
    reply: Reply,
  ): void {
    const handle = this.#handles.get(number);
    const slot = handle?.dead === true ? -errno.ENOKEY : this.nodes.usable(node, caller, 'use');
    if (slot < 0 || handle?.listing === undefined) reply.error(slot < 0 ? -slot : errno.EBADF);
    else handle.listing.fill(offset, sink, reply);
  }

  releasedir(number: number, reply: Reply): void {
    this.#handles.remove(number);
    reply.ok();
  }

  fsyncdir(node: NodeId, caller: Caller, reply: Reply): void {
    const slot = this.nodes.usable(node, caller, 'drain');
    const directory = slot < 0 ? undefined : this.volume.directories.get(slot);
    if (directory === undefined) {
      reply.error(slot < 0 ? -slot : errno.ENOTDIR);
      return;
    }
    this.volume.aside.run(directory, 'fsync', [], reply, (result) => {
      if (result < 0) reply.error(-result);
      else reply.ok();
    });
  }

  statfs(reply: Reply): void {
    const usage = this.volume.backing.usage(this.volume.backing.root);
    if (typeof usage === 'number') reply.error(-usage);
    else reply.usage(usage);
  }

  // Control.

  /** Gives a locked scope its epoch secrets, that of epoch `oldest` first (taken over, wiped on failure too). */
  unlock(
    id: ScopeId,
    oldest: number,
    secrets: readonly Secret[],
    stored: SlotVersion = { epoch: oldest + secrets.length - 1, list: 1 },
  ): ControlResult {
    const refuse = (result: ControlResult): ControlResult => {
      for (const secret of secrets) secret.wipe();
      return result;
    };
    const scope = this.scope(id);
    if (scope === undefined || this.stateOf(scope) !== 'locked' || this.#hasOldNames(scope)) {
      return refuse({ ok: false, errno: scope === undefined ? errno.ENOENT : errno.EBUSY });
    }
    if (scope.parent !== undefined && !scope.parent.isOpen) {
      return refuse({ ok: false, errno: errno.ENOKEY, lockedScope: scope.parent.id });
    }
    const { suite, memory } = this.volume;
    scope.keys = new ScopeKeys(suite, memory, scope.id, oldest, secrets);
    scope.state = 'open';
    scope.lockAt = Number.POSITIVE_INFINITY;
    scope.deadline = Number.POSITIVE_INFINITY;
    scope.generation++;
    const opened = this.#openRoot(scope);
    const copy = opened.ok ? this.#slotCopy(scope) : undefined;
    const newer = copy !== undefined && (copy.epoch > stored.epoch || copy.list > stored.list);
    if (opened.ok && !newer) {
      return { ok: true, copyBehind: copy?.epoch !== stored.epoch || copy.list !== stored.list };
    }
    this.volume.directories.remove(scope.root);
    scope.keys.close();
    scope.keys = undefined;
    scope.state = 'locked';
    // Who was removed may have put back a store from before: the vault remembers.
    return opened.ok ? { ok: false, errno: errno.ESTALE } : opened;
  }

  #slotCopy(scope: Scope): SlotVersion | undefined {
    const { backing, directories } = this.volume;
    const handle = directories.handle(scope.root);
    const file = handle < 0 ? handle : backing.openFile(handle, SLOT_COPY);
    if (file < 0) return undefined;
    const buffer = pinned(SLOT_COPY_HEAD);
    const job = { op: 'pread', handle: file, buffer, at: 0, length: SLOT_COPY_HEAD, offset: 0 } as const;
    const got = backing.perform(job);
    backing.close(file);
    return got === SLOT_COPY_HEAD ? peekSlotCopy(scope.id, buffer.bytes) : undefined;
  }

  /** Replaces the copy of an unlocked scope's slots, durably. 0 or -errno. */
  writeSlotCopy(id: ScopeId, bytes: Buffer): number {
    const scope = this.scope(id);
    if (scope?.isOpen !== true) return -errno.ENOKEY;
    const { backing, directories } = this.volume;
    const handle = directories.handle(scope.root);
    if (handle < 0) return handle;
    const temporary = this.volume.temporaryName();
    const file = backing.createFile(handle, temporary, 0o600);
    if (file < 0) return file;
    const buffer = pinned(bytes.length);
    bytes.copy(buffer.bytes);
    const { length } = bytes;
    const wrote = backing.perform({ op: 'pwrite', handle: file, buffer, at: 0, length, offset: 0 });
    let done = wrote === length ? 0 : wrote < 0 ? wrote : -errno.ENOSPC;
    if (done >= 0) done = backing.perform({ op: 'fdatasync', handle: file });
    backing.close(file);
    if (done >= 0) done = backing.rename(handle, temporary, handle, SLOT_COPY, 0);
    if (done < 0) backing.unlink(handle, temporary);
    else done = backing.perform({ op: 'fsync', handle });
    return Math.min(done, 0);
  }

  /** Copies the current epoch's secret to `to` (32 bytes of secret memory): its number, or -ENOKEY. */
  lendEpochSecret(id: ScopeId, to: Address): number {
    const scope = this.scope(id);
    if (scope?.isOpen !== true) return -errno.ENOKEY;
    scope.live.current.lend(to);
    return scope.live.epoch;
  }

  /**
   * Begins a new epoch: from the next seal on its secret (taken over) is needed, also by what a lock under way still
   * writes. False: the scope is locked, so nothing is sealed until an unlock, which begins in the new epoch.
   */
  advance(id: ScopeId, epoch: number, secret: Secret): boolean {
    const scope = this.scope(id);
    const keys = scope?.keys;
    if (keys === undefined || keys.epoch !== epoch - 1) {
      secret.wipe();
      return false;
    }
    keys.advance(epoch, secret);
    this.volume.directories.wipe();
    return true;
  }

  #openRoot(scope: Scope): ControlResult {
    // Always from the parent's root: what was known of its place may be of an earlier generation.
    if (scope.parent !== undefined) {
      const walked = this.#walk(scope.parent, scope.path.split('/'));
      if (typeof walked !== 'number') return walked;
      if (scope.root === NO_SLOT) return { ok: false, errno: errno.EIO, at: scope.path };
    }
    if (this.volume.directories.get(scope.root)?.scope === scope) return OK;
    const opened = this.nodes.openRoot(scope);
    return opened < 0 ? { ok: false, errno: -opened, at: scope.path } : OK;
  }

  /** Follows names from a scope's root: the slot of the last, or which one stopped it. */
  #walk(scope: Scope, names: readonly string[]): Slot | Extract<ControlResult, { ok: false }> {
    let slot = scope.root;
    for (const name of names) {
      const here = this.volume.scopeOf(slot);
      if (!here.isOpen) return { ok: false, errno: errno.ENOKEY, lockedScope: here.id, at: name };
      const directory = this.volume.directories.get(slot);
      if (directory === undefined) return { ok: false, errno: errno.ENOTDIR, at: name };
      const next = this.nodes.find(directory, name);
      if (next < 0) return { ok: false, errno: -next, at: name };
      slot = next;
    }
    return slot;
  }

  /**
   * Makes a new scope at `names` (latin1, from the mount's root): a new directory, or an empty one that is there.
   * Its parent must be unlocked. Leaves it unlocked. `done` also says which scope is its parent and its path there.
   */
  createScope(
    names: readonly string[],
    id: ScopeId,
    epoch: number,
    secret: Secret,
    owner: { uid: number; gid: number; mode: number },
    done: (result: ControlResult, parent?: ScopeId, path?: string) => void,
  ): void {
    const refuse = (result: ControlResult): void => {
      secret.wipe();
      done(result);
    };
    const name = names.at(-1) ?? '';
    const above = this.#walk(this.volume.scopes[0] as Scope, names.slice(0, -1));
    if (typeof above !== 'number') {
      refuse(above);
      return;
    }
    const home = this.volume.scopeOf(above);
    const directory = this.volume.directories.get(above);
    if (!home.isOpen) {
      refuse({ ok: false, errno: errno.ENOKEY, lockedScope: home.id });
    } else if (directory === undefined) {
      refuse({ ok: false, errno: errno.ENOTDIR, at: names.at(-2) ?? '/' });
    } else if (/^\.{0,2}$|\0/.test(name) || name.length > NAME_MAX) {
      refuse({ ok: false, errno: errno.EINVAL, at: name });
    } else {
      const parentPath = this.volume.directories.pathInScope(above) ?? '';
      const path = parentPath === '' ? name : `${parentPath}/${name}`;
      const keys = new ScopeKeys(this.volume.suite, this.volume.memory, id, epoch, [secret]);
      const made = this.#makeRoot(directory, name, id, keys, owner);
      if (made < 0) {
        keys.close();
        done({ ok: false, errno: -made, at: name });
        return;
      }
      const scope = this.#addScope({ id, parent: home.id, path });
      scope.keys = keys;
      scope.state = 'open';
      scope.generation = 1;
      const { table, cache } = this.volume;
      table.set(directory.slot, flag.STALE);
      const found = this.nodes.find(directory, name);
      const parentNode = table.node(directory.slot);
      // The kernel may remember that the name does not exist, or what it was before.
      cache.dropNames([{ parent: parentNode, name }], () =>
        cache.dropPages([parentNode], () =>
          done(found < 0 ? { ok: false, errno: -found, at: name } : OK, home.id, path),
        ),
      );
    }
  }

  #makeRoot(
    parent: Directory,
    name: string,
    id: ScopeId,
    keys: ScopeKeys,
    owner: { uid: number; gid: number; mode: number },
  ): number {
    const { directories, backing, table } = this.volume;
    const parentKeys = parent.scope.live;
    const edge = encodeDirectoryRecord(
      parentKeys.current.binding,
      { kind: 'edge', epoch: parentKeys.epoch, id: idBytes(id) },
      [{ directory: parent.id, name }],
    );
    const root = rootRecord(keys);
    const handle = directories.handle(parent.slot);
    if (handle < 0) return handle;
    const existing = this.nodes.find(parent, name);
    const stored = directories.stored(parent, name);
    if (existing === -errno.ENOENT) {
      return this.namespace.makeDirectory(handle, stored, owner.mode, owner.uid, owner.gid, [
        [XATTR_ROOT, root],
        [XATTR, edge],
      ]);
    }
    if (existing < 0) return existing;
    if (!table.isDirectory(existing)) return -errno.ENOTDIR;
    if (table.has(existing, flag.SCOPE_ROOT)) return -errno.EEXIST;
    const entries = backing.list(directories.handle(existing));
    if (typeof entries === 'number') return entries;
    if (entries.length > 0) return -errno.ENOTEMPTY;
    let done = backing.setxattr(handle, stored.name, XATTR_ROOT, root);
    if (done >= 0) done = backing.setxattr(handle, stored.name, XATTR, edge);
    if (done < 0) return done;
    // What the kernel has of the old directory is not the scope.
    directories.remove(existing);
    table.set(existing, flag.DEAD);
    parent.children.delete(name);
    return 0;
  }

  /** Sets when an unlocked scope's last lease ends (CLOCK_BOOTTIME, ms) and when its orderly lock begins. */
  setDeadline(id: ScopeId, lockAt: number, deadline: number): boolean {
    const scope = this.scope(id);
    if (scope?.isOpen !== true) return false;
    scope.lockAt = lockAt;
    scope.deadline = deadline;
    this.#plan();
    return true;
  }

  /**
   * Locks scopes and all unlocked ones below them, children first; one receipt each. At `deadline` (CLOCK_BOOTTIME,
   * ms) they are locked, whatever is still to be written.
   */
  lock(
    ids: readonly ScopeId[],
    reason: string,
    deadline: number,
    done: (receipts: readonly LockReceipt[]) => void,
  ): void {
    const inside = (scope: Scope): boolean => {
      for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
        if (ids.includes(at.id)) return true;
      }
      return false;
    };
    // Already on their way: a receipt for everybody, and the nearer deadline counts.
    const running = this.#locks.filter(({ runs }) => runs.some((run) => inside(run.scope)));
    // Parents stand before children in the list, so its reverse is the order of locking.
    const scopes = this.volume.scopes.filter((scope) => scope.isOpen && inside(scope)).reverse();
    const wiped = (): void => this.#events.wiped();
    // All are `locking` from now on, so the deadline holds also for those that wait for their turn.
    const runs = scopes.map(
      (scope) => new LockRun(this.volume, this.#handles, this.files, scope, reason, wiped),
    );
    // A lease's own end holds also while somebody else's longer lock is under way.
    const nearest = Math.min(deadline, ...scopes.map((scope) => scope.deadline));
    const lock: TreeLock = { runs, deadline: nearest, after: [] };
    const receipts: LockReceipt[] = [];
    this.#locks.push(lock);
    let at = 0;
    const begin = (): void =>
      repeat((again) => {
        const run = runs[at++];
        if (run !== undefined) {
          run.start((receipt) => {
            receipts.push(receipt);
            again();
          });
          return;
        }
        this.#locks = this.#locks.filter((other) => other !== lock);
        this.#settling.push(...runs.filter((done) => !done.settled));
        done(receipts);
        for (const then of lock.after) then(receipts);
      });
    let before = running.length;
    for (const other of running) {
      other.deadline = Math.min(other.deadline, deadline);
      other.after.push((earlier) => {
        const mine = (one: LockReceipt): boolean =>
          inside(this.scope(one.scope) as Scope) && !receipts.includes(one);
        receipts.push(...earlier.filter(mine));
        if (--before === 0) begin();
      });
    }
    if (before === 0) begin();
    this.#plan();
  }

  /** Begins locks whose time has come and ends those whose deadline has. Call it often; cheap when nothing is due. */
  tick(now: number): void {
    for (const scope of this.volume.scopes) {
      if (scope.isOpen && scope.lockAt <= now) {
        const { deadline } = scope;
        scope.lockAt = Number.POSITIVE_INFINITY;
        this.lock([scope.id], 'lease ended', deadline, (receipts) => {
          this.#events.expired(receipts);
        });
      }
    }
    for (const lock of this.#locks) {
      if (lock.deadline <= now) for (const run of lock.runs) run.expire();
    }
    this.#plan();
  }

  #plan(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const scope of this.volume.scopes) {
      if (scope.isOpen) next = Math.min(next, scope.lockAt);
    }
    for (const lock of this.#locks) {
      if (lock.runs.some((run) => run.scope.state === 'locking')) {
        next = Math.min(next, lock.deadline);
      }
    }
    this.due = next;
  }
}

/** A fresh root record of a scope, for `user.scopefs.root`. */
export function rootRecord(keys: ScopeKeys): Buffer {
  return encodeDirectoryRecord(keys.current.binding, {
    kind: 'root',
    epoch: keys.epoch,
    id: randomBytes(16),
  });
}
