import { errno } from '../base/errno.js';
import type { AttributeChange, Caller } from '../filesystem/contract.js';
import type { Core } from '../filesystem/core.js';
import { ioBuffer, type Pinned } from '../libc/memory.js';
import { MAX_WRITE } from './abi/init.js';
import { IN_HEADER_BYTES, type Opcode, opcodes } from './abi/opcodes.js';
import { Request } from './abi/request.js';
import { FuseReply, ReplyBuffers } from './reply.js';

const O_ACCMODE = 3;
const O_TRUNC = 0o1000;
const OPEN_KILL_SUIDGID = 1;
const WRITE_CACHE = 1;
const WRITE_KILL_SUIDGID = 4;
const GETATTR_FH = 1;
const FSYNC_DATA = 1;

/** Bits of fuse_setattr_in.valid (FATTR_*). */
const fattr = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 16,
  MTIME: 32,
  FH: 64,
  ATIME_NOW: 128,
  MTIME_NOW: 256,
  KILL_SUIDGID: 2048,
} as const;

/** Callers that took turns within so long (ms) are several. */
const SEVERAL_MS = 1000;
const MOST_CALLERS = 64;

type Handler = (request: Request, caller: Caller, reply: FuseReply, buffer: Pinned) => void;

/** What the daemon learns of the connection. */
export interface SessionEvents {
  ready(minor: number): void;
}

/** Turns kernel requests into operations of the core. One request at a time, on the filesystem worker. */
export class Session {
  readonly #core: Core;
  readonly #fd: number;
  readonly #events: SessionEvents;
  readonly #request = new Request();
  readonly #buffers = new ReplyBuffers();
  /** Thread ids of our notifiers: their requests are served while a scope is being locked. */
  readonly notifiers = new Set<number>();
  #receive: Pinned = ioBuffer(MAX_WRITE + 4096);
  readonly #idle: Pinned[] = [];
  #handling = false;
  #wipeAfter = false;
  /** Requests handled since the start. */
  handled = 0;
  #caller = 0;
  #lastAt = 0;
  /** When others were served last. */
  readonly #callers = new Map<number, number>();
  #alternated = Number.NEGATIVE_INFINITY;
  /** The request that kept this thread longest: while it ran no other was served. */
  longest = { operation: 'none', milliseconds: 0 };

  constructor(core: Core, fd: number, events: SessionEvents) {
    this.#core = core;
    this.#fd = fd;
    this.#events = events;
  }

  /** Whether requests of more than one caller came within the last second. */
  get several(): boolean {
    return performance.now() - this.#alternated < SEVERAL_MS;
  }

  /** Where the next request is to be read to. */
  get buffer(): Pinned {
    return this.#receive;
  }

