import { errno } from '../../base/errno.js';
import type { ScopeId } from '../../base/ids.js';
import { ScopeKeys } from '../../crypto/scope-keys.js';
import { peekSlotCopy, SLOT_COPY, SLOT_COPY_HEAD, type SlotVersion } from '../../format/scope/slot-copy.js';
import type { Address } from '../../libc/ffi.js';
import { pinned, type Secret } from '../../libc/memory.js';
import type { Terms } from '../contract.js';
import { NO_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Scope } from '../inodes/scope.js';
import type { Volume } from '../inodes/volume.js';
import type { Nodes } from '../names/nodes.js';
import type { Locks } from './locks.js';

/** Why a control operation did not happen. */
export type ControlResult =
  /** `copyBehind`: the slots' copy in the scope's root directory is missing or older than the store. */
  | { readonly ok: true; readonly copyBehind?: boolean }
  | { readonly ok: false; readonly errno: number; readonly at?: string; readonly lockedScope?: ScopeId };

export const OK: ControlResult = { ok: true };

/** For any caller, to read and write. */
export const FOR_ANY: Terms = { gate: undefined, readOnly: false };

/** From locked to open: secrets of scopes come in, change and are lent; their slots' copies in the tree. */
export class ScopeAccess {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #locks: Locks;

  constructor(volume: Volume, nodes: Nodes, locks: Locks) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#locks = locks;
  }

  /** Gives a locked scope its epoch secrets, that of epoch `oldest` first (taken over, wiped on failure too). */
  unlock(
    id: ScopeId,
    oldest: number,
    secrets: readonly Secret[],
    stored: SlotVersion = { epoch: oldest + secrets.length - 1, list: 1 },
    terms = FOR_ANY,
  ): ControlResult {
    const refuse = (result: ControlResult): ControlResult => {
      for (const secret of secrets) secret.wipe();
      return result;
    };
    const scope = this.#volume.scope(id);
    if (scope === undefined || this.#locks.stateOf(scope) !== 'locked' || this.#locks.hasOldNames(scope)) {
      return refuse({ ok: false, errno: scope === undefined ? errno.ENOENT : errno.EBUSY });
    }
    if (scope.parent !== undefined && !scope.parent.isOpen) {
      return refuse({ ok: false, errno: errno.ENOKEY, lockedScope: scope.parent.id });
    }
    const { suite, memory } = this.#volume;
    scope.begin(terms);
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
    this.#volume.directories.remove(scope.root);
    scope.keys.close();
    scope.keys = undefined;
    scope.state = 'locked';
    scope.end();
    // A removed slot's holder may have put back a store from before: the vault remembers.
    return opened.ok ? { ok: false, errno: errno.ESTALE } : opened;
  }

  #slotCopy(scope: Scope): SlotVersion | undefined {
    const { backing, directories } = this.#volume;
    const descriptor = directories.descriptor(scope.root);
    const file = descriptor < 0 ? descriptor : backing.openFile(descriptor, SLOT_COPY);
    if (file < 0) return undefined;
    const buffer = pinned(SLOT_COPY_HEAD);
    const job = { op: 'pread', descriptor: file, buffer, at: 0, length: SLOT_COPY_HEAD, offset: 0 } as const;
    const got = backing.perform(job);
    backing.close(file);
    return got === SLOT_COPY_HEAD ? peekSlotCopy(scope.id, buffer.bytes) : undefined;
  }

  /** Replaces the copy of an unlocked scope's slots, durably. 0 or -errno. */
  writeSlotCopy(id: ScopeId, bytes: Buffer): number {
    const scope = this.#volume.scope(id);
    if (scope?.isOpen !== true) return -errno.ENOKEY;
    const { backing, directories } = this.#volume;
    const descriptor = directories.descriptor(scope.root);
    if (descriptor < 0) return descriptor;
    const temporary = this.#volume.temporaryName();
    const file = backing.createFile(descriptor, temporary, 0o600);
    if (file < 0) return file;
    const buffer = pinned(bytes.length);
    bytes.copy(buffer.bytes);
    const { length } = bytes;
    const wrote = backing.perform({ op: 'pwrite', descriptor: file, buffer, at: 0, length, offset: 0 });
    let done = wrote === length ? 0 : wrote < 0 ? wrote : -errno.ENOSPC;
    if (done >= 0) done = backing.perform({ op: 'fdatasync', descriptor: file });
    backing.close(file);
    if (done >= 0) done = backing.rename(descriptor, temporary, descriptor, SLOT_COPY, 0);
    if (done < 0) backing.unlink(descriptor, temporary);
    else done = backing.perform({ op: 'fsync', descriptor });
    return Math.min(done, 0);
  }

  /** Copies the secret of an epoch (of the current one) to `to` (32 bytes of secret memory): its number, -ENOKEY or -ENOENT. */
  lendEpochSecret(id: ScopeId, to: Address, epoch?: number): number {
    const scope = this.#volume.scope(id);
    if (scope?.isOpen !== true) return -errno.ENOKEY;
    const keys = epoch === undefined ? scope.live.current : scope.live.at(epoch);
    if (keys === undefined) return -errno.ENOENT;
    keys.lend(to);
    return keys.epoch;
  }

  /**
   * Begins a new epoch: from the next seal on its secret (taken over) is needed, also by what a lock under way still
   * writes. False: the scope is locked, so nothing is sealed until an unlock, which begins in the new epoch.
   */
  advance(id: ScopeId, epoch: number, secret: Secret): boolean {
    const scope = this.#volume.scope(id);
    const keys = scope?.keys;
    if (keys === undefined || keys.epoch !== epoch - 1) {
      secret.wipe();
      return false;
    }
    keys.advance(epoch, secret);
    this.#volume.directories.wipe();
    return true;
  }

  #openRoot(scope: Scope): ControlResult {
    // Always from the parent's root: what was known of its place may be of an earlier generation.
    if (scope.parent !== undefined) {
      const walked = this.walk(scope.parent, scope.path.split('/'));
      if (typeof walked !== 'number') return walked;
      if (scope.root === NO_SLOT) return { ok: false, errno: errno.EIO, at: scope.path };
    }
    if (this.#volume.directories.get(scope.root)?.scope === scope) return OK;
    const opened = this.#nodes.openRoot(scope);
    return opened < 0 ? { ok: false, errno: -opened, at: scope.path } : OK;
  }

  /** Follows names from a scope's root: the slot of the last, or which one stopped it. `outside`: no caller of the mount asks. */
  walk(
    scope: Scope,
    names: readonly string[],
    outside = false,
  ): Slot | Extract<ControlResult, { ok: false }> {
    let slot = scope.root;
    for (const name of names) {
      const here = this.#volume.scopeOf(slot);
      if (!here.isOpen) return { ok: false, errno: errno.ENOKEY, lockedScope: here.id, at: name };
      if (outside && here.restricted)
        return { ok: false, errno: errno.EPERM, lockedScope: here.id, at: name };
      const directory = this.#volume.directories.get(slot);
      if (directory === undefined) return { ok: false, errno: errno.ENOTDIR, at: name };
      const next = this.#nodes.find(directory, name);
      if (next < 0) return { ok: false, errno: -next, at: name };
      slot = next;
    }
    return slot;
  }
}
