import { errno } from '../../base/errno.js';
import { UTIME_NOW, UTIME_OMIT } from '../../libc/files.js';
import { ALLPERMS, S_ISGID, S_ISUID, S_IXGRP, SET_ID } from '../../libc/stat.js';
import { WHOLE } from '../content/file-queue.js';
import { truncateFile } from '../content/file-truncate.js';
import type { OpenFile } from '../content/open-file.js';
import type { OpenFiles } from '../content/open-files.js';
import { Operation, UNLOADED } from '../content/operation.js';
import {
  type AttributeChange,
  type Attributes,
  type Caller,
  type NodeId,
  Refusal,
  type Reply,
} from '../contract.js';
import { flag, ROOT_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';
import type { Nodes } from '../names/nodes.js';

const DAY_SECONDS = 86_400;

/** GETATTR and SETATTR. */
export class AttributeOperations {
  readonly #volume: Volume;
  readonly #nodes: Nodes;
  readonly #files: OpenFiles;

  constructor(volume: Volume, nodes: Nodes) {
    this.#volume = volume;
    this.#nodes = nodes;
    this.#files = nodes.files;
  }

  /**
   * Clears set-user-id, and set-group-id where the group may execute (HANDLE_KILLPRIV_V2, inode_should_drop_sgid), and
   * has the kernel ask again: it judges an exec by the mode that it knows. 0 or -errno.
   */
  killPrivileges(slot: Slot): number {
    const { table, cache } = this.#volume;
    // An ACL may have changed it.
    const shown = this.#nodes.attributes(slot);
    const mode = typeof shown === 'number' ? (table.mode[slot] as number) : shown.mode;
    let next = mode & ~S_ISUID;
    if ((mode & S_IXGRP) !== 0) next &= ~S_ISGID;
    if (next === mode) return 0;
    const done = this.#nodes.setMode(slot, next & ALLPERMS);
    if (done < 0) return done;
    table.mode[slot] = next;
    cache.forgetAttributes(table.node(slot));
    return 0;
  }

  /** A file was read: its access time follows as relatime does (mount(8)); the backing's own is off (O_NOATIME). */
  accessed(file: OpenFile): void {
    const { table, backing, clock } = this.#volume;
    const { slot } = file;
    if (file.scope.readOnly) return;
    const now = this.#nodes.attributes(slot);
    if (typeof now === 'number') return;
    const since = (seconds: number, nanoseconds: number): boolean =>
      now.atime < seconds || (now.atime === seconds && now.atimeNs <= nanoseconds);
    const day = Math.floor(clock.wall() / 1000 / DAY_SECONDS);
    const old = clock.wall() / 1000 - now.atime >= DAY_SECONDS;
    if (!old && !since(now.mtime, now.mtimeNs) && !since(now.ctime, now.ctimeNs)) return;
    // Once: the backing may be mounted with noatime.
    const state = `${day} ${now.mtime} ${now.mtimeNs} ${now.ctime} ${now.ctimeNs}`;
    if (file.accessedAt === state) return;
    file.accessedAt = state;
    backing.touchAccess(file.descriptor);
    table.set(slot, flag.STALE);
  }

  getattr(node: NodeId, withHandle: boolean, caller: Caller, reply: Reply): void {
    this.#get(node, withHandle, caller, reply, (attributes) => reply.attributes(attributes));
  }
  #get(
    node: NodeId,
    withHandle: boolean,
    caller: Caller,
    reply: Reply,
    answer: (attributes: Attributes) => void,
  ): void {
    const slot = this.#nodes.admission.admitLook(node, caller, withHandle);
    if (slot instanceof Refusal) {
      reply.refuse(slot);
      return;
    }
    const attributes = this.#nodes.attributes(slot);
    if (typeof attributes === 'number') reply.error(-attributes);
    else answer(attributes);
  }

  /** As {@link getattr}, with the time of birth. */
  statx(node: NodeId, withHandle: boolean, caller: Caller, reply: Reply): void {
    const { table } = this.#volume;
    const slot = table.slot(node);
    this.#get(node, withHandle, caller, reply, (attributes) => {
      const [seconds, nanoseconds] = [table.btime[slot] as number, table.btimeNs[slot] as number];
      reply.statx(attributes, seconds === 0 && nanoseconds === 0 ? undefined : [seconds, nanoseconds]);
    });
  }

  setattr(node: NodeId, change: AttributeChange, caller: Caller, reply: Reply): void {
    const timesOnly =
      change.size === undefined &&
      change.mode === undefined &&
      change.uid === undefined &&
      change.gid === undefined;
    const { table, writeback } = this.#volume;
    // With a writeback cache a file's times alone may come from a kernel thread: then they are never judged by caller.
    const here = table.slot(node);
    const free = writeback || (here > 0 && !this.#volume.scopeOf(here).restricted);
    const flushed = timesOnly && free && table.isRegular(here);
    const access = flushed ? 'drain' : change.handle === undefined ? 'change' : 'handle';
    const slot = this.#nodes.admission.admit(node, caller, access);
    if (slot instanceof Refusal) {
      reply.refuse(slot);
      return;
    }
    // No page is dirty in a scope opened for reading: times are set by people alone.
    if (this.#volume.scopeOf(slot).readOnly) {
      reply.refuse(Refusal.for('read_only'));
      return;
    }
    if (change.size === undefined) {
      const file = this.#files.get(slot);
      if (file === undefined) {
        this.#finishSetattr(slot, change, reply);
        return;
      }
      // A header write under way puts back the modification time that it found, and a job may hold the host's lock
      // of that inode: wait for both.
      Operation.run(file, WHOLE, reply, UNLOADED, (operation) => {
        this.#finishSetattr(slot, change, reply);
        operation.leave();
      });
      return;
    }
    const { size } = change;
    if (!this.#volume.table.isRegular(slot)) {
      reply.error(errno.EINVAL);
      return;
    }
    const file = this.#files.hold(slot);
    if (typeof file === 'number') {
      reply.error(-file);
      return;
    }
    const refused = (): void => this.#files.drop(file, () => {});
    Operation.run(file, WHOLE, reply, { loaded: size !== 0, refused }, (operation) => {
      truncateFile(file, operation.buffers, size, (result) => {
        this.#volume.table.set(slot, flag.STALE);
        operation.leave();
        this.#files.drop(file, () => {
          if (result < 0) reply.error(-result);
          else this.#finishSetattr(slot, change, reply);
        });
      });
    });
  }

  #finishSetattr(slot: Slot, change: AttributeChange, reply: Reply): void {
    const done = this.#change(slot, change);
    if (done < 0) {
      reply.error(-done);
      return;
    }
    this.#volume.table.set(slot, flag.STALE);
    const attributes = this.#nodes.attributes(slot);
    if (typeof attributes === 'number') reply.error(-attributes);
    else reply.attributes(attributes);
  }

  #change(slot: Slot, change: AttributeChange): number {
    const { table, backing, directories } = this.#volume;
    const file = this.#files.get(slot);
    const descriptor = file?.descriptor ?? (slot === ROOT_SLOT ? backing.root : undefined);
    const place = descriptor === undefined ? directories.place(slot) : undefined;
    if (descriptor === undefined && place === undefined) {
      // Times of a deleted file come from the kernel's own writeback; an error would be that of a later syncfs(2).
      const timesAlone = change.mode === undefined && change.uid === undefined && change.gid === undefined;
      return timesAlone && table.nlink[slot] === 0 ? 0 : -errno.ESTALE;
    }
    const on = <T>(byHandle: (h: number) => T, byName: (dir: number, name: string) => T): T =>
      place === undefined ? byHandle(descriptor as number) : byName(place.descriptor, place.name);
    let done = 0;
    // An ACL may have changed it.
    const shown = this.#nodes.attributes(slot);
    const before = typeof shown === 'number' ? (table.mode[slot] as number) : shown.mode;
    if (change.uid !== undefined || change.gid !== undefined) {
      const uid = change.uid ?? -1;
      const gid = change.gid ?? -1;
      done = on(
        (h) => backing.fchown(h, uid, gid),
        (dir, name) => backing.chown(dir, name, uid, gid),
      );
      if (done < 0) return done;
      // chown(2) by us, as root, clears both bits; put back what an ordinary chown would have kept.
      let keep = before;
      if (change.killPrivileges === true) {
        keep &= ~S_ISUID;
        if ((before & S_IXGRP) !== 0) keep &= ~S_ISGID;
      }
      if (table.isRegular(slot) && change.mode === undefined && (before & SET_ID) !== 0) {
        done = this.#nodes.setMode(slot, keep & ALLPERMS);
      }
    } else if (change.killPrivileges === true && change.mode === undefined) {
      done = this.killPrivileges(slot);
    }
    if (done >= 0 && change.mode !== undefined) done = this.#nodes.setMode(slot, change.mode & ALLPERMS);
    if (done >= 0 && (change.atime !== undefined || change.mtime !== undefined)) {
      const [a, aNs] = timeOf(change.atime);
      const [m, mNs] = timeOf(change.mtime);
      done = on(
        (h) => backing.futimes(h, a, aNs, m, mNs),
        (dir, name) => backing.utimes(dir, name, a, aNs, m, mNs),
      );
    }
    return done;
  }
}

function timeOf(time: readonly [number, number] | 'now' | undefined): readonly [number, number] {
  if (time === undefined) return [0, UTIME_OMIT];
  return time === 'now' ? [0, UTIME_NOW] : time;
}
