import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  statfsSync,
  unlinkSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { Failure } from '../base/failure.js';
import { fallocate } from '../libc/files.js';
import type { Connection } from './connection.js';

/** Of a disk this part is kept, within these bounds. */
const PART = 64;
const BOUNDS = { least: 3 << 19, most: 10 << 20 } as const;
/** Of that: behind the end of the log, as free pages of the database, and as a file of its own. */
const SHARES = { log: 3 / 8, database: 1 / 4, file: 3 / 8 } as const;
/** A page of the log with its header; how many pages it has before it is copied back (sqlite.org/wal.html). */
const LOG_PAGE = 4120;
const LOG_PAGES = 1000;
/** What of the file is given up at once. */
const STEP = 128 << 10;
/** It is filled up where so many times as much is free: not as soon as somebody has made a little room. */
const PLENTY = 4;
const LOOK_AGAIN_MS = 60_000;
/** ext4 gives blocks back with its journal's commit, and a moment later. */
const GIVEN_MS = 200;

/** fallocate(2): blocks beyond the end of a file. */
const KEEP_SIZE = 1;
const FLAGS = constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Room on the store's disk that is the store's own, so that unlocks (a row of the audit each), locks, slots and shredding
 * work where the disk is full: free pages in the database (SQLite cuts off what is behind its end), blocks behind the end of its
 * log, which nobody else can take, and a file that is cut for a new log at a mount. Where there is no room for it all,
 * or no fallocate(2), it is as if there were none.
 */
export class Reserve {
  readonly #store: string;
  readonly #file: number;
  readonly #budget: number;
  #db: Connection | undefined;
  #log = -1;
  #lookedAt = Number.NEGATIVE_INFINITY;

  private constructor(store: string, file: number) {
    this.#store = store;
    this.#file = file;
    this.#budget = Math.min(BOUNDS.most, Math.max(BOUNDS.least, sizeOfDisk(dirname(store)) / PART));
  }

  /** Of the store at a path. */
  static of(store: string): Reserve {
    return new Reserve(store, openOwn(`${store}-reserve`, true));
  }
  /** From now on that database and its log are kept. */
  keep(db: Connection): void {
    this.#db = db;
    this.#log = openOwn(`${this.#store}-wal`, false);
    db.exec(`PRAGMA wal_autocheckpoint = ${Math.min(LOG_PAGES, Math.floor(this.#logBytes / LOG_PAGE) - 32)}`);
    this.fill();
    this.keepLog();
  }
  close(): void {
    if (this.#log >= 0) closeSync(this.#log);
    if (this.#file >= 0) closeSync(this.#file);
  }

  get #logBytes(): number {
    return this.#budget * SHARES.log;
  }
  #free(blocks: 'bfree' | 'bavail'): number {
    const found = statfsSync(dirname(this.#store));
    return found.bsize * found[blocks];
  }

  /** Fills it up, as far as the disk has plenty. Now and then, where it was asked before. */
  fill(): void {
    const now = performance.now();
    if (this.#db === undefined || now - this.#lookedAt < LOOK_AGAIN_MS) return;
    this.#lookedAt = now;
    try {
      if (this.#free('bavail') < PLENTY * this.#budget) return;
      this.#fillDatabase(this.#db);
      const size = this.#file < 0 ? Number.POSITIVE_INFINITY : fstatSync(this.#file).size;
      const missing = Math.floor((this.#budget * SHARES.file) / STEP) * STEP - size;
      if (missing > 0) fallocate(this.#file, 0, size, missing);
    } catch {
      // There is none, as before.
    }
  }
  #fillDatabase(db: Connection): void {
    const bytes = Math.floor(this.#budget * SHARES.database);
    const free = (db.pragmaValue('freelist_count') as number) * (db.pragmaValue('page_size') as number);
    if (free > bytes / 2) return;
    // Pages of a deleted row stay in the database. The log that this takes is copied back at once.
    db.transaction(() => {
      db.prepare("INSERT INTO meta (key, value) VALUES ('', zeroblob(?))").run(bytes);
      db.prepare("DELETE FROM meta WHERE key = ''").run();
    });
    db.pragma('wal_checkpoint(TRUNCATE)');
    this.keepLog();
  }
  /** The log was made, or made empty: it is as long as it gets. */
  keepLog(): void {
    const bytes = Math.floor(this.#logBytes);
    if (this.#log < 0 || fstatSync(this.#log).blocks * 512 >= bytes) return;
    if (fallocate(this.#log, KEEP_SIZE, 0, bytes) >= 0) return;
    // A full disk: what the last log had went with it.
    fsyncSync(this.#log);
    if (fallocate(this.#log, KEEP_SIZE, 0, bytes) < 0 && this.#give(bytes)) {
      fallocate(this.#log, KEEP_SIZE, 0, bytes - STEP);
    }
  }

  /** Runs a change; where the disk is full, with a piece of the file's room more each time. `change` is run again as a whole. */
  retry<T>(change: () => T): T {
    for (;;) {
      try {
        return change();
      } catch (error) {
        if (!isFull(error) || !this.#give()) throw error;
      }
    }
  }
  /** False: nothing is left. */
  #give(bytes = STEP): boolean {
    const size = this.#file < 0 ? 0 : fstatSync(this.#file).size;
    if (size === 0) return false;
    const before = this.#free('bfree');
    ftruncateSync(this.#file, Math.max(0, size - bytes));
    fsyncSync(this.#file);
    const cell = new Int32Array(new SharedArrayBuffer(4));
    for (
      const until = performance.now() + GIVEN_MS;
      this.#free('bfree') <= before && performance.now() < until;
    ) {
      Atomics.wait(cell, 0, 0, 1);
    }
    return true;
  }
}

/** 0: there is no such directory, which whoever opens the store says. */
function sizeOfDisk(directory: string): number {
  try {
    const { bsize, blocks } = statfsSync(directory);
    return bsize * blocks;
  } catch {
    return 0;
  }
}
function isFull(error: unknown): boolean {
  if (error instanceof Failure) return error.code === 'no_space' || isFull(error.cause);
  const code = (error as { code?: unknown } | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'SQLITE_FULL' || code === 'SQLITE_IOERR_SHMSIZE';
}

/** A file with no other name: a planted link is not ours to cut. `replace`: by a new one. -1: there is none. */
function openOwn(path: string, replace: boolean): number {
  let fd = openQuietly(path, FLAGS);
  const found = fd < 0 ? undefined : fstatSync(fd);
  if (found?.isFile() === true && found.nlink === 1) return fd;
  if (fd >= 0) closeSync(fd);
  fd = -1;
  if (!replace) return fd;
  try {
    unlinkSync(path);
  } catch {
    // Nothing is there, or a directory: then there is no reserve.
  }
  return openQuietly(path, FLAGS | constants.O_CREAT | constants.O_EXCL);
}
function openQuietly(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600);
  } catch {
    return -1;
  }
}
