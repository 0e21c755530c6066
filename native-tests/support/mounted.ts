import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Support for native tests: a vault in a temporary directory, mounted by the real CLI and daemon. */
export const project = fileURLToPath(new URL('../../../', import.meta.url));
export const cliPath = join(project, 'bin/scopefs');

export interface CliResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Why native tests can't run here, or undefined. Tests fail with it: they never skip silently. */
export function unableToMount(): string | undefined {
  if (process.getuid?.() !== 0) return 'native tests need root';
  return existsSync('/dev/fuse') ? undefined : 'native tests need /dev/fuse';
}

function result(run: ReturnType<typeof spawnSync>): CliResult {
  return {
    status: run.status ?? 255,
    stdout: String(run.stdout ?? ''),
    stderr: String(run.stderr ?? ''),
  };
}

/** Runs the CLI to its end, under the Node that runs this. `input` goes to its standard input. */
export function scopefs(
  args: readonly string[],
  options: { input?: string | Buffer; env?: Record<string, string>; cwd?: string } = {},
): CliResult {
  return result(
    spawnSync(process.execPath, [cliPath, ...args], {
      input: options.input ?? '',
      env: { ...process.env, ...options.env },
      cwd: options.cwd,
      timeout: 60_000,
    }),
  );
}

/** Runs a program to its end. */
export function run(command: string, args: readonly string[], cwd?: string, timeout = 300_000): CliResult {
  return result(spawnSync(command, [...args], { cwd, timeout, maxBuffer: 256 << 20, input: '' }));
}

/** How long a daemon may take to end once its mount is gone. */
const ENDING_MS = 10_000;

/** Whether a process exists that is more than a name: not one that nobody has waited for yet. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

export interface VaultOptions {
  chunkSize?: string;
  /** Mount at once (default). */
  mount?: boolean;
  /** The daemon's RLIMIT_NOFILE. */
  limit?: number;
  /** More arguments of every `mount`. */
  mountOptions?: readonly string[];
  directory?: string;
}

/** One vault with its mount point, key file and socket. Always end a test with {@link Vault.remove}. */
export class Vault {
  readonly directory: string;
  readonly vault: string;
  readonly mount: string;
  readonly keyFile: string;
  readonly socket: string;
  readonly #mountOptions: readonly string[];
  pid = 0;
  readonly #limit: number | undefined;

  constructor(options: VaultOptions = {}) {
    const unable = unableToMount();
    if (unable !== undefined) throw new Error(unable);
    this.#limit = options.limit;
    this.directory = options.directory ?? mkdtempSync(join(tmpdir(), 'scopefs-test-'));
    this.vault = join(this.directory, 'vault');
    this.mount = join(this.directory, 'mount');
    this.keyFile = join(this.directory, 'key');
    this.socket = join(this.directory, 'socket');
    this.#mountOptions = options.mountOptions ?? [];
    mkdirSync(this.mount, { recursive: true });
    writeFileSync(this.keyFile, randomBytes(32), { mode: 0o600 });
    const chunk = options.chunkSize === undefined ? [] : ['--chunk-size', options.chunkSize];
    this.expect(scopefs(['init', this.vault, '--with', `file:${this.keyFile}`, ...chunk]), 'init');
    if (options.mount !== false) this.mountIt();
  }

  expect(result: CliResult, what: string): CliResult {
    if (result.status === 0) return result;
    throw new Error(`${what}: exit status ${result.status}: ${result.stderr}${result.stdout}`);
  }

  /** Mounts; throws where that fails. */
  mountIt(...extra: string[]): void {
    const mount = (args: readonly string[]): CliResult =>
      this.#limit === undefined
        ? scopefs(args)
        : run('prlimit', [`--nofile=${this.#limit}:${this.#limit}`, process.execPath, cliPath, ...args]);
    const answer = this.expect(
      mount([
        'mount',
        this.vault,
        this.mount,
        '--with',
        `file:${this.keyFile}`,
        '--host',
        `unix://${this.socket}`,
        '--json',
        // The other I/O mode, for a whole run of tests.
        ...(process.env.SCOPEFS_TEST_WRITEBACK === '1' ? ['--writeback'] : []),
        ...this.#mountOptions,
        ...extra,
      ]),
      'mount',
    );
    this.pid = (JSON.parse(answer.stdout) as { pid: number }).pid;
  }
  unmount(): CliResult {
    return this.cli('unmount', this.mount);
  }
  remount(): void {
    this.expect(this.unmount(), 'unmount');
    this.mountIt();
  }

  /** Runs a verb against this vault's daemon. */
  cli(...args: string[]): CliResult {
    return scopefs([...args, '--host', `unix://${this.socket}`]);
  }
  /** The same without waiting for it. */
  start(...args: string[]): Promise<CliResult> {
    return new Promise((resolve) => {
      const child = spawn(process.execPath, [cliPath, ...args, '--host', `unix://${this.socket}`]);
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (part) => {
        stdout += String(part);
      });
      child.stderr.on('data', (part) => {
        stderr += String(part);
      });
      child.on('close', (status) => resolve({ status: status ?? 255, stdout, stderr }));
    });
  }

  /** A verb as a process of the caller's. */
  startProcess(...args: string[]): ChildProcess {
    return spawn(process.execPath, [cliPath, ...args, '--host', `unix://${this.socket}`], {
      stdio: 'ignore',
    });
  }

  /** Makes a scope with a key file of its own; the path of that file. */
  createScope(path: string): string {
    const key = join(this.directory, `key-${path.replaceAll('/', '-')}`);
    writeFileSync(key, randomBytes(32), { mode: 0o600 });
    this.expect(this.cli('create', path, '--with', `file:${key}`), `create ${path}`);
    return key;
  }
  unlock(path: string, key: string, ...extra: string[]): void {
    this.expect(this.cli('unlock', path, '--with', `file:${key}`, ...extra), `unlock ${path}`);
  }
  lock(path: string, ...extra: string[]): Receipt[] {
    const answer = this.expect(this.cli('lock', path, '--json', ...extra), `lock ${path}`);
    return (JSON.parse(answer.stdout) as { receipts: Receipt[] }).receipts;
  }

  path(...names: string[]): string {
    return join(this.mount, ...names);
  }

  /** umount(8) and the daemon's end: a verb takes a quarter of a second more. False: not so. */
  #takeOff(): boolean {
    if (this.pid === 0 || run('umount', [this.mount], undefined, ENDING_MS).status !== 0) return false;
    for (const started = Date.now(); isRunning(this.pid); ) {
      if (Date.now() - started > ENDING_MS) return false;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
    return true;
  }

  /** Unmounts, by force if need be, and removes everything. */
  remove(): void {
    const isMounted = readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${this.mount} `);
    if (isMounted && !this.#takeOff()) {
      const done = this.unmount();
      if (done.status !== 0) {
        if (this.pid > 0) {
          try {
            process.kill(this.pid, 'SIGKILL');
          } catch {
            // It is gone already.
          }
        }
        spawnSync('umount', ['-l', this.mount]);
      }
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export interface Receipt {
  scope: string;
  path: string;
  generation: number;
  reason: string;
  leases_ended: number;
  handles_cut: number;
  inodes_invalidated: number;
  bytes_flushed: number;
  errors: { file: string; error: string }[];
  holders: { pid: number; command: string; files: string[] }[];
  seconds: number;
}
