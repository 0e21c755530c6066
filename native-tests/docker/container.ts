import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { must, pause, waitFor } from '../bench/processes.js';
import { type CliResult, run } from '../support/mounted.js';
import { imageEnvironment, type StageRoot } from './stage-root.js';

/** Docker's default capabilities (docs.docker.com, "Runtime privilege and Linux capabilities"). */
const CAPABILITIES =
  'audit_write chown dac_override fowner fsetid kill mknod net_bind_service net_raw setfcap setgid setpcap setuid sys_chroot';

/** As Docker does it: volumes, then the new root, then the old one let go without a word to anyone else. */
const ENTER = `set -e
bind() { mkdir -p "$root$2"; mount --bind "$volumes/$1" "$root$2"; }
root=$1 volumes=$2
bind vault /vault
bind data /mnt/data
bind run /run/scopefs
mkdir -p "$root/run/secrets"; touch "$root/run/secrets/root"
mount --bind "$volumes/root.key" "$root/run/secrets/root"
mount -o remount,bind,ro "$root/run/secrets/root"
mkdir "$root/.old"; cd "$root"; pivot_root . .old; cd /
mount --make-rslave /.old; umount -l /.old; rmdir /.old
echo ready; exec sleep 3600`;

function fuseMounts(pid: number | 'self'): string[] {
  const lines = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n');
  return lines
    .filter((line) => line.includes(' - fuse.scopefs '))
    .map((line) => line.split(' ')[4] as string);
}

/** The final stage with the volumes of the Dockerfile's `docker run`, in a mount namespace of its own. */
export class Container {
  /** The host's side of `-v /mnt/data:/mnt/data:rshared`. */
  readonly data: string;
  readonly #root: StageRoot;
  readonly #capabilities: string;
  readonly #log: string;
  readonly #holder: ChildProcess;
  #main: ChildProcess | undefined;

  constructor(directory: string, root: StageRoot, capabilities: readonly string[]) {
    this.#root = root;
    this.#capabilities = [
      '-all',
      ...CAPABILITIES.split(' ')
        .concat(capabilities)
        .map((one) => `+${one}`),
    ].join(',');
    this.#log = join(directory, 'log');
    const volumes = join(directory, 'volumes');
    this.data = join(volumes, 'data');
    mkdirSync(volumes);
    must('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', volumes]);
    must('mount', ['--make-shared', volumes]);
    for (const name of ['vault', 'data', 'run']) mkdirSync(join(volumes, name));
    writeFileSync(join(volumes, 'root.key'), randomBytes(32), { mode: 0o600 });
    // This process keeps the namespace, so that its mounts can be looked at after the main process.
    const output = openSync(this.#log, 'w');
    const args = ['-m', '--propagation', 'unchanged', 'sh', '-c', ENTER, 'sh', root.path, volumes];
    this.#holder = spawn('unshare', args, { stdio: ['ignore', output, output] });
    if (!waitFor(() => this.log() === 'ready')) throw new Error(`no container: ${this.log()}`);
  }

  log(): string {
    return readFileSync(this.#log, 'utf8').trim();
  }

  /** A program's command line in the container, with the capabilities that `docker run` gives it. */
  #command(args: readonly string[]): string[] {
    const caps = this.#capabilities;
    const limited = ['setpriv', '--bounding-set', caps, '--inh-caps', '-all', '--'];
    const enter = ['sh', '-c', 'ulimit -c 0; cd "$0" && exec "$@"', this.#root.workdir];
    const environment = Object.entries(imageEnvironment()).map(([name, value]) => `${name}=${value}`);
    const namespace = `--mount=/proc/${this.#holder.pid}/ns/mnt`;
    return [namespace, 'env', '-i', ...environment, ...limited, ...enter, ...args];
  }

  /** `docker exec`: runs a program to its end. */
  exec(args: readonly string[]): CliResult {
    return run('nsenter', this.#command(args));
  }

  /**
   * The main process. Waits until the host sees a mount on its side of the volume and the main process says that it is
   * mounted: between the two the root scope is still locked (ENOKEY).
   */
  start(args: readonly string[]): void {
    const output = openSync(this.#log, 'w');
    this.#main = spawn('nsenter', this.#command(args), { stdio: ['ignore', output, output] });
    const ready = (): boolean => fuseMounts('self').includes(this.data) && /^mounted /m.test(this.log());
    if (!waitFor(ready, 30_000)) throw new Error(`no mount after 30 s: ${this.log()}`);
  }

  /** `docker stop`: the signal, then its exit status, which must come within `seconds`. */
  async stop(signal: NodeJS.Signals, seconds: number): Promise<void> {
    const main = this.#main;
    if (main === undefined) throw new Error('not started');
    if (main.exitCode !== null) throw new Error(`it ended by itself, status ${main.exitCode}: ${this.log()}`);
    const gone = once(main, 'exit');
    main.kill(signal);
    const timer = setTimeout(() => main.kill('SIGKILL'), seconds * 1000);
    const [status, killedBy] = await gone;
    clearTimeout(timer);
    if (status === 0) return;
    const end = killedBy === 'SIGKILL' ? `nothing within ${seconds} s` : `status ${status ?? killedBy}`;
    throw new Error(`${signal}: ${end}: ${this.log()}`);
  }

  /** Mounts of scopefs that are left, in the container or on the host's side. */
  left(): string[] {
    pause(50);
    return [...fuseMounts(this.#holder.pid as number), ...fuseMounts('self')];
  }

  /** Ends both processes; the namespace and its mounts go with them. */
  close(): void {
    this.#main?.kill('SIGKILL');
    this.#holder.kill('SIGKILL');
  }
}
