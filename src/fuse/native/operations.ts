import { errno } from '../../base/errno.js';
import { repeat } from '../../base/repeat.js';
import type { Attributes, Caller, NodeId, Usage } from '../../filesystem/contract.js';
import type { Core } from '../../filesystem/core.js';
import { ioBuffer, type Pinned } from '../../libc/memory.js';
import type { NativeOperationTable, NativeStat, NativeUsage } from './binding.js';
import { NativeListing, NativeReply, type Outcome } from './reply.js';

const ROOT: NodeId = 1;
const O_ACCMODE = 3;
const O_TRUNC = 0o1000;
const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const UNCHANGED = 0xffff_ffff;
/** libfuse 2 reads and writes at most this much at once. */
const MOST_BYTES = 128 << 10;
/** What its conversion put where a name was not UTF-8. */
const REPLACED = '\ufffd';

interface Opened {
  readonly node: NodeId;
  readonly handle: number;
  /** Lookup references that it holds. */
  readonly chain: readonly NodeId[];
  /** File capabilities went at the first write, as with every other filesystem. */
  written: boolean;
}

type Then = (error: number, chain: readonly NodeId[]) => void;

/** Raw bytes as the core has them, of a path or target that the binding gives; undefined: it was not UTF-8. */
function rawOf(text: string): string | undefined {
  return text.includes(REPLACED) ? undefined : Buffer.from(text, 'utf8').toString('latin1');
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** As the binding takes it, or undefined: not UTF-8, or with the character that stands for what was not. */
function textOf(raw: string): string | undefined {
  try {
    const text = decoder.decode(Buffer.from(raw, 'latin1'));
    return text.includes(REPLACED) ? undefined : text;
  } catch {
    return undefined;
  }
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
  readonly #opened = new Map<number, Opened>();
  #nextHandle = 1;
  readonly #buffers: Pinned[] = [];
  /** References of the last path: the next is often near, and what nobody refers to is forgotten. */
  #held: readonly NodeId[] = [];
  /** Attributes that were asked for: libfuse makes no inode without. */
  asked = 0;
  handled = 0;

  constructor(core: Core, enter: (act: () => void) => void) {
    this.#core = core;
    this.#enter = enter;
  }

  /** Overwrites buffers that nobody uses. */
  wipe(): void {
    for (const buffer of this.#buffers) buffer.bytes.fill(0);
  }

  #keep(chain: readonly NodeId[]): void {
    const before = this.#held;
    this.#held = chain;
    this.#forget(before);
  }
  #forget(chain: readonly NodeId[]): void {
    for (const node of chain) if (node !== ROOT) this.#core.nodes.forget(node, 1);
  }

  /** Looks a path's components up, one after another. */
  #walk(parts: readonly string[], then: Then): void {
    const chain: NodeId[] = [ROOT];
    let index = 0;
    repeat((again) => {
      const part = parts[index++];
      if (part === undefined) {
        then(0, chain);
        return;
      }
      const reply = new NativeReply(({ error, node }) => {
        if (node === undefined) then(error, chain);
        else {
          chain.push(node);
          again();
        }
      });
      this.#core.namespace.lookup(chain.at(-1) as NodeId, part, this.#caller, reply);
    });
  }

  /** What `path` names. `done` with -errno where that can't be said. */
  #at(
    path: string,
    done: (result: number) => void,
    act: (node: NodeId, chain: readonly NodeId[], last: string) => void,
    parent = false,
  ): void {
    this.handled++;
    const raw = rawOf(path);
    if (raw === undefined) {
      done(-errno.EILSEQ);
      return;
    }
    const parts = raw.split('/').filter((part) => part !== '');
    const last = parent ? (parts.pop() ?? '') : '';
    this.#enter(() =>
      this.#walk(parts, (error, chain) => {
        if (error === 0) act(chain.at(-1) as NodeId, chain, last);
        else {
          this.#keep(chain);
          done(-error);
        }
      }),
    );
  }
  /** The directory of `path`, and the name in it. */
  #in(
    path: string,
    done: (result: number) => void,
    act: (node: NodeId, name: string, chain: readonly NodeId[]) => void,
  ): void {
    this.#at(path, done, (node, chain, name) => act(node, name, chain), true);
  }
  /** The same, with a reference to what has that name, if anything: as the kernel holds one to what it takes away. */
  #inHeld(
    path: string,
    done: (result: number) => void,
    act: (node: NodeId, name: string, chain: readonly NodeId[]) => void,
  ): void {
    this.#in(path, done, (node, name, chain) => {
      const reply = new NativeReply(({ node: found }) =>
        act(node, name, found === undefined ? chain : [...chain, found]),
      );
      this.#core.namespace.lookup(node, name, this.#caller, reply);
    });
  }
  /** A reply that lets the path go, then says 0 or -errno. */
  #reply(
    chain: readonly NodeId[],
    done: (result: number) => void,
    then?: (outcome: Outcome) => void,
  ): NativeReply {
    return new NativeReply((outcome) => {
      this.#keep(outcome.node === undefined ? chain : [...chain, outcome.node]);
      if (outcome.error !== 0 || then === undefined) done(-outcome.error);
      else then(outcome);
    });
  }
  /** For a second path that can't be walked: the first is let go too. */
  #orForget(chain: readonly NodeId[], done: (result: number) => void): (result: number) => void {
    return (result) => {
      this.#forget(chain);
      done(result);
    };
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
    this.handled++;
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
    this.#at(path, done, (node, chain) =>
      this.#core.files.attributes.setattr(
        node,
        change,
        this.#caller,
        this.#reply(chain, done, () => {
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
      this.#at(path, done, (node, chain) =>
        this.#core.files.attributes.getattr(
          node,
          false,
          this.#caller,
          this.#reply(chain, done, ({ attributes }) => done(0, statOf(attributes as Attributes))),
        ),
      );
    },
    statfs: (_path, done) => {
      this.handled++;
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
      this.#at(path, done, (node, chain) =>
        this.#core.namespace.readlink(
          node,
          this.#caller,
          this.#reply(chain, done, ({ target }) => {
            const text = textOf(target as string);
            if (text === undefined) done(-errno.EILSEQ);
            else done(0, text);
          }),
        ),
      ),
    readdir: (path, done) =>
      this.#at(path, done, (node, chain) =>
        this.#core.opendir(
          node,
          this.#caller,
          this.#reply(chain, done, ({ handle }) => this.#list(node, handle as number, done)),
        ),
      ),
    mknod: (path, mode, device, done) => {
      const kind = mode & S_IFMT;
      if (kind === S_IFCHR || kind === S_IFBLK) {
        // The mount is nodev, and the binding's device numbers are not the kernel's.
        done(-errno.EPERM);
        return;
      }
      this.#in(path, done, (node, name, chain) => {
        const wanted = { mode, umask: 0 };
        this.#core.making.mknod(node, name, wanted, device, this.#caller, this.#reply(chain, done));
      });
    },
    mkdir: (path, mode, done) =>
      this.#in(path, done, (node, name, chain) =>
        this.#core.making.mkdir(node, name, { mode, umask: 0 }, this.#caller, this.#reply(chain, done)),
      ),
    symlink: (target, path, done) => {
      const raw = rawOf(target);
      if (raw === undefined) done(-errno.EILSEQ);
      else
        this.#in(path, done, (node, name, chain) =>
          this.#core.making.symlink(node, name, raw, this.#caller, this.#reply(chain, done)),
        );
    },
    link: (path, to, done) =>
      this.#at(path, done, (node, chain) =>
        this.#in(to, this.#orForget(chain, done), (parent, name, also) => {
          const reply = this.#reply([...chain, ...also], done);
          this.#core.namespace.link(node, parent, name, this.#caller, reply);
        }),
      ),
    unlink: (path, done) =>
      this.#inHeld(path, done, (node, name, chain) =>
        this.#core.removal.unlink(node, name, this.#caller, this.#reply(chain, done)),
      ),
    rmdir: (path, done) =>
      this.#inHeld(path, done, (node, name, chain) =>
        this.#core.removal.rmdir(node, name, this.#caller, this.#reply(chain, done)),
      ),
    rename: (path, to, done) =>
      this.#in(path, done, (node, name, chain) =>
        this.#inHeld(to, this.#orForget(chain, done), (parent, newName, also) => {
          const reply = this.#reply([...chain, ...also], done);
          this.#core.renaming.rename(node, name, parent, newName, 0, this.#caller, reply);
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
      this.#in(path, done, (parent, name, chain) =>
        this.#core.files.create(
          parent,
          name,
          { mode, umask: 0 },
          this.#caller,
          new NativeReply((outcome) => {
            if (outcome.node === undefined) {
              this.#keep(chain);
              done(-outcome.error);
            } else done(0, this.#open(outcome, [...chain, outcome.node]));
          }),
        ),
      ),
    open: (path, flags, done) =>
      this.#at(path, done, (node, chain) => {
        const wanted = {
          write: (flags & O_ACCMODE) !== 0,
          truncate: (flags & O_TRUNC) !== 0,
          killPrivileges: false,
        };
        const reply = new NativeReply((outcome) => {
          if (outcome.error !== 0) {
            this.#keep(chain);
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
        const flags = { fromCache: false, killPrivileges: false };
        this.#core.files.write(node, handle, offset, buffer, 0, most, flags, this.#caller, reply);
      }),
    fsync: (_path, dataOnly, number, done) =>
      this.#on(number, done, ({ node, handle }) => {
        const reply = new NativeReply(({ error }) => done(-error));
        this.#core.files.fsync(node, handle, dataOnly !== 0, this.#caller, reply);
      }),
    fsyncdir: (path, _dataOnly, _handle, done) =>
      this.#at(path, done, (node, chain) =>
        this.#core.fsyncdir(node, this.#caller, this.#reply(chain, done)),
      ),
    release: (_path, number, done) =>
      this.#on(number, done, ({ handle, chain }) => {
        this.#opened.delete(number);
        const reply = new NativeReply(() => {
          this.#forget(chain);
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

function statOf(attributes: Attributes): NativeStat {
  // Times before 1970 would come out as the far future.
  const ms = (seconds: number, ns: number): number => Math.max(0, seconds * 1000 + Math.floor(ns / 1e6));
  const { mode, uid, gid, size, nlink, rdev, blocks } = attributes;
  return {
    mode,
    uid,
    gid,
    size,
    nlink,
    rdev,
    blksize: 4096,
    blocks,
    atime: ms(attributes.atime, attributes.atimeNs),
    mtime: ms(attributes.mtime, attributes.mtimeNs),
    ctime: ms(attributes.ctime, attributes.ctimeNs),
  };
}

/** statvfs in numbers of 32 bits: larger filesystems are counted in larger units. */
function usageOf(usage: Usage): NativeUsage {
  let unit = 1;
  while (usage.blocks / unit > 0xffff_ffff) unit *= 2;
  const blocks = (count: number): number => Math.floor(count / unit);
  const files = (count: number): number => Math.min(count, 0xffff_ffff);
  return {
    bsize: usage.blockSize,
    frsize: usage.blockSize * unit,
    blocks: blocks(usage.blocks),
    bfree: blocks(usage.blocksFree),
    bavail: blocks(usage.blocksAvailable),
    files: files(usage.files),
    ffree: files(usage.filesFree),
    favail: files(usage.filesFree),
    namemax: 255,
  };
}
