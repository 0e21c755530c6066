import { errno } from '../base/errno.js';
import type { Allocation } from '../filesystem/content/file-allocate.js';
import type { AttributeChange, Caller } from '../filesystem/contract.js';
import type { Core } from '../filesystem/core.js';
import { falloc } from '../libc/files.js';
import type { Opcode, RequestFields } from './abi/opcodes.js';
import { openRequest } from './open-request.js';
import type { FuseReply } from './reply.js';

/** lseek(2). */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** A request's fields are getters over the receive buffer: taken here, and not kept. */
type Handler<Op extends Opcode> = (request: RequestFields[Op], caller: Caller, reply: FuseReply) => void;
export type AnyHandler = (request: never, caller: Caller, reply: FuseReply) => void;
export type Handlers = { readonly [Op in Opcode]: Handler<Op> };

/** What the daemon learns of the connection. */
export interface SessionEvents {
  ready(minor: number): void;
}

/** What each request of the kernel means to the core. */
export function handlers(core: Core, writeback: boolean, events: SessionEvents): Handlers {
  const { attributes, creation, files, namespace, nodes, removal, rename, space, xattrs } = core;
  return {
    INIT: (request, _caller, reply) => events.ready(reply.init(request, writeback).minor),
    DESTROY: (_request, _caller, reply) => reply.ok(),

    LOOKUP: ({ nodeid, name }, caller, reply) => namespace.lookup(nodeid, name, caller, reply),
    // No reply exists for these two.
    FORGET: ({ nodeid, nlookup }) => nodes.forget(nodeid, nlookup),
    BATCH_FORGET: ({ forgets }) => forgets((nodeid, nlookup) => nodes.forget(nodeid, nlookup)),
    GETATTR: ({ nodeid, FUSE_GETATTR_FH }, caller, reply) =>
      attributes.getattr(nodeid, FUSE_GETATTR_FH, caller, reply),
    STATX: ({ nodeid, FUSE_GETATTR_FH }, caller, reply) =>
      attributes.statx(nodeid, FUSE_GETATTR_FH, caller, reply),
    SETATTR: (request, caller, reply) =>
      attributes.setattr(request.nodeid, attributeChange(request), caller, reply),
    READLINK: ({ nodeid }, caller, reply) => namespace.readlink(nodeid, caller, reply),
    SYMLINK: ({ nodeid, name, link }, caller, reply) => creation.symlink(nodeid, name, link, caller, reply),
    // A regular file too: open(2) makes it in one step by CREATE, but NFS servers and mknod(2) do not.
    MKNOD: ({ nodeid, name, mode, umask, rdev }, caller, reply) =>
      creation.mknod(nodeid, name, { mode, umask }, rdev, caller, reply),
    MKDIR: ({ nodeid, name, mode, umask }, caller, reply) =>
      creation.mkdir(nodeid, name, { mode, umask }, caller, reply),
    UNLINK: ({ nodeid, name }, caller, reply) => removal.unlink(nodeid, name, caller, reply),
    RMDIR: ({ nodeid, name }, caller, reply) => removal.rmdir(nodeid, name, caller, reply),
    RENAME: ({ nodeid, oldname, newdir, newname }, caller, reply) =>
      rename.rename(
        { parent: nodeid, name: oldname, newParent: newdir, newName: newname, flags: 0 },
        caller,
        reply,
      ),
    RENAME2: ({ nodeid, oldname, newdir, newname, flags }, caller, reply) =>
      rename.rename(
        { parent: nodeid, name: oldname, newParent: newdir, newName: newname, flags },
        caller,
        reply,
      ),
    LINK: ({ nodeid, oldnodeid, name }, caller, reply) =>
      namespace.link(oldnodeid, nodeid, name, caller, reply),
    OPEN: ({ nodeid, flags, FUSE_OPEN_KILL_SUIDGID }, caller, reply) =>
      files.open(nodeid, openRequest(flags, FUSE_OPEN_KILL_SUIDGID), caller, reply),
    CREATE: ({ nodeid, name, mode, umask }, caller, reply) =>
      files.create(nodeid, name, { mode, umask }, caller, reply),
    TMPFILE: ({ nodeid, mode, umask }, caller, reply) =>
      files.createUnnamed(nodeid, { mode, umask }, caller, reply),
    // The kernel names the owner of a lock where it does not fill pages of its cache (fuse_send_read, fuse_send_write).
    READ: ({ nodeid, fh, offset, size, FUSE_READ_LOCKOWNER: direct }, caller, reply) =>
      files.read(nodeid, fh, { offset, length: size, direct }, caller, reply),
    WRITE: (request, caller, reply) => {
      const { nodeid, fh, offset, size, data } = request;
      const { buffer, at } = data;
      const write = {
        offset,
        length: size,
        buffer,
        at,
        fromCache: request.FUSE_WRITE_CACHE,
        direct: request.FUSE_WRITE_LOCKOWNER,
        killPrivileges: request.FUSE_WRITE_KILL_SUIDGID,
      };
      files.write(nodeid, fh, write, caller, reply);
    },
    STATFS: (_request, _caller, reply) => core.statfs(reply),
    RELEASE: ({ fh }, _caller, reply) => files.release(fh, reply),
    FSYNC: ({ nodeid, fh, FUSE_FSYNC_FDATASYNC }, caller, reply) =>
      files.fsync(nodeid, fh, FUSE_FSYNC_FDATASYNC, caller, reply),
    // Answered once: nothing is buffered past a WRITE's reply, and the kernel then saves a round trip a close.
    FLUSH: unsupported,
    OPENDIR: ({ nodeid }, caller, reply) => core.opendir(nodeid, caller, reply),
    READDIR: ({ nodeid, fh, offset, size }, caller, reply) =>
      core.readdir(nodeid, fh, offset, caller, reply.listing(size, false), reply),
    READDIRPLUS: ({ nodeid, fh, offset, size }, caller, reply) =>
      core.readdir(nodeid, fh, offset, caller, reply.listing(size, true), reply),
    RELEASEDIR: ({ fh }, _caller, reply) => core.releasedir(fh, reply),
    FSYNCDIR: ({ nodeid }, caller, reply) => core.fsyncdir(nodeid, caller, reply),

    SETXATTR: ({ nodeid, name, value, flags, FUSE_SETXATTR_ACL_KILL_SGID }, caller, reply) => {
      const { buffer, at, length } = value;
      const change = {
        name,
        value: buffer.bytes.subarray(at, at + length),
        flags,
        killSgid: FUSE_SETXATTR_ACL_KILL_SGID,
      };
      xattrs.set(nodeid, change, caller, reply);
    },
    GETXATTR: ({ nodeid, name, size }, caller, reply) =>
      xattrs.get(nodeid, name, caller, reply.withRoom(size)),
    LISTXATTR: ({ nodeid, size }, caller, reply) => xattrs.list(nodeid, caller, reply.withRoom(size)),
    REMOVEXATTR: ({ nodeid, name }, caller, reply) => xattrs.remove(nodeid, name, caller, reply),
    FALLOCATE: (request, caller, reply) => {
      const what = allocation(request);
      if (what === undefined) reply.error(errno.EOPNOTSUPP);
      else space.fallocate(request.nodeid, request.fh, what, caller, reply);
    },
    LSEEK: ({ nodeid, fh, offset, whence }, caller, reply) => {
      // The kernel may have pages that we know nothing of, and does not write them first: then all is data.
      if (writeback) reply.error(errno.ENOSYS);
      else if (whence === SEEK_DATA) space.seek(nodeid, fh, offset, 'data', caller, reply);
      else if (whence === SEEK_HOLE) space.seek(nodeid, fh, offset, 'hole', caller, reply);
      else reply.error(errno.EINVAL);
    },

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

function unsupported(_request: unknown, _caller: Caller, reply: FuseReply): void {
  reply.error(errno.ENOSYS);
}

/** Undefined for other modes, which the kernel does not let through. */
function allocation({ mode, offset, length }: RequestFields['FALLOCATE']): Allocation | undefined {
  const keepSize = (mode & falloc.KEEP_SIZE) !== 0;
  const rest = mode & ~falloc.KEEP_SIZE;
  if (rest === 0) return { kind: 'allocate', keepSize, offset, length };
  if (rest === falloc.ZERO_RANGE) return { kind: 'zero', keepSize, offset, length };
  if (rest === falloc.PUNCH_HOLE && keepSize) return { kind: 'punch', keepSize, offset, length };
  return undefined;
}

function attributeChange(request: RequestFields['SETATTR']): AttributeChange {
  const change: AttributeChange = {};
  if (request.FATTR_MODE) change.mode = request.mode;
  if (request.FATTR_UID) change.uid = request.uid;
  if (request.FATTR_GID) change.gid = request.gid;
  if (request.FATTR_SIZE) change.size = request.size;
  if (request.FATTR_ATIME) {
    change.atime = request.FATTR_ATIME_NOW ? 'now' : [request.atime, request.atimensec];
  }
  if (request.FATTR_MTIME) {
    change.mtime = request.FATTR_MTIME_NOW ? 'now' : [request.mtime, request.mtimensec];
  }
  if (request.FATTR_KILL_SUIDGID) change.killPrivileges = true;
  if (request.FATTR_FH) change.handle = request.fh;
  return change;
}