  /** A scope was wiped: what buffers still hold of it goes too; a request being handled is finished first. */
  wipe(): void {
    if (this.#handling) {
      this.#wipeAfter = true;
      return;
    }
    this.#wipeAfter = false;
    this.#sweep();
    this.#buffers.wipe();
    this.#receive.bytes.fill(0);
    for (const buffer of this.#idle) buffer.bytes.fill(0);
  }

  /** Handles the `length` bytes read into {@link buffer}. */
  handle(length: number): void {
    this.handled++;
    this.#handling = true;
    const started = performance.now();
    this.#dispatch(length);
    const milliseconds = performance.now() - started;
    if (milliseconds > this.longest.milliseconds) {
      this.longest = { operation: this.#request.opcode ?? 'unknown', milliseconds };
    }
    this.#note(this.#request.pid, started);
    this.#handling = false;
    if (this.#wipeAfter) this.wipe();
  }

  /** Callers that take turns within a second are several. */
  #note(pid: number, started: number): void {
    // 0: a kernel thread, as that of a read ahead.
    if (pid === 0) return;
    if (pid !== this.#caller) {
      // One that comes back: processes that follow each other are one caller.
      if (started - (this.#callers.get(pid) ?? 0) < SEVERAL_MS) this.#alternated = started;
      if (this.#callers.size >= MOST_CALLERS) this.#callers.clear();
      this.#callers.set(this.#caller, this.#lastAt);
      this.#caller = pid;
    }
    this.#lastAt = started;
  }

  #dispatch(length: number): void {
    const request = this.#request;
    const buffer = this.#receive;
    const wellFormed = request.decode(buffer, length);
    const { opcode } = request;
    const listing = opcode === 'READDIR' || opcode === 'READDIRPLUS';
    const reply = new FuseReply(
      this.#fd,
      this.#buffers,
      request.uniqueLow,
      request.uniqueHigh,
      wellFormed && listing ? request.u32(16) : 0,
      opcode === 'READDIRPLUS',
    );
    if (!wellFormed) {
      reply.error(errno.EIO);
      return;
    }
    const handler = opcode === undefined ? undefined : this.#handlers[opcode];
    if (handler === undefined) {
      reply.error(errno.ENOSYS);
      return;
    }
    const { uid, gid, pid } = request;
    handler(request, { uid, gid, pid, trusted: this.notifiers.has(pid) }, reply, buffer);
    if (opcode === 'WRITE' && !reply.done) {
      // The operation still needs the data: it keeps this buffer, the next request gets another.
      this.#receive = this.#idle.pop() ?? ioBuffer(MAX_WRITE + 4096);
      this.#keep(reply, buffer);
    }
  }

  readonly #kept: { reply: FuseReply; buffer: Pinned }[] = [];
  #keep(reply: FuseReply, buffer: Pinned): void {
    this.#kept.push({ reply, buffer });
    this.#sweep();
  }
  /** Takes back the buffers of answered requests. */
  #sweep(): void {
    for (let i = this.#kept.length - 1; i >= 0; i--) {
      const entry = this.#kept[i];
      if (entry?.reply.done === true) {
        this.#idle.push(entry.buffer);
        this.#kept.splice(i, 1);
      }
    }
  }

  readonly #handlers: Record<Opcode, Handler> = {
    INIT: (request, _caller, reply) => {
      const [major, minor] = [request.u32(0), request.u32(4)];
      const extended = request.payload >= 4;
      const negotiated = reply.init({
        major,
        minor,
        maxReadahead: request.u32(8),
        low: request.u32(12),
        high: extended ? request.u32(16) : 0,
      });
      this.#events.ready(negotiated.minor);
    },
    DESTROY: (_request, _caller, reply) => reply.ok(),

    LOOKUP: (request, caller, reply) =>
      this.#core.namespace.lookup(request.node, name(request), caller, reply),
    // No reply exists for these two.
    FORGET: (request) => this.#core.nodes.forget(request.node, request.u64(0)),
    BATCH_FORGET: (request) => {
      const count = Math.min(request.u32(0), Math.floor(request.payload / 16));
      for (let i = 0; i < count; i++) {
        this.#core.nodes.forget(request.u64(8 + i * 16), request.u64(16 + i * 16));
      }
    },
    GETATTR: (request, caller, reply) =>
      this.#core.files.attributes.getattr(request.node, (request.u32(0) & GETATTR_FH) !== 0, caller, reply),
    SETATTR: (request, caller, reply) => {
      const change = attributeChange(request);
      if (change.size !== undefined && Number.isNaN(change.size)) reply.error(errno.EFBIG);
      else this.#core.files.attributes.setattr(request.node, change, caller, reply);
    },
    READLINK: (request, caller, reply) => this.#core.namespace.readlink(request.node, caller, reply),
    SYMLINK: (request, caller, reply) =>
      this.#core.namespace.symlink(request.node, name(request), name(request, 1), caller, reply),
    // Fifos, sockets and device nodes come with the POSIX issue.
    MKNOD: (_request, _caller, reply) => reply.error(errno.EOPNOTSUPP),
    MKDIR: (request, caller, reply) =>
      this.#core.namespace.mkdir(request.node, name(request), request.u32(0), caller, reply),
    UNLINK: (request, caller, reply) => this.#core.removal.unlink(request.node, name(request), caller, reply),
    RMDIR: (request, caller, reply) => this.#core.removal.rmdir(request.node, name(request), caller, reply),
    RENAME: (request, caller, reply) =>
      this.#core.renaming.rename(
        request.node,
        name(request),
        request.u64(0),
        name(request, 1),
        0,
        caller,
        reply,
      ),
    RENAME2: (request, caller, reply) =>
      this.#core.renaming.rename(
        request.node,
        name(request),
        request.u64(0),
        name(request, 1),
        request.u32(8),
        caller,
        reply,
      ),
    LINK: (request, caller, reply) =>
      this.#core.namespace.link(request.u64(0), request.node, name(request), caller, reply),
    OPEN: (request, caller, reply) => {
      const flags = request.u32(0);
      this.#core.files.open(
        request.node,
        {
          write: (flags & O_ACCMODE) !== 0,
          truncate: (flags & O_TRUNC) !== 0,
          killPrivileges: (request.u32(4) & OPEN_KILL_SUIDGID) !== 0,
        },
        caller,
        reply,
      );
    },
    CREATE: (request, caller, reply) =>
      this.#core.files.create(request.node, name(request), request.u32(4), caller, reply),
    READ: (request, caller, reply) => {
      const offset = request.u64(8);
      const length = request.u32(16);
      if (Number.isNaN(offset) || length > MAX_WRITE) reply.error(errno.EINVAL);
      else this.#core.files.read(request.node, request.u64(0), offset, length, caller, reply);
    },
    WRITE: (request, caller, reply, buffer) => {
      const offset = request.u64(8);
      const length = request.u32(16);
      const flags = request.u32(20);
      if (Number.isNaN(offset)) {
        reply.error(errno.EFBIG);
      } else if (length !== request.payload || length > MAX_WRITE) {
        reply.error(errno.EINVAL);
      } else {
        this.#core.files.write(
          request.node,
          request.u64(0),
          offset,
          buffer,
          IN_HEADER_BYTES + opcodes.WRITE.fixed,
          length,
          {
            fromCache: (flags & WRITE_CACHE) !== 0,
            killPrivileges: (flags & WRITE_KILL_SUIDGID) !== 0,
          },
          caller,
          reply,
        );
      }
    },
    STATFS: (_request, _caller, reply) => this.#core.statfs(reply),
    RELEASE: (request, _caller, reply) => this.#core.files.release(request.u64(0), reply),
    FSYNC: (request, caller, reply) =>
      this.#core.files.fsync(
        request.node,
        request.u64(0),
        (request.u32(8) & FSYNC_DATA) !== 0,
        caller,
        reply,
      ),
    // Answered once: nothing is buffered past a WRITE's reply, and the kernel then saves a round trip a close.
    FLUSH: (_request, _caller, reply) => reply.error(errno.ENOSYS),
    OPENDIR: (request, caller, reply) => this.#core.opendir(request.node, caller, reply),
    READDIR: (request, caller, reply) => this.#list(request, caller, reply),
    READDIRPLUS: (request, caller, reply) => this.#list(request, caller, reply),
    RELEASEDIR: (request, _caller, reply) => this.#core.releasedir(request.u64(0), reply),
    FSYNCDIR: (request, caller, reply) => this.#core.fsyncdir(request.node, caller, reply),

    // The kernel remembers ENOSYS and does without: xattrs are EOPNOTSUPP, access and copies are its own.
    SETXATTR: unsupported,
    GETXATTR: unsupported,
    LISTXATTR: unsupported,
    REMOVEXATTR: unsupported,
    ACCESS: unsupported,
    INTERRUPT: unsupported,
    FALLOCATE: unsupported,
    LSEEK: unsupported,
    COPY_FILE_RANGE: unsupported,
    STATX: unsupported,
    BMAP: unsupported,
    POLL: unsupported,
    IOCTL: unsupported,
    SYNCFS: unsupported,
    // Not negotiated: flock and fcntl locks are the kernel's own.
    GETLK: unsupported,
    SETLK: unsupported,
    SETLKW: unsupported,
    NOTIFY_REPLY: unsupported,
    TMPFILE: (_request, _caller, reply) => reply.error(errno.EOPNOTSUPP),
  };

  #list(request: Request, caller: Caller, reply: FuseReply): void {
    const offset = request.u64(8);
    if (Number.isNaN(offset)) reply.error(errno.EINVAL);
    else this.#core.readdir(request.node, request.u64(0), offset, caller, reply, reply);
  }
}

function unsupported(_request: Request, _caller: Caller, reply: FuseReply): void {
  reply.error(errno.ENOSYS);
}

function name(request: Request, index = 0): string {
  return request.names[index] as string;
}

/** struct fuse_setattr_in. */
function attributeChange(request: Request): AttributeChange {
  const valid = request.u32(0);
  const has = (bit: number): boolean => (valid & bit) !== 0;
  const change: AttributeChange = {};
  if (has(fattr.MODE)) change.mode = request.u32(68);
  if (has(fattr.UID)) change.uid = request.u32(76);
  if (has(fattr.GID)) change.gid = request.u32(80);
  if (has(fattr.SIZE)) change.size = request.u64(16);
  if (has(fattr.ATIME)) {
    change.atime = has(fattr.ATIME_NOW) ? 'now' : [request.i64(32), request.u32(56)];
  }
  if (has(fattr.MTIME)) {
    change.mtime = has(fattr.MTIME_NOW) ? 'now' : [request.i64(40), request.u32(60)];
  }
  if (has(fattr.KILL_SUIDGID)) change.killPrivileges = true;
  if (has(fattr.FH)) change.handle = request.u64(8);
  return change;
}
