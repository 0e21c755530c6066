import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Failure } from '../../src/base/failure.js';
import type { LeaseOptions } from '../../src/control/client/client.js';
import type { LeaseView } from '../../src/control/schemas.js';
import { SecretInput } from '../../src/libc/memory.js';
import { Board } from './board.js';
import { Client } from './client.js';
import { type Receipt, run, Vault, type VaultOptions } from './mounted.js';
import type { Orders } from './orders.js';

type Order<Op extends keyof Orders> = Parameters<Orders[Op]>[0];
/** `signal`: it died of it instead of answering. `at`, `until`: CLOCK_MONOTONIC, ms. */
type Answer<Op extends keyof Orders> = ReturnType<Orders[Op]> & {
  at: number;
  until: number;
  signal?: NodeJS.Signals;
};

const child = fileURLToPath(new URL('./probe-child.js', import.meta.url));

export const SOCKET = 3;

/** A process that holds files of a mount over locks. */
export class Probe {
  readonly process: ChildProcess;
  readonly #waiting = new Map<number, (answer: never) => void>();
  readonly ended: Promise<void>;
  #ready: Promise<void>;
  #next = 1;
  #signal: NodeJS.Signals | undefined;

  /** `through`: a command that ends in running what its last arguments say (unshare, sh -c). */
  constructor(through: readonly string[] = []) {
    const [command = '', ...args] = [...through, process.execPath, child];
    this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit', 'pipe'], cwd: '/' });
    const lines = createInterface({ input: this.process.stdout as NodeJS.ReadableStream });
    let ready = (): void => {};
    this.#ready = new Promise((resolve) => {
      ready = resolve;
    });
    lines.on('line', (line) => {
      if (line === 'ready') {
        ready();
        return;
      }
      const answer = JSON.parse(line) as { id: number };
      const done = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      done?.(answer as never);
    });
    this.ended = new Promise((resolve) => {
      this.process.on('close', (status, signal) => {
        this.#signal = signal ?? undefined;
        const failed = { n: Number.NaN, status, signal: signal ?? `exit ${status}` };
        for (const done of this.#waiting.values()) done(failed as never);
        this.#waiting.clear();
        ready();
        resolve();
      });
    });
    this.process.stdin?.on('error', () => {});
  }

  async call<Op extends keyof Orders>(op: Op, order: Order<Op>): Promise<Answer<Op>> {
    await this.#ready;
    if (this.#signal !== undefined) return { n: Number.NaN, signal: this.#signal } as Answer<Op>;
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve as (answer: never) => void);
      this.process.stdin?.write(`${JSON.stringify({ ...order, op, id })}\n`);
    });
  }
  /** The same, for a call that must work. */
  async must<Op extends keyof Orders>(op: Op, order: Order<Op>): Promise<number> {
    const { n, signal } = await this.call(op, order);
    if (!(n >= 0)) throw new Error(`${op} ${JSON.stringify(order)}: ${signal ?? n}`);
    return n;
  }
  /** The other end of the socket that the process has as descriptor {@link SOCKET}. */
  get socket(): Readable {
    return this.process.stdio[SOCKET] as Readable;
  }
  async kill(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGKILL');
    await this.ended;
  }
}

/** A mounted vault with probes and a fast way to its daemon (a CLI process takes 0.4 s). */
export class Rig {
  readonly vault: Vault;
  readonly client: Client;
  readonly #probes: Probe[] = [];
  readonly #keys = new Map<string, string>();
  #boards = 0;
  #stopped = false;
  #controls = false;

