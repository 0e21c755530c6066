import { errno } from '../base/errno.js';
import type { Allocation } from '../filesystem/content/file-allocate.js';
import type { AttributeChange, Caller, NewObject } from '../filesystem/contract.js';
import type { Core } from '../filesystem/core.js';
import type { Pinned } from '../libc/memory.js';
import { MAX_WRITE } from './abi/init.js';
import { IN_HEADER_BYTES, type Opcode, opcodes } from './abi/opcodes.js';
import type { Request } from './abi/request.js';
import type { FuseReply } from './reply.js';

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

/** Bits of fuse_setxattr_in.setxattr_flags. */
const SETXATTR_ACL_KILL_SGID = 1;
/** fallocate(2). */
const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;
const ZERO_RANGE = 16;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

type Handler = (request: Request, caller: Caller, reply: FuseReply, buffer: Pinned) => void;
export type Handlers = Record<Opcode, Handler>;

/** What the daemon learns of the connection. */
export interface SessionEvents {
  ready(minor: number): void;
}

/** What each request of the kernel means to the core. */
export function handlers(core: Core, writeback: boolean, events: SessionEvents): Handlers {
  return {
    INIT: (request, _caller, reply) => {
      const [major, minor] = [request.u32(0), request.u32(4)];
      const extended = request.payload >= 4;
      const negotiated = reply.init({
        major,
        minor,
        maxReadahead: request.u32(8),
        low: request.u32(12),
        high: extended ? request.u32(16) : 0,
        writeback,
      });
      events.ready(negotiated.minor);
    },
    DESTROY: (_request, _caller, reply) => reply.ok(),

    LOOKUP: (request, caller, reply) => core.namespace.lookup(request.node, name(request), caller, reply),
    // No reply exists for these two.
    FORGET: (request) => core.nodes.forget(request.node, request.u64(0)),
    BATCH_FORGET: (request) => {
      const count = Math.min(request.u32(0), Math.floor(request.payload / 16));
      for (let i = 0; i < count; i++) {
        core.nodes.forget(request.u64(8 + i * 16), request.u64(16 + i * 16));
      }
    },
    GETATTR: (request, caller, reply) =>
      core.files.attributes.getattr(request.node, (request.u32(0) & GETATTR_FH) !== 0, caller, reply),
    SETATTR: (request, caller, reply) => {
      const change = attributeChange(request);
      if (change.size !== undefined && Number.isNaN(change.size)) reply.error(errno.EFBIG);
      else core.files.attributes.setattr(request.node, change, caller, reply);
    },
    READLINK: (request, caller, reply) => core.namespace.readlink(request.node, caller, reply),
    SYMLINK: (request, caller, reply) =>
      core.making.symlink(request.node, name(request), name(request, 1), caller, reply),
    // A regular file too: open(2) makes it in one step by CREATE, but NFS servers and mknod(2) do not.
    MKNOD: (request, caller, reply) => {
      const wanted = { mode: request.u32(0), umask: request.u32(8) };
      core.making.mknod(request.node, name(request), wanted, request.u32(4), caller, reply);
    },
    MKDIR: (request, caller, reply) =>
      core.making.mkdir(
        request.node,
        name(request),
        { mode: request.u32(0), umask: request.u32(4) },
        caller,
        reply,
      ),
    UNLINK: (request, caller, reply) => core.removal.unlink(request.node, name(request), caller, reply),
    RMDIR: (request, caller, reply) => core.removal.rmdir(request.node, name(request), caller, reply),
    RENAME: (request, caller, reply) =>
      core.renaming.rename(
        {
          parent: request.node,
          name: name(request),
          newParent: request.u64(0),
          newName: name(request, 1),
          flags: 0,
        },
        caller,
        reply,
      ),
    RENAME2: (request, caller, reply) =>
      core.renaming.rename(
        {
          parent: request.node,
          name: name(request),
          newParent: request.u64(0),
          newName: name(request, 1),
          flags: request.u32(8),
        },
        caller,
        reply,
      ),
    LINK: (request, caller, reply) =>
      core.namespace.link(request.u64(0), request.node, name(request), caller, reply),
    OPEN: (request, caller, reply) => {
      const flags = request.u32(0);
      core.files.open(
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
      core.files.create(request.node, name(request), created(request), caller, reply),
    TMPFILE: (request, caller, reply) =>
      core.files.createUnnamed(request.node, created(request), caller, reply),
    READ: (request, caller, reply) => {
      const offset = request.u64(8);
      const length = request.u32(16);
      if (Number.isNaN(offset) || length > MAX_WRITE) reply.error(errno.EINVAL);
      else core.files.read(request.node, request.u64(0), offset, length, caller, reply);
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
        core.files.write(
          request.node,
          request.u64(0),
          {
            offset,
            length,
            buffer,
            at: IN_HEADER_BYTES + opcodes.WRITE.fixed,
            fromCache: (flags & WRITE_CACHE) !== 0,
            killPrivileges: (flags & WRITE_KILL_SUIDGID) !== 0,
          },
          caller,
          reply,
        );
      }
    },
    STATFS: (_request, _caller, reply) => core.statfs(reply),
    RELEASE: (request, _caller, reply) => core.files.release(request.u64(0), reply),
    FSYNC: (request, caller, reply) =>
      core.files.fsync(request.node, request.u64(0), (request.u32(8) & FSYNC_DATA) !== 0, caller, reply),
    // Answered once: nothing is buffered past a WRITE's reply, and the kernel then saves a round trip a close.
    FLUSH: (_request, _caller, reply) => reply.error(errno.ENOSYS),
    OPENDIR: (request, caller, reply) => core.opendir(request.node, caller, reply),
    READDIR: (request, caller, reply) => list(core, request, caller, reply),
    READDIRPLUS: (request, caller, reply) => list(core, request, caller, reply),
    RELEASEDIR: (request, _caller, reply) => core.releasedir(request.u64(0), reply),
    FSYNCDIR: (request, caller, reply) => core.fsyncdir(request.node, caller, reply),

    SETXATTR: (request, caller, reply) => {
      const length = request.u32(0);
      const value = request.after(name(request).length + 1);
      if (value.length !== length) {
        reply.error(errno.EINVAL);
        return;
      }
      const killSgid = (request.u32(8) & SETXATTR_ACL_KILL_SGID) !== 0;
      const change = { name: name(request), value, flags: request.u32(4), killSgid };
      core.xattrs.set(request.node, change, caller, reply);
    },
    GETXATTR: (request, caller, reply) => {
      reply.room = request.u32(0);
      core.xattrs.get(request.node, name(request), caller, reply);
    },
    LISTXATTR: (request, caller, reply) => {
      reply.room = request.u32(0);
      core.xattrs.list(request.node, caller, reply);
    },
    REMOVEXATTR: (request, caller, reply) => core.xattrs.remove(request.node, name(request), caller, reply),
    FALLOCATE: (request, caller, reply) => {
      const what = allocation(request);
      if (typeof what === 'number') reply.error(what);
      else core.space.fallocate(request.node, request.u64(0), what, caller, reply);
    },
    LSEEK: (request, caller, reply) => {
      // The kernel may have pages that we know nothing of, and does not write them first: then all is data.
      if (writeback) {
        reply.error(errno.ENOSYS);
        return;
      }
      const offset = request.u64(8);
      const whence = request.u32(16);
      if (Number.isNaN(offset)) reply.error(errno.ENXIO);
      else if (whence !== SEEK_DATA && whence !== SEEK_HOLE) reply.error(errno.EINVAL);
      else {
        const what = whence === SEEK_DATA ? 'data' : 'hole';
        core.space.seek(request.node, request.u64(0), offset, what, caller, reply);
      }
    },
    STATX: (request, caller, reply) =>
      core.files.attributes.statx(request.node, (request.u32(0) & GETATTR_FH) !== 0, caller, reply),

    // The kernel remembers ENOSYS and does without: permissions and copies are its own.
    ACCESS: unsupported,
    INTERRUPT: unsupported,
    COPY_FILE_RANGE: unsupported,
    BMAP: unsupported,
    POLL: unsupported,
    IOCTL: unsupported,
    SYNCFS: unsupported,
    // Not negotiated: flock and fcntl locks are the kernel's own.
    GETLK: unsupported,
    SETLK: unsupported,
    SETLKW: unsupported,
    NOTIFY_REPLY: unsupported,
  };
}

function list(core: Core, request: Request, caller: Caller, reply: FuseReply): void {
  const offset = request.u64(8);
  if (Number.isNaN(offset)) reply.error(errno.EINVAL);
  else core.readdir(request.node, request.u64(0), offset, caller, reply, reply);
}

function unsupported(_request: Request, _caller: Caller, reply: FuseReply): void {
  reply.error(errno.ENOSYS);
}

/** Of struct fuse_create_in. */
function created(request: Request): NewObject {
  return { mode: request.u32(4), umask: request.u32(8) };
}

/** struct fuse_fallocate_in, or an errno. The kernel lets no other modes through. */
function allocation(request: Request): Allocation | number {
  const [offset, length, mode] = [request.u64(8), request.u64(16), request.u32(24)];
  if (Number.isNaN(offset) || Number.isNaN(length)) return errno.EFBIG;
  const keepSize = (mode & KEEP_SIZE) !== 0;
  const rest = mode & ~KEEP_SIZE;
  if (rest === 0) return { kind: 'allocate', keepSize, offset, length };
  if (rest === ZERO_RANGE) return { kind: 'zero', keepSize, offset, length };
  if (rest === PUNCH_HOLE && keepSize) return { kind: 'punch', keepSize, offset, length };
  return errno.EOPNOTSUPP;
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
