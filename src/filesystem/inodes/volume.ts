import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.js';
import type { ScopeId } from '../../base/ids.js';
import type { AeadSuite } from '../../crypto/aead.js';
import { Geometry } from '../../format/file/geometry.js';
import { type Pinned, pinned, type SecretMemory } from '../../libc/memory.js';
import { Stat } from '../../libc/stat.js';
import type { CachePort } from '../contract.js';
import type { Backing, Executor } from '../disk/backing.js';
import type { VolumeEvent } from '../events.js';
import { ChunkCache } from './chunk-cache.js';
import { Directories } from './directories.js';
import { DirectoryJobs } from './directory-jobs.js';
import { HardLinks } from './hard-links.js';
import { InodeTable } from './inode-table.js';
import { IoPool } from './io-buffers.js';
import { Pruner } from './pruner.js';
import { Scope } from './scope.js';

export interface VolumeOptions {
  readonly backing: Backing;
  readonly executor: Executor;
  readonly suite: AeadSuite;
  readonly memory: SecretMemory;
  readonly clock: Clock;
  readonly cache: CachePort;
  readonly chunkSize: number;
  /** Zeroed memory of the inode table; its length decides how many inodes fit. */
  readonly table: ArrayBuffer;
  readonly capacity: number;
  /** The vault was not unmounted cleanly: files are repaired at their first open (FORMAT.md). */
  readonly unclean: boolean;
  /** Nothing is written: what is repaired is repaired for as long as the file is open. */
  readonly readOnly?: boolean;
  /** Of this mount: 16 random bytes, and what the sessions that stopped uncleanly left of theirs. */
  readonly session: Buffer;
  readonly uncleanSessions: ReadonlySet<string>;
  /** How many inodes may be known before the kernel is asked to forget some. */
  readonly keptInodes?: number;
  /** The kernel collects writes, and keeps files' times until it writes them back. */
  readonly writeback?: boolean;
  readonly tell: (event: VolumeEvent) => void;
}

const KEPT_INODES = 250_000;

/** What `VAULT/dirty` keeps of a session: who reads it can't tell the session's id, which headers have sealed. */
export function sessionMark(session: Buffer): string {
  return createHash('sha256').update(session).digest('hex').slice(0, 32);
}

/** A scope as the store knows it, parents before children. `path` is latin1, below the parent scope's root. */
export interface KnownScope {
  readonly id: ScopeId;
  readonly parent: ScopeId | undefined;
  readonly path: string;
}

/** Everything that the operations of one mount share. Owned by the filesystem worker, the single writer. */
export class Volume {
  readonly backing: Backing;
  readonly executor: Executor;
  readonly suite: AeadSuite;
  readonly memory: SecretMemory;
  readonly clock: Clock;
  readonly cache: CachePort;
  readonly geometry: Geometry;
  readonly unclean: boolean;
  readonly readOnly: boolean;
  readonly writeback: boolean;
  readonly session: Buffer;
  readonly #uncleanSessions: ReadonlySet<string>;
  readonly table: InodeTable;
  readonly directories: Directories;
  readonly directoryJobs: DirectoryJobs;
  readonly io: IoPool;
  readonly chunks: ChunkCache;
  readonly scopes: Scope[] = [];
  readonly #byId = new Map<ScopeId, Scope>();
  readonly hardLinks: HardLinks;
  readonly pruner: Pruner;
  /** A chunk of zeros, to seal where a write skipped one. */
  readonly zeros: Pinned;
  /** The one way out for what happens without a request. */
  readonly tell: (event: VolumeEvent) => void;
  /** Scratch for one call. */
  readonly stat = new Stat();

  constructor(options: VolumeOptions) {
    this.backing = options.backing;
    this.executor = options.executor;
    this.suite = options.suite;
    this.memory = options.memory;
    this.clock = options.clock;
    this.cache = options.cache;
    this.tell = options.tell;
    this.unclean = options.unclean;
    this.readOnly = options.readOnly === true;
    this.writeback = options.writeback === true;
    this.session = options.session;
    this.#uncleanSessions = options.uncleanSessions;
    this.geometry = new Geometry(options.chunkSize);
    this.table = new InodeTable(options.table, options.capacity);
    this.hardLinks = new HardLinks(this.table);
    this.directories = new Directories(this.backing, this.table);
    this.directoryJobs = new DirectoryJobs(this.executor, this.directories);
    this.io = new IoPool(this.geometry);
    this.chunks = new ChunkCache(options.chunkSize);
    this.zeros = pinned(options.chunkSize);
    this.pruner = new Pruner(this.table, this.cache, options.keptInodes ?? KEPT_INODES);
  }

  /**
   * Files, by backing inode number, whose header a lock could not write: its deadline came first, or the disk failed.
   * Such files are repaired as after an unclean stop; while there are any, this session is one.
   */
  readonly leftBehind = new Set<number>();

  /** Whether a file's header may be behind its data: it is repaired at its first open. */
  mayBeBehind(slot: number): boolean {
    return this.unclean || this.leftBehind.has(this.table.ino[slot] as number);
  }
  /** Whether a header was written in a session that stopped uncleanly: what it says may be ahead of the disk. */
  forgives(slot: number, header: { readonly session: Buffer }): boolean {
    if (this.leftBehind.has(this.table.ino[slot] as number)) return true;
    return this.unclean && this.#uncleanSessions.has(sessionMark(header.session));
  }

  /** Where an object is, for an event. */
  whereabouts(slot: number): { scope: ScopeId; path: string; ino: number } {
    const ino = this.table.ino[slot] as number;
    return { scope: this.scopeOf(slot).id, path: this.directories.pathInScope(slot) ?? '?', ino };
  }

  /** The scope whose key seals a node's content. */
  scopeOf(slot: number): Scope {
    return this.scopes[this.table.scope[slot] as number] as Scope;
  }

  addScope(known: KnownScope): Scope {
    const parent = known.parent === undefined ? undefined : this.#byId.get(known.parent);
    const scope = new Scope(this.scopes.length, known.id, parent, known.path);
    this.scopes.push(scope);
    this.#byId.set(known.id, scope);
    return scope;
  }
  scope(id: ScopeId): Scope | undefined {
    const scope = this.#byId.get(id);
    return scope?.gone === true ? undefined : scope;
  }

  /** A name of the vault's own for something under way. */
  temporaryName(): string {
    return `+t${randomBytes(16).toString('base64url')}`;
  }
}
