import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoName } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import type { Client } from '../../control/client/client.js';
import { readShares, SHARE_LINE_BYTES, type Share } from '../../keyring/shares/share-text.js';
import { close, lockExclusive, open, openPath, read } from '../../libc/files.js';
import { SecretInput, SecretMemory } from '../../libc/memory.js';

const LOCK_TRIES = 600;
const LOCK_PAUSE_MS = 50;
/** Of one text of shares. */
const MOST_SHARES = 16;
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Locks a share's file, so that two commands do not renew one share past each other: its descriptor. */
async function lockFile(path: string): Promise<number> {
  for (let tries = 0; tries < LOCK_TRIES; tries++) {
    const fd = openPath(path, open.O_RDONLY);
    if (fd < 0) throw new Failure('input_required', `${path} cannot be opened (${errnoName(-fd)})`);
    // Replaced while we waited: then the lock is on a file without a name.
    if (lockExclusive(fd) >= 0 && sameFile(fd, path)) return fd;
    close(fd);
    await sleep(LOCK_PAUSE_MS);
  }
  throw new Failure('busy', `${path} is in use by another command`);
}
/** Of the file itself: a link to it stays one. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw new Failure(
      'input_required',
      `${path} cannot be opened (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}
function sameFile(fd: number, path: string): boolean {
  try {
    const [held, named] = [fstatSync(fd), statSync(path)];
    return held.ino === named.ino && held.dev === named.dev;
  } catch {
    return false;
  }
}

function write(fd: number, text: Buffer, at: number): void {
  for (let done = 0; done < text.length; ) {
    done += writeSync(fd, text, done, text.length - done, at + done);
  }
  fsyncSync(fd);
}
function syncDirectory(path: string): void {
  const fd = openSync(dirname(path), 'r');
  fsyncSync(fd);
  closeSync(fd);
}

/**
 * Replaces a share's file at once and durably: the old share still opens when this fails. The directory may be
 * another user's: a name that can't be guessed, no link followed, and the directory that we opened, whatever its path
 * leads to by then.
 */
function replace(path: string, held: number, text: Buffer): void {
  const { mode, uid, gid } = fstatSync(held);
  try {
    const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const at = `/proc/self/fd/${directory}`;
      const next = join(at, `.scopefs-share-${randomBytes(8).toString('hex')}`);
      const fd = openSync(next, NEW_FILE, 0o600);
      try {
        write(fd, text, 0);
        fchmodSync(fd, mode & 0o600);
        fchownSync(fd, uid, gid);
        renameSync(next, join(at, basename(path)));
      } catch (error) {
        unlinkSync(next);
        throw error;
      } finally {
        closeSync(fd);
      }
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  } catch (error) {
    throw new Failure(
      'io',
      `the renewed share could not be written to ${path} (${(error as Error).message})`,
      {
        reason: 'share_file_unwritten',
      },
    );
  }
}

/**
 * Calls `use` with the share in a file. One of a split slot is renewed first: the file has the next one before it is used, and
 * with its use the one before is over.
 */
export async function withShareFile<T>(
  client: Client,
  scope: string,
  path: string,
  use: (input: SecretInput) => Promise<T>,
): Promise<T> {
  const file = realPath(path);
  const fd = await lockFile(file);
  const present = new SecretInput();
  const next = new SecretInput();
  try {
    while (present.fill((address, room) => read(fd, address, room)) > 0);
    const shares = readShares(present, new SecretMemory(MOST_SHARES));
    for (const { value } of shares) value.wipe();
    if (shares[0]?.type !== 'split') return await use(present);
    try {
      await client.call('renewShare', { scope }, present, next);
    } catch (error) {
      // A read-only mount renews nothing: the present one goes on being the present one.
      if (error instanceof Failure && error.details?.read_only === true) return await use(present);
      throw error;
    }
    refuseOtherShare(next, shares[0]);
    replace(file, fd, next.view);
    return await use(next);
  } finally {
    present.wipe();
    next.wipe();
    close(fd);
  }
}

/** The file's one share is replaced by nothing but the one after it. @throws Failure unreachable */
function refuseOtherShare(next: SecretInput, { scope, slot, set, number }: Share): void {
  let given: Share[] = [];
  try {
    given = readShares(next, new SecretMemory(MOST_SHARES));
  } catch {
    // Not a share at all: as one of something else.
  }
  for (const { value } of given) value.wipe();
  const [one, ...more] = given;
  const isNext =
    one?.type === 'split' &&
    one.scope === scope &&
    one.slot === slot &&
    one.set === set &&
    one.number === number + 1;
  if (isNext && more.length === 0) return;
  throw new Failure(
    'unreachable',
    'the daemon gave something else than the next share: the file keeps its own',
    {
      reason: 'daemon_of_other_version',
    },
  );
}

/** Where new shares go: files that must not be there yet, or a descriptor. */
export class ShareSink {
  readonly #targets: { fd: number; path: string | undefined }[] = [];

  /** `to`: `file:PATH`, `fd:N` or `-`. Several shares get files PATH.1, PATH.2, ... */
  constructor(to: string, count: number) {
    const fd = to === '-' ? 1 : /^fd:\d{1,6}$/.test(to) ? Number(to.slice(3)) : undefined;
    if (fd !== undefined) {
      this.#targets.push({ fd, path: undefined });
      return;
    }
    if (!to.startsWith('file:') || to.length === 5) {
      throw new Failure('usage', 'shares go to share:file:PATH, share:fd:N or share:-');
    }
    const path = to.slice(5);
    const paths = count === 1 ? [path] : Array.from({ length: count }, (_, i) => `${path}.${i + 1}`);
    try {
      for (const one of paths) {
        const target = { fd: openSync(one, NEW_FILE, 0o600), path: one };
        this.#targets.push(target);
        // Room for it, before the daemon makes what only its reply has.
        write(target.fd, randomBytes(SHARE_LINE_BYTES), 0);
        syncDirectory(one);
      }
    } catch (error) {
      this.abandon();
      const { code } = error as NodeJS.ErrnoException;
      throw new Failure(
        code === 'EEXIST' ? 'conflict' : 'io',
        `a new share cannot be written (${(error as Error).message})`,
        {
          reason: 'share_file_taken',
        },
      );
    }
  }

  /** The files that have shares now. @throws Failure unreachable where there are not as many, a line each: then no file stays */
  write(shares: SecretInput): string[] {
    const lines = shares.view.filter((byte) => byte === 0x0a).length;
    if (lines < this.#targets.length || shares.view.at(-1) !== 0x0a) {
      this.abandon();
      throw new Failure('unreachable', 'the daemon gave fewer shares than were asked for', {
        reason: 'daemon_of_other_version',
      });
    }
    let at = 0;
    for (const { fd, path } of this.#targets) {
      const end = path === undefined ? shares.length : shares.view.indexOf(0x0a, at) + 1;
      const text = shares.view.subarray(at, end);
      at = end;
      if (path === undefined) {
        for (let done = 0; done < text.length; ) done += writeSync(fd, text, done, text.length - done);
      } else write(fd, text, 0);
    }
    const files = this.#targets.splice(0).filter(({ path }) => path !== undefined);
    for (const { fd } of files) closeSync(fd);
    return files.flatMap(({ path }) => path ?? []);
  }
  /** Nothing came, or it could not be written: no file without a share stays. */
  abandon(): void {
    for (const { fd, path } of this.#targets.splice(0)) {
      if (path === undefined) continue;
      rmSync(path, { force: true });
      closeSync(fd);
    }
  }
}
