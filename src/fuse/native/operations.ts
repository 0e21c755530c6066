import { errno } from '../../base/errno.js';
import type { Attributes, Caller, NodeId } from '../../filesystem/contract.js';
import type { Core } from '../../filesystem/core.js';
import { S_IFBLK, S_IFCHR, S_IFMT } from '../../libc/stat.js';
import { BufferPool } from '../buffer-pool.js';
import { openRequest } from '../open-request.js';
import type { NativeOperationTable } from './binding.js';
import { rawOf, statOf, textOf, usageOf } from './convert.js';
import { listNames } from './listing.js';
import { type OpenFile, OpenFiles } from './open-files.js';
import { Paths } from './paths.js';
import { NativeReply } from './reply.js';

const UNCHANGED = 0xffff_ffff;
/** libfuse 2 reads and writes at most this much at once. */
const MOST_BYTES = 128 << 10;

/**
 * The core behind the npm binding: paths instead of nodes, one user, nothing cached. `enter` runs each call of the
 * core.
 */
export class NativeOperations {
  readonly #core: Core;
  readonly #enter: (act: () => void) => void;
  // The mount is the mounting user's alone, and the binding does not say who calls.
  readonly #caller: Caller = {
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    pid: 0,
    trusted: false,
  };
  readonly #paths: Paths;
  readonly #open = new OpenFiles();
  readonly #buffers = new BufferPool(MOST_BYTES);
  /** Attributes that were asked for: libfuse makes no inode without. */
  asked = 0;
  #others = 0;

  constructor(core: Core, enter: (act: () => void) => void) {
    this.#core = core;
    this.#enter = enter;
    this.#paths = new Paths(core, this.#caller, enter);
  }

  /** Operations so far. */
  get handled(): number {
    return this.#others + this.#paths.walked;
  }

  /** Overwrites the idle buffers. */
  wipe(): void {
    this.#buffers.wipe();
  }

  #on(fd: number, done: (result: number) => void, act: (file: OpenFile) => void): void {
    this.#others++;
    const file = this.#open.get(fd);
    if (file === undefined) done(-errno.EBADF);
    else this.#enter(() => act(file));
  }
  #setattr(
    path: string,
    change: { mode?: number; uid?: number; gid?: number; size?: number },
    done: (result: number) => void,
    then?: (nodeid: NodeId) => void,
  ): void {
    this.#paths.at(path, done, (nodeid, chain) =>
      this.#core.attributes.setattr(
        nodeid,
        change,
        this.#caller,
        this.#paths.reply(chain, done, () => {
          then?.(nodeid);
          done(0);
        }),
      ),
    );
  }
  /** Without extended attributes the kernel does not ask us to. */
  #dropCapabilities(nodeid: NodeId): void {
    this.#core.xattrs.remove(nodeid, 'security.capability', this.#caller, new NativeReply(() => {}));
  }

  readonly table: NativeOperationTable = {
    getattr: (path, done) => {
      this.asked++;
      this.#paths.at(path, done, (nodeid, chain) =>
        this.#core.attributes.getattr(
          nodeid,
          false,
          this.#caller,
          this.#paths.reply(chain, done, ({ attributes }) => done(0, statOf(attributes as Attributes))),
        ),
      );
    },
    statfs: (_path, done) => {
      this.#others++;
      this.#enter(() =>
        this.#core.statfs(
          new NativeReply(({ error, usage }) => {
            if (usage === undefined) done(-error);
            else done(0, usageOf(usage));
          }),
        ),
      );
    },
    readlink: (path, done) =>
      this.#paths.at(path, done, (nodeid, chain) =>
        this.#core.namespace.readlink(
          nodeid,
          this.#caller,
          this.#paths.reply(chain, done, ({ target }) => {
            const text = textOf(target as string);
            if (text === undefined) done(-errno.EILSEQ);
            else done(0, text);
          }),
        ),
      ),
    readdir: (path, done) =>
      this.#paths.at(path, done, (nodeid, chain) =>
        this.#core.opendir(
          nodeid,
          this.#caller,
          this.#paths.reply(chain, done, ({ fh }) =>
            listNames(this.#core, nodeid, fh as number, this.#caller, done),
          ),
        ),
      ),
    mknod: (path, mode, device, done) => {
      const kind = mode & S_IFMT;
      if (kind === S_IFCHR || kind === S_IFBLK) {
        // The mount is nodev, and the binding's device numbers are not the kernel's.
        done(-errno.EPERM);
        return;
      }
      this.#paths.in(path, done, (nodeid, name, chain) => {
        const wanted = { mode, umask: 0 };
        this.#core.creation.mknod(nodeid, name, wanted, device, this.#caller, this.#paths.reply(chain, done));
      });
    },
    mkdir: (path, mode, done) =>
      this.#paths.in(path, done, (nodeid, name, chain) =>
        this.#core.creation.mkdir(
          nodeid,
          name,
          { mode, umask: 0 },
          this.#caller,
          this.#paths.reply(chain, done),
        ),
      ),
    symlink: (target, path, done) => {
      const raw = rawOf(target);
      if (raw === undefined) done(-errno.EILSEQ);
      else
        this.#paths.in(path, done, (nodeid, name, chain) =>
          this.#core.creation.symlink(nodeid, name, raw, this.#caller, this.#paths.reply(chain, done)),
        );
    },
    link: (path, to, done) =>
      this.#paths.at(path, done, (nodeid, chain) =>
        this.#paths.in(to, this.#paths.orForget(chain, done), (parent, name, also) => {
          const reply = this.#paths.reply([...chain, ...also], done);
          this.#core.namespace.link(nodeid, parent, name, this.#caller, reply);
        }),
      ),
    unlink: (path, done) =>
      this.#paths.inHeld(path, done, (nodeid, name, chain) =>
        this.#core.removal.unlink(nodeid, name, this.#caller, this.#paths.reply(chain, done)),
      ),
    rmdir: (path, done) =>
      this.#paths.inHeld(path, done, (nodeid, name, chain) =>
        this.#core.removal.rmdir(nodeid, name, this.#caller, this.#paths.reply(chain, done)),
      ),
    rename: (path, to, done) =>
      this.#paths.in(path, done, (nodeid, name, chain) =>
        this.#paths.inHeld(to, this.#paths.orForget(chain, done), (parent, newName, also) => {
          const reply = this.#paths.reply([...chain, ...also], done);
          const request = { parent: nodeid, name, newParent: parent, newName, flags: 0 };
          this.#core.rename.rename(request, this.#caller, reply);
        }),
      ),
    chmod: (path, mode, done) => this.#setattr(path, { mode }, done),
    chown: (path, uid, gid, done) =>
      this.#setattr(
        path,
        { ...(uid === UNCHANGED ? {} : { uid }), ...(gid === UNCHANGED ? {} : { gid }) },
        done,
        (nodeid) => this.#dropCapabilities(nodeid),
      ),
    // The binding passes the access time twice, in milliseconds: the time of the last change would be lost without a word.
    utimens: (_path, _atime, _mtime, done) => done(-errno.EOPNOTSUPP),
    truncate: (path, size, done) =>
      this.#setattr(path, { size }, done, (nodeid) => this.#dropCapabilities(nodeid)),
    ftruncate: (_path, fd, size, done) =>
      this.#on(fd, done, ({ nodeid, fh }) =>
        this.#core.attributes.setattr(
          nodeid,
          { size, handle: fh },
          this.#caller,
          new NativeReply(({ error }) => done(-error)),
        ),
      ),
    create: (path, mode, done) =>
      this.#paths.in(path, done, (parent, name, chain) =>
        this.#core.files.create(
          parent,
          name,
          { mode, umask: 0 },
          this.#caller,
          new NativeReply((outcome) => {
            if (outcome.nodeid === undefined) {
              this.#paths.keep(chain);
              done(-outcome.error);
            } else done(0, this.#open.add(outcome.fh as number, [...chain, outcome.nodeid]));
          }),
        ),
      ),
    open: (path, flags, done) =>
      this.#paths.at(path, done, (nodeid, chain) => {
        const reply = new NativeReply((outcome) => {
          if (outcome.error !== 0) {
            this.#paths.keep(chain);
            done(-outcome.error);
          } else done(0, this.#open.add(outcome.fh as number, chain));
        });
        this.#core.files.open(nodeid, openRequest(flags, false), this.#caller, reply);
      }),
    read: (_path, fd, to, length, offset, done) =>
      this.#on(fd, done, ({ nodeid, fh }) => {
        const buffer = this.#buffers.take();
        const most = Math.min(length, MOST_BYTES);
        const reply = new NativeReply(({ error, count = 0 }) => {
          buffer.bytes.copy(to, 0, 0, count);
          // Also what a read that failed in the middle left.
          buffer.bytes.fill(0, 0, most);
          this.#buffers.give(buffer);
          done(error === 0 ? count : -error);
        }, buffer);
        this.#core.files.read(nodeid, fh, { offset, length: most }, this.#caller, reply);
      }),
    write: (_path, fd, from, length, offset, done) =>
      this.#on(fd, done, (file) => {
        const buffer = this.#buffers.take();
        const most = Math.min(length, MOST_BYTES);
        from.copy(buffer.bytes, 0, 0, most);
        // libfuse keeps what it received until the next request: it is ours no longer, so it goes.
        from.fill(0);
        if (!file.written) this.#dropCapabilities(file.nodeid);
        file.written = true;
        const { nodeid, fh } = file;
        const reply = new NativeReply(({ error, count = 0 }) => {
          buffer.bytes.fill(0, 0, most);
          this.#buffers.give(buffer);
          done(error === 0 ? count : -error);
        });
        const request = { offset, length: most, buffer, at: 0, fromCache: false, killPrivileges: false };
        this.#core.files.write(nodeid, fh, request, this.#caller, reply);
      }),
    fsync: (_path, dataOnly, fd, done) =>
      this.#on(fd, done, ({ nodeid, fh }) => {
        const reply = new NativeReply(({ error }) => done(-error));
        this.#core.files.fsync(nodeid, fh, dataOnly !== 0, this.#caller, reply);
      }),
    fsyncdir: (path, _dataOnly, _fd, done) =>
      this.#paths.at(path, done, (nodeid, chain) =>
        this.#core.fsyncdir(nodeid, this.#caller, this.#paths.reply(chain, done)),
      ),
    release: (_path, fd, done) =>
      this.#on(fd, done, ({ fh, chain }) => {
        this.#open.delete(fd);
        const reply = new NativeReply(() => {
          this.#paths.forget(chain);
          done(0);
        });
        this.#core.files.release(fh, reply);
      }),
  };
}
