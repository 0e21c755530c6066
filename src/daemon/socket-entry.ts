import { lstatSync, mkdirSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errno } from '../base/errno.js';
import type { ControlServer } from '../control/server.js';
import { close, lockExclusive, open, openPath } from '../libc/files.js';
import { isSocketName, RUN_DIRECTORY, socketName } from './options.js';
import { removeDeadSockets } from './run-directory.js';

const TURN_MS = 5_000;
const LOOK_AGAIN_MS = 5;

/** One at a time: between "nobody answers there" and "it is ours" no other daemon takes the name. */
async function inTurn<T>(use: () => Promise<T>): Promise<T> {
  mkdirSync(RUN_DIRECTORY, { recursive: true, mode: 0o755 });
  const fd = openPath(join(RUN_DIRECTORY, 'lock'), open.O_RDWR | open.O_CREAT, 0o600);
  try {
    const until = performance.now() + TURN_MS;
    while (fd >= 0 && lockExclusive(fd) === -errno.EAGAIN && performance.now() < until) {
      await sleep(LOOK_AGAIN_MS);
    }
    return await use();
  } finally {
    if (fd >= 0) close(fd);
  }
}

/** Device and inode of what is at a path. Undefined: nothing. */
function identity(path: string): string | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev}:${found.ino}`;
}

/** The first name of a volume's that no other daemon has. */
function freeName(volume: string): string {
  for (let copy = 1; ; copy++) {
    const path = join(RUN_DIRECTORY, socketName(volume, copy));
    if (identity(path) === undefined) return path;
  }
}

export interface SocketWish {
  readonly volume: string;
  /** Where it is to listen; undefined: in the run directory. */
  readonly wanted: string | undefined;
  readonly listen: (path: string) => Promise<ControlServer>;
}

/**
 * A daemon's socket, with a name in the run directory by which commands find every live daemon: the socket itself, or a
 * link to it where it was wanted elsewhere. Vaults of one volume id (copies) have names of their own.
 */
export class SocketEntry {
  readonly #wish: SocketWish;
  #servers: ControlServer[] = [];
  /** Where it listens. */
  path = '';
  #name = '';
  #identities: readonly (string | undefined)[] = [];

  private constructor(wish: SocketWish) {
    this.#wish = wish;
  }
  static async claim(wish: SocketWish): Promise<SocketEntry> {
    const entry = new SocketEntry(wish);
    await entry.#claim();
    return entry;
  }

  async #claim(): Promise<void> {
    const { volume, wanted, listen } = this.#wish;
    await inTurn(async () => {
      const listed = wanted !== undefined && dirname(wanted) === RUN_DIRECTORY && isSocketName(wanted);
      await removeDeadSockets();
      this.#name = listed ? wanted : freeName(volume);
      this.path = wanted ?? this.#name;
      this.#servers.push(await listen(this.path));
      if (this.path !== this.#name) symlinkSync(this.path, this.#name);
      this.#identities = [identity(this.path), identity(this.#name)];
    });
  }

  get #isThere(): boolean {
    const [socket, name] = this.#identities;
    return identity(this.path) === socket && identity(this.#name) === name;
  }
  /** Comes back where somebody cleaned up (systemd-tmpfiles). Those who are connected stay. True: it had to. */
  async restore(): Promise<boolean> {
    if (this.#isThere) return false;
    this.#removeName();
    await this.#claim();
    return true;
  }

  #removeName(): void {
    if (this.path === this.#name) return;
    try {
      if (readlinkSync(this.#name) === this.path) unlinkSync(this.#name);
    } catch {
      // Gone already.
    }
  }
  async close(): Promise<void> {
    this.#removeName();
    await Promise.all(this.#servers.map((server) => server.close()));
  }
}
