import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from './client.js';
import { inputOf } from './key-input.js';
import { Vault } from './mounted.js';
import { populate } from './populate.js';

const child = fileURLToPath(new URL('./application-child.js', import.meta.url));
/** More than two chunks at most. */
const LONGEST = 40_000;

export interface User {
  readonly name: string;
  readonly key: Buffer;
  readonly profile: Buffer;
}
interface Asked {
  readonly method?: 'GET' | 'PUT';
  readonly body?: Buffer;
}
interface Answered {
  readonly status: number;
  readonly body: Buffer;
}

/** Content that tells whose it is in its first bytes, and is no other's in all the others. */
export function contentOf(owner: string): Buffer {
  return Buffer.concat([Buffer.from(`${owner} `), randomBytes(randomInt(1, LONGEST))]);
}

/** Runs `act` on each of them, `atOnce` at a time. */
export async function eachOf<T>(
  list: readonly T[],
  atOnce: number,
  act: (one: T) => Promise<unknown>,
): Promise<void> {
  const left = list.values();
  const worker = async (): Promise<void> => {
    for (const one of left) await act(one);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** A mounted vault with a locked scope for each user of an application, and the application's server process. */
export class Application {
  readonly vault = new Vault({ mount: false });
  readonly client = new Client(this.vault.socket);
  readonly users: readonly User[];
  readonly #keys = join(this.vault.directory, 'keys');
  readonly #socket = join(this.vault.directory, 'application');
  #process: ChildProcess | undefined;

  constructor(count: number) {
    this.users = Array.from({ length: count }, (_, i) => {
      const name = `user-${i}`;
      return { name, key: randomBytes(32), profile: contentOf(name) };
    });
  }

  async prepare(): Promise<void> {
    mkdirSync(this.#keys, { mode: 0o700 });
    for (const { name, key } of this.users) writeFileSync(join(this.#keys, name), key, { mode: 0o600 });
    await populate(this.vault, this.users);
    this.vault.mountIt();
    await eachOf(this.users, 4, async (user) => {
      await this.opened(user, async () => writeFileSync(this.vault.path(user.name, 'profile'), user.profile));
    });
  }

  /** Starts the server process, maybe after the one before it was killed. */
  async start(): Promise<void> {
    rmSync(this.#socket, { force: true });
    const { socket, mount } = this.vault;
    const args = [child, this.#socket, socket, mount, this.#keys];
    this.#process = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(this.#process.stdout as NodeJS.ReadableStream, 'data');
  }
  /** SIGKILL. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    running.kill('SIGKILL');
    await once(running, 'exit');
  }

  #send(path: string, { method = 'GET', body }: Asked, took: (reply: IncomingMessage) => void) {
    const outgoing = request({ socketPath: this.#socket, agent: false, path, method }, took);
    outgoing.end(body);
    return outgoing;
  }
  ask(path: string, asked: Asked = {}): Promise<Answered> {
    return new Promise((resolve, reject) => {
      const outgoing = this.#send(path, asked, (reply) => {
        const parts: Buffer[] = [];
        reply.on('data', (part: Buffer) => parts.push(part));
        reply.on('end', () => resolve({ status: reply.statusCode ?? 0, body: Buffer.concat(parts) }));
        reply.on('error', reject);
      });
      outgoing.on('error', reject);
    });
  }
  /** A client that hangs up after some time, answered or not. */
  hangUp(path: string, milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const outgoing = this.#send(path, {}, (reply) => reply.on('error', () => {}).resume());
      outgoing.on('error', () => {});
      outgoing.on('close', () => resolve());
      setTimeout(() => outgoing.destroy(), milliseconds);
    });
  }
  /** A long answer's beginning, with the way to hang up; what comes is `user`'s. */
  begin(user: User): Promise<{ first: Buffer; hangUp(): void }> {
    return new Promise((resolve, reject) => {
      const outgoing = this.#send(`/${user.name}?long`, {}, (reply) => {
        reply.on('error', () => {});
        reply.once('data', (first: Buffer) => resolve({ first, hangUp: () => outgoing.destroy() }));
      });
      outgoing.on('error', reject);
    });
  }

  /** With a user's scope open by a lease of ours, which ends with a lock. */
  async opened<T>({ name, key }: User, act: () => Promise<T>): Promise<T> {
    const input = inputOf(key);
    await this.client.createLease(`/${name}`, {}, input);
    input.wipe();
    try {
      return await act();
    } finally {
      await this.client.lock(`/${name}`, {});
    }
  }
  /** What is not locked yet, and what still has a lease; the root, which the mount opens, apart. */
  async left(): Promise<string[]> {
    const [scopes, leases] = await Promise.all([this.client.scopes(), this.client.leases()]);
    return [
      ...scopes.filter(({ path, state }) => path !== '/' && state !== 'locked').map(({ path }) => path),
      ...leases.filter(({ path }) => path !== '/').map(({ id, path }) => `lease ${id} of ${path}`),
    ];
  }

  async remove(): Promise<void> {
    await this.kill();
    this.vault.remove();
  }
}
