import { errnoName } from '../../base/errno.js';
import { freshId, type ScopeId } from '../../base/ids.js';
import { ScopeKeys } from '../../crypto/scope-keys.js';
import { Xaes256Gcm } from '../../crypto/xaes.js';
import { XATTR_ROOT } from '../../format/names/binding.js';
import { copyMemory, pinned, type Secret, SecretMemory } from '../../libc/memory.js';
import { systemClock } from '../../libc/system.js';
import type { Allocation } from '../content/file-allocate.js';
import type { AttributeChange, CachePort, Caller, DirectorySink, NodeId, Reply } from '../contract.js';
import { Core } from '../core.js';
import type { Backing, Executor } from '../disk/backing.js';
import type { LockReceipt, VolumeEvent } from '../events.js';
import { InodeTable, ROOT_NODE } from '../inodes/inode-table.js';
import { type KnownScope, sessionMark } from '../inodes/volume.js';
import { FOR_ANY } from '../scopes/scope-access.js';
import { rootRecord } from '../scopes/scope-creation.js';
import { InlineExecutor, TestCache } from './test-ports.js';
import { type Answer, RigReply } from './test-reply.js';

/** Test support: a core without a transport, its operations as functions. Used by this room's tests only. */

export const memory = new SecretMemory(4096);
const suite = new Xaes256Gcm(memory);
const io = pinned((1 << 20) + 64);

/** A secret with given bytes: only a test has keys in ordinary memory. */
export function secretOf(bytes: Buffer): Secret {
  const secret = memory.allocate(bytes.length);
  const from = pinned(bytes.length);
  bytes.copy(from.bytes);
  copyMemory(secret.address, from.address, bytes.length);
  return secret;
}

export const user: Caller = { uid: 1000, gid: 1000, pid: 4242, trusted: false };

export interface RigOptions {
  chunkSize?: number;
  executor?: Executor;
  cache?: CachePort;
  unclean?: boolean;
  known?: readonly KnownScope[];
  fresh?: boolean;
  /** The root scope's epoch secrets, that of epoch 1 first. */
  secrets?: readonly Buffer[];
  now?: () => number;
  keptInodes?: number;
  /** The session that stopped uncleanly was another one than that of the files. */
  cleanSessions?: boolean;
}

const CAPACITY = 4096;
/** All rigs' files are of one session. */
const SESSION = Buffer.alloc(16, 5);
export const ROOT_SECRET = Buffer.alloc(32, 7);
export const ROOT_SCOPE = '11'.repeat(16) as ScopeId;

export class Rig {
  readonly core: Core;
  readonly backing: Backing;
  readonly cache: TestCache;
  readonly moved: [ScopeId, string][] = [];
  readonly expired: LockReceipt[] = [];
  readonly recovered: [string, number, number][] = [];
  readonly failed: [string, string][] = [];
  wipes = 0;
  /** A scope's keys are gone: how many leases went with them. */
  onWiped: (scope: ScopeId) => number = () => 0;

  constructor(backing: Backing, options: RigOptions = {}) {
    this.backing = backing;
    this.cache = (options.cache as TestCache | undefined) ?? new TestCache();
    if (options.fresh !== false) {
      const keys = new ScopeKeys(suite, memory, ROOT_SCOPE, 1, [secretOf(ROOT_SECRET)]);
      backing.fsetxattr(backing.root, XATTR_ROOT, rootRecord(keys));
      keys.close();
    }
    const now = options.now ?? (() => systemClock.boottime());
    this.core = new Core(
      {
        backing,
        executor: options.executor ?? new InlineExecutor(backing),
        suite,
        memory,
        clock: { boottime: now, wall: () => 0 },
        cache: this.cache,
        chunkSize: options.chunkSize ?? 4096,
        table: new ArrayBuffer(InodeTable.bytesFor(CAPACITY)),
        capacity: CAPACITY,
        unclean: options.unclean ?? false,
        session: SESSION,
        uncleanSessions: new Set(
          options.unclean === true
            ? [sessionMark(options.cleanSessions === true ? Buffer.alloc(16) : SESSION)]
            : [],
        ),
        tell: (event) => this.#happened(event),
        ...(options.keptInodes === undefined ? {} : { keptInodes: options.keptInodes }),
      },
      options.known ?? [{ id: ROOT_SCOPE, parent: undefined, path: '' }],
      (scope) => {
        this.wipes++;
        return this.onWiped(scope);
      },
    );
    this.core.scopeAccess.unlock(ROOT_SCOPE, 1, (options.secrets ?? [ROOT_SECRET]).map(secretOf));
  }

