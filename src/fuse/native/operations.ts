import { errno } from '../../base/errno.js';
import { repeat } from '../../base/repeat.js';
import type { Attributes, Caller, NodeId } from '../../filesystem/contract.js';
import type { Core } from '../../filesystem/core.js';
import { ioBuffer, type Pinned } from '../../libc/memory.js';
import type { NativeOperationTable } from './binding.js';
import { rawOf, statOf, textOf, usageOf } from './convert.js';
import { Paths } from './paths.js';
import { NativeListing, NativeReply, type Outcome } from './reply.js';

const O_ACCMODE = 3;
const O_TRUNC = 0o1000;
const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const UNCHANGED = 0xffff_ffff;
/** libfuse 2 reads and writes at most this much at once. */
const MOST_BYTES = 128 << 10;
interface Opened {
  readonly node: NodeId;
  readonly handle: number;
  /** Lookup references that it holds. */
  readonly chain: readonly NodeId[];
  /** File capabilities went at the first write, as with every other filesystem. */
  written: boolean;
}

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
  readonly #opened = new Map<number, Opened>();
  #nextHandle = 1;
  readonly #buffers: Pinned[] = [];
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

  /** Overwrites buffers that nobody uses. */
  wipe(): void {
    for (const buffer of this.#buffers) buffer.bytes.fill(0);
  }

  #open(outcome: Outcome, chain: readonly NodeId[]): number {
    while (this.#opened.has(this.#nextHandle)) this.#nextHandle = (this.#nextHandle % 0x7fff_ffff) + 1;
    const number = this.#nextHandle;
    this.#nextHandle = (number % 0x7fff_ffff) + 1;
    const node = chain.at(-1) as NodeId;
    this.#opened.set(number, { node, handle: outcome.handle as number, chain, written: false });
    return number;
  }
  #on(number: number, done: (result: number) => void, act: (opened: Opened) => void): void {
    this.#others++;
    const opened = this.#opened.get(number);
    if (opened === undefined) done(-errno.EBADF);
    else this.#enter(() => act(opened));
  }
  #setattr(
    path: string,
    change: { mode?: number; uid?: number; gid?: number; size?: number },
    done: (result: number) => void,
    then?: (node: NodeId) => void,
  ): void {
    this.#paths.at(path, done, (node, chain) =>
      this.#core.files.attributes.setattr(
        node,
        change,
        this.#caller,
        this.#paths.reply(chain, done, () => {
          then?.(node);
          done(0);
        }),
      ),
    );
  }
  /** Without extended attributes the kernel does not ask us to. */
  #dropCapabilities(node: NodeId): void {
    this.#core.xattrs.remove(node, 'security.capability', this.#caller, new NativeReply(() => {}));
  }

  readonly table: NativeOperationTable = {
    getattr: (path, done) => {
      this.asked++;
      this.#paths.at(path, done, (node, chain) =>
        this.#core.files.attributes.getattr(
          node,
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
      this.#paths.at(path, done, (node, chain) =>
        this.#core.namespace.readlink(
          node,
          this.#caller,
          this.#paths.reply(chain, done, ({ target }) => {
            const text = textOf(target as string);
            if (text === undefined) done(-errno.EILSEQ);
            else done(0, text);
          }),
        ),
      ),
    readdir: (path, done) =>
      this.#paths.at(path, done, (node, chain) =>
        this.#core.opendir(
          node,
          this.#caller,
          this.#paths.reply(chain, done, ({ handle }) => this.#list(node, handle as number, done)),
        ),
      ),
    mknod: (path, mode, device, done) => {
      const kind = mode & S_IFMT;
      if (kind === S_IFCHR || kind === S_IFBLK) {
        // The mount is nodev, and the binding's device numbers are not the kernel's.
        done(-errno.EPERM);
        return;
      }
      this.#paths.in(path, done, (node, name, chain) => {
        const wanted = { mode, umask: 0 };
        this.#core.making.mknod(node, name, wanted, device, this.#caller, this.#paths.reply(chain, done));
      });
    },
    mkdir: (path, mode, done) =>
      this.#paths.in(path, done, (node, name, chain) =>
        this.#core.making.mkdir(node, name, { mode, umask: 0 }, this.#caller, this.#paths.reply(chain, done)),
      ),
    symlink: (target, path, done) => {
      const raw = rawOf(target);
      if (raw === undefined) done(-errno.EILSEQ);
      else
        this.#paths.in(path, done, (node, name, chain) =>
          this.#core.making.symlink(node, name, raw, this.#caller, this.#paths.reply(chain, done)),
        );
    },
    link: (path, to, done) =>
      this.#paths.at(path, done, (node, chain) =>
        this.#paths.in(to, this.#paths.orForget(chain, done), (parent, name, also) => {
          const reply = this.#paths.reply([...chain, ...also], done);
          this.#core.namespace.link(node, parent, name, this.#caller, reply);
        }),
      ),
    unlink: (path, done) =>
      this.#paths.inHeld(path, done, (node, name, chain) =>
        this.#core.removal.unlink(node, name, this.#caller, this.#paths.reply(chain, done)),
      ),
    rmdir: (path, done) =>
      this.#paths.inHeld(path, done, (node, name, chain) =>
        this.#core.removal.rmdir(node, name, this.#caller, this.#paths.reply(chain, done)),
      ),
    rename: (path, to, done) =>
      this.#paths.in(path, done, (node, name, chain) =>
        this.#paths.inHeld(to, this.#paths.orForget(chain, done), (parent, newName, also) => {
          const reply = this.#paths.reply([...chain, ...also], done);
          const request = { parent: node, name, newParent: parent, newName, flags: 0 };
          this.#core.renaming.rename(request, this.#caller, reply);
        }),
      ),
    chmod: (path, mode, done) => this.#setattr(path, { mode }, done),
    chown: (path, uid, gid, done) =>
      this.#setattr(
        path,
        { ...(uid === UNCHANGED ? {} : { uid }), ...(gid === UNCHANGED ? {} : { gid }) },
        done,
        (node) => this.#dropCapabilities(node),
      ),
    // It passes the access time twice, in milliseconds: the time of the last change would be lost without a word.
    utimens: (_path, _atime, _mtime, done) => done(-errno.EOPNOTSUPP),
    truncate: (path, size, done) =>
      this.#setattr(path, { size }, done, (node) => this.#dropCapabilities(node)),
    ftruncate: (_path, number, size, done) =>
      this.#on(number, done, ({ node, handle }) =>
        this.#core.files.attributes.setattr(
          node,
          { size, handle },
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
            if (outcome.node === undefined) {
              this.#paths.keep(chain);
              done(-outcome.error);
            } else done(0, this.#open(outcome, [...chain, outcome.node]));
          }),
        ),
      ),
    open: (path, flags, done) =>
      this.#paths.at(path, done, (node, chain) => {
        const wanted = {
          write: (flags & O_ACCMODE) !== 0,
          truncate: (flags & O_TRUNC) !== 0,
          killPrivileges: false,
        };
        const reply = new NativeReply((outcome) => {
          if (outcome.error !== 0) {
            this.#paths.keep(chain);
            done(-outcome.error);
          } else done(0, this.#open(outcome, chain));
        });
        this.#core.files.open(node, wanted, this.#caller, reply);
      }),
    read: (_path, number, to, length, offset, done) =>
      this.#on(number, done, ({ node, handle }) => {
        const buffer = this.#buffers.pop() ?? ioBuffer(MOST_BYTES);
        const most = Math.min(length, MOST_BYTES);
        const reply = new NativeReply(({ error, count = 0 }) => {
          buffer.bytes.copy(to, 0, 0, count);
          // Also what a read that failed in the middle left.
          buffer.bytes.fill(0, 0, most);
          this.#buffers.push(buffer);
          done(error === 0 ? count : -error);
        }, buffer);
        this.#core.files.read(node, handle, offset, most, this.#caller, reply);
      }),
    write: (_path, number, from, length, offset, done) =>
      this.#on(number, done, (opened) => {
        const buffer = this.#buffers.pop() ?? ioBuffer(MOST_BYTES);
        const most = Math.min(length, MOST_BYTES);
        from.copy(buffer.bytes, 0, 0, most);
        // libfuse keeps what it received until the next request: it is ours no longer, so it goes.
        from.fill(0);
        if (!opened.written) this.#dropCapabilities(opened.node);
        opened.written = true;
        const { node, handle } = opened;
        const reply = new NativeReply(({ error, count = 0 }) => {
          buffer.bytes.fill(0, 0, most);
          this.#buffers.push(buffer);
          done(error === 0 ? count : -error);
        });
        const request = { offset, length: most, buffer, at: 0, fromCache: false, killPrivileges: false };
        this.#core.files.write(node, handle, request, this.#caller, reply);
      }),
    fsync: (_path, dataOnly, number, done) =>
      this.#on(number, done, ({ node, handle }) => {
        const reply = new NativeReply(({ error }) => done(-error));
        this.#core.files.fsync(node, handle, dataOnly !== 0, this.#caller, reply);
      }),
    fsyncdir: (path, _dataOnly, _handle, done) =>
      this.#paths.at(path, done, (node, chain) =>
        this.#core.fsyncdir(node, this.#caller, this.#paths.reply(chain, done)),
      ),
    release: (_path, number, done) =>
      this.#on(number, done, ({ handle, chain }) => {
        this.#opened.delete(number);
        const reply = new NativeReply(() => {
          this.#paths.forget(chain);
          done(0);
        });
        this.#core.files.release(handle, reply);
      }),
  };

  /** All names of a directory. */
  #list(node: NodeId, handle: number, done: (result: number, names?: string[]) => void): void {
    const raw: string[] = [];
    let next = 0;
    const finish = (result: number): void => {
      this.#core.releasedir(handle, new NativeReply(() => {}));
      const names = raw.map(textOf);
      // A name left out would be lost to whoever copies or deletes by the listing.
      if (result === 0 && names.includes(undefined)) done(-errno.EILSEQ);
      else done(result, names as string[]);
    };
    repeat((again) => {
      const before = raw.length;
      const page = new NativeListing(raw, next, ({ error }) => {
        next = page.next;
        if (error !== 0 || raw.length === before) finish(-error);
        else again();
      });
      this.#core.readdir(node, handle, next, this.#caller, page, page);
    });
  }
}