  constructor(options: VaultOptions = {}) {
    this.vault = new Vault(options);
    this.client = new Client(this.vault.socket, 40_000);
    this.#keys.set('/', this.vault.keyFile);
  }
  path(...names: string[]): string {
    return this.vault.path(...names);
  }
  probe(through?: readonly string[]): Probe {
    const probe = new Probe(through);
    this.#probes.push(probe);
    return probe;
  }
  board(count = 64): Board {
    return new Board(join(this.vault.directory, `board-${this.#boards++}`), count);
  }
  createScope(path: string): void {
    this.#keys.set(path, this.vault.createScope(path));
  }
  key(path: string): string {
    return this.#keys.get(path) as string;
  }
  async unlock(path: string, ttl?: string): Promise<void> {
    await this.lease(path, { ttl });
  }
  async lease(path: string, options: LeaseOptions): Promise<LeaseView> {
    const input = new SecretInput();
    input.append(readFileSync(this.key(path)));
    try {
      return await this.client.createLease(path, options, input);
    } finally {
      input.wipe();
    }
  }
  lock(path: string, wait?: string): Promise<Receipt[]> {
    return this.client.lock(path, { wait });
  }
  async state(path: string): Promise<string> {
    return (await this.client.scope(path)).state;
  }

  /** Processes in uninterruptible sleep that hold something of this mount or belong to its daemon. */
  stuck(): string[] {
    const found = run('ps', ['-eLo', 'pid,tid,stat,wchan:30,comm']).stdout.split('\n');
    const mine = new Set([this.vault.pid, ...this.#probes.map((probe) => probe.process.pid)].map(String));
    return found.filter((line) => {
      const [pid, , stat] = line.trim().split(/\s+/);
      return mine.has(pid ?? '') && stat?.startsWith('D') === true;
    });
  }
  /** Those of {@link stuck} that stay so: a wait for the disk, or for an answer that is coming, is none. */
  async leftStuck(): Promise<string[]> {
    let found = this.stuck();
    for (let tries = 0; found.length > 0 && tries < 50; tries++) {
      await sleep(100);
      found = this.stuck();
    }
    return found;
  }
  /** Stops the daemon, so that what is asked of the mount stays under way. */
  stop(): void {
    this.#stopped = true;
    process.kill(this.vault.pid, 'SIGSTOP');
    // A signal is no moment: until its last thread has stopped, one may still answer.
    const tasks = `/proc/${this.vault.pid}/task`;
    const state = (tid: string) => readFileSync(join(tasks, tid, 'stat'), 'utf8').split(') ')[1]?.[0];
    while (readdirSync(tasks).some((tid) => state(tid) !== 'T'));
  }
  resume(): void {
    this.#stopped = false;
    process.kill(this.vault.pid, 'SIGCONT');
  }
  /** Requests that the kernel has made and that have no answer yet. */
  get waiting(): number {
    return Number(readFileSync(join(this.#connection(), 'waiting'), 'utf8'));
  }
  /** Ends a mount that hangs: every request fails from now on. */
  abort(): void {
    writeFileSync(join(this.#connection(), 'abort'), '1');
  }
  /** Of fuse's control filesystem, mounted here as not every host has it at /sys/fs/fuse/connections. */
  #connection(): string {
    const line = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((entry) => entry.includes(` ${this.vault.mount} `));
    const minor = line?.split(' ')[2]?.split(':')[1];
    const control = join(this.vault.directory, 'connections');
    if (!this.#controls) {
      mkdirSync(control);
      this.vault.expect(run('mount', ['-t', 'fusectl', 'fusectl', control]), 'mount of fusectl');
      this.#controls = true;
    }
    return join(control, String(minor));
  }
  async remove(): Promise<void> {
    if (this.#stopped) this.resume();
    for (const probe of this.#probes) probe.process.kill('SIGKILL');
    const gone = Promise.all(this.#probes.map((probe) => probe.kill()));
    const late = await Promise.race([gone.then(() => false), sleep(5_000).then(() => true)]);
    if (late) this.abort();
    await gone;
    if (this.#controls) run('umount', [join(this.vault.directory, 'connections')]);
    this.vault.remove();
  }
}

export const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The exit status that the CLI would have ended with. */
export async function exitStatus(call: Promise<unknown>): Promise<number> {
  try {
    await call;
    return 0;
  } catch (error) {
    return (error as Failure).exitStatus ?? 255;
  }
}

/** Fails, instead of hanging, where a promise takes longer. */
export async function within<T>(milliseconds: number, what: string, call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    clearTimeout(timer);
  }
}