  #happened(event: VolumeEvent): void {
    switch (event.kind) {
      case 'moved':
        this.moved.push([event.scope, event.path]);
        return;
      case 'expired':
        this.expired.push(...event.receipts);
        return;
      case 'recovered':
        this.recovered.push([event.path, event.before, event.after]);
        return;
      case 'writeBackFailed':
        this.failed.push([event.path, errnoName(event.error)]);
    }
  }

  /** Locks everything at once: the keys' memory is needed by the next rig. */
  close(): void {
    this.lock(ROOT_SCOPE, 0);
  }

  /** Starts an operation: its reply, answered now or later. */
  start(operation: (reply: Reply) => void): { answers: Answer[] } {
    const reply = new RigReply(io);
    operation(reply);
    return reply;
  }
  #now(operation: (reply: Reply) => void): Answer {
    const [answer] = this.start(operation).answers;
    if (answer === undefined) throw new Error('no answer yet');
    return answer;
  }

  lookup(parent: NodeId, name: string, caller = user): Answer {
    return this.#now((reply) => this.core.namespace.lookup(parent, name, caller, reply));
  }
  /** Follows names from the root: the node, or throws. */
  walk(...names: string[]): NodeId {
    let node: NodeId = ROOT_NODE;
    for (const name of names) node = nodeOf(this.lookup(node, name));
    return node;
  }
  create(parent: NodeId, name: string, mode = 0o644, caller = user): Answer {
    return this.#now((reply) => this.core.files.create(parent, name, { mode, umask: 0 }, caller, reply));
  }
  mkdir(parent: NodeId, name: string, mode = 0o755): Answer {
    return this.#now((reply) => this.core.creation.mkdir(parent, name, { mode, umask: 0 }, user, reply));
  }
  open(node: NodeId, write = false, truncate = false): Answer {
    return this.#now((reply) =>
      this.core.files.open(node, { write, truncate, killPrivileges: false }, user, reply),
    );
  }
  startWrite(
    node: NodeId,
    handle: number,
    offset: number,
    data: Buffer,
    fromCache = false,
  ): { answers: Answer[] } {
    const source = pinned(Math.max(1, data.length));
    data.copy(source.bytes);
    const request = { offset, length: data.length, buffer: source, at: 0, fromCache, killPrivileges: false };
    return this.start((reply) => this.core.files.write(node, handle, request, user, reply));
  }
  /** `fromCache`: the kernel writes back pages. */
  write(node: NodeId, handle: number, offset: number, data: Buffer | string, fromCache = false): Answer {
    return this.startWrite(node, handle, offset, Buffer.from(data), fromCache).answers[0] as Answer;
  }
  read(node: NodeId, handle: number, offset: number, length: number): Answer {
    return this.#now((reply) => this.core.files.read(node, handle, { offset, length }, user, reply));
  }
  fsync(node: NodeId, handle: number): Answer {
    return this.#now((reply) => this.core.files.fsync(node, handle, false, user, reply));
  }
  fallocate(node: NodeId, handle: number, what: Allocation): Answer {
    return this.#now((reply) => this.core.space.fallocate(node, handle, what, user, reply));
  }
  seek(node: NodeId, handle: number, offset: number, what: 'data' | 'hole'): Answer {
    return this.#now((reply) => this.core.space.seek(node, handle, offset, what, user, reply));
  }
  release(handle: number): Answer {
    return this.#now((reply) => this.core.files.release(handle, reply));
  }
  getattr(node: NodeId): Answer {
    return this.#now((reply) => this.core.attributes.getattr(node, false, user, reply));
  }
  setattr(node: NodeId, change: AttributeChange): Answer {
    return this.#now((reply) => this.core.attributes.setattr(node, change, user, reply));
  }
  rename(parent: NodeId, name: string, newParent: NodeId, newName: string, flags = 0): Answer {
    return this.#now((reply) =>
      this.core.rename.rename({ parent, name, newParent, newName, flags }, user, reply),
    );
  }
  unlink(parent: NodeId, name: string): Answer {
    return this.#now((reply) => this.core.removal.unlink(parent, name, user, reply));
  }
  rmdir(parent: NodeId, name: string): Answer {
    return this.#now((reply) => this.core.removal.rmdir(parent, name, user, reply));
  }
  link(node: NodeId, parent: NodeId, name: string): Answer {
    return this.#now((reply) => this.core.namespace.link(node, parent, name, user, reply));
  }
  symlink(parent: NodeId, name: string, target: string): Answer {
    return this.#now((reply) => this.core.creation.symlink(parent, name, target, user, reply));
  }
  readlink(node: NodeId): Answer {
    return this.#now((reply) => this.core.namespace.readlink(node, user, reply));
  }
  mknod(parent: NodeId, name: string, mode: number, rdev = 0): Answer {
    return this.#now((reply) =>
      this.core.creation.mknod(parent, name, { mode, umask: 0 }, rdev, user, reply),
    );
  }
  createUnnamed(parent: NodeId, mode = 0o644): Answer {
    return this.#now((reply) => this.core.files.createUnnamed(parent, { mode, umask: 0 }, user, reply));
  }
  setxattr(node: NodeId, name: string, value: Buffer | string, flags = 0): Answer {
    const change = { name, value: Buffer.from(value), flags, killSgid: false };
    return this.#now((reply) => this.core.xattrs.set(node, change, user, reply));
  }
  /** The value, or the error's name. */
  getxattr(node: NodeId, name: string): string {
    const answer = this.#now((reply) => this.core.xattrs.get(node, name, user, reply));
    return answer.error ?? (answer.bytes as Buffer).toString('latin1');
  }
  removexattr(node: NodeId, name: string): Answer {
    return this.#now((reply) => this.core.xattrs.remove(node, name, user, reply));
  }
  listxattr(node: NodeId, caller = user): string[] {
    const answer = this.#now((reply) => this.core.xattrs.list(node, caller, reply));
    return (answer as { bytes: Buffer }).bytes.toString('latin1').split('\0').slice(0, -1).sort();
  }
  opendir(node: NodeId): Answer {
    return this.#now((reply) => this.core.opendir(node, user, reply));
  }
  /** All names of a directory, in pages of at most `page` entries. */
  names(node: NodeId, page = 3, plus = false): string[] | Answer {
    const opened = this.opendir(node);
    if (opened.error !== undefined) return opened;
    const handle = opened.handle as number;
    const names: string[] = [];
    for (let offset = 0; ; ) {
      let taken = 0;
      const take = (name: string, next: number): boolean => {
        if (taken === page) return false;
        taken++;
        offset = next;
        if (name !== '.' && name !== '..') names.push(name);
        return true;
      };
      const sink: DirectorySink = {
        plus,
        add: (name, _ino, _type, next) => take(name, next),
        addNode: (name, _node, _attributes, next) => take(name, next),
        fits: () => taken < page,
        end: () => {},
      };
      const failed = this.start((reply) => this.core.readdir(node, handle, offset, user, sink, reply))
        .answers[0];
      if (failed?.error !== undefined) return failed;
      if (taken === 0) break;
    }
    this.start((reply) => this.core.releasedir(handle, reply));
    return names.sort();
  }

  /** Writes a whole new file and closes it. */
  put(parent: NodeId, name: string, data: Buffer | string): NodeId {
    const made = this.create(parent, name);
    const node = nodeOf(made);
    const handle = (made as { handle: number }).handle;
    const bytes = Buffer.from(data);
    for (let at = 0; at < bytes.length; at += 1 << 17) {
      const piece = bytes.subarray(at, at + (1 << 17));
      const answer = this.write(node, handle, at, piece);
      if (answer.error !== undefined) throw new Error(`write: ${answer.error}`);
    }
    this.release(handle);
    return node;
  }
  /** Opens, reads all and closes; the error's name where that fails. */
  get(node: NodeId): Buffer | string {
    const opened = this.open(node);
    if (opened.error !== undefined) return opened.error;
    const handle = opened.handle as number;
    const parts: Buffer[] = [];
    for (let at = 0; ; ) {
      const answer = this.read(node, handle, at, 1 << 17);
      if (answer.error !== undefined) {
        this.release(handle);
        return answer.error;
      }
      const data = answer.data as Buffer;
      if (data.length === 0) break;
      parts.push(data);
      at += data.length;
    }
    this.release(handle);
    return Buffer.concat(parts);
  }

  createScope(path: string, fill: number): ScopeId {
    const id = freshId<ScopeId>();
    let error = -1;
    this.core.scopeCreation.create(
      {
        id,
        names: path.split('/'),
        epoch: 1,
        secret: secretOf(Buffer.alloc(32, fill)),
        owner: { uid: 0, gid: 0, mode: 0o755 },
        terms: FOR_ANY,
      },
      (result) => {
        error = result.ok ? 0 : result.errno;
      },
    );
    if (error !== 0) throw new Error(`createScope ${path}: ${errnoName(error)}`);
    return id;
  }
  lock(id: ScopeId, deadline = Number.POSITIVE_INFINITY): LockReceipt[] {
    const receipts: LockReceipt[] = [];
    this.core.locks.lock([id], 'test', deadline, (got) => receipts.push(...got));
    return receipts;
  }
  unlock(id: ScopeId, fill: number): string {
    const result = this.core.scopeAccess.unlock(id, 1, [secretOf(Buffer.alloc(32, fill))]);
    return result.ok ? 'ok' : errnoName(result.errno);
  }
}

export function nodeOf(answer: Answer): NodeId {
  if (answer.error !== undefined) throw new Error(answer.error);
  if (answer.node === undefined) throw new Error('no node');
  return answer.node;
}
