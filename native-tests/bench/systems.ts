import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run, Vault } from '../support/mounted.js';
import { Image, type ImageSize } from './image.js';
import { cpuSeconds, ended, installed, mounted, must, peakMemory, waitFor } from './processes.js';

/** What is peculiar to a filesystem: `store` is an empty directory on its image, `mount` its mount point there. */
interface Kind {
  readonly name: string;
  /** Its program, where it is not part of the system; the Debian package has the same name. */
  readonly program?: string;
  /** Makes what is stored; done once a round. */
  format(store: string, mount: string): void;
  /** Mounts: the daemon's process id, or 0 without one. */
  mount(store: string, mount: string): number;
  /** Unmounts in the orderly way. */
  unmount(mount: string): void;
}

const PASSWORD = 'benchmark';
/** Stretching a password is no part of any workload, but its time and memory would count as the daemon's. */
const CHEAP = ['--pbkdf', 'pkcs5-pbkdf2-hmac-sha256', '--rounds', '1'];
const passFile = (store: string): string => `${store}.pass`;

/** Starts a FUSE daemon in the foreground and waits until its mount is there. */
function daemon(command: string, args: readonly string[], mount: string): number {
  // A session of its own: the terminal's ^C is for the harness, which unmounts in order.
  const child: ChildProcess = spawn(command, args, { detached: true, stdio: 'ignore' });
  const pid = child.pid ?? 0;
  child.on('error', () => undefined);
  child.unref();
  if (pid === 0 || !waitFor(() => mounted(mount) || ended(pid)) || !mounted(mount)) {
    throw new Error(`${command} did not mount ${mount}`);
  }
  return pid;
}

const umount = (mount: string): void => {
  must('umount', [mount]);
};

/** Another build of scopefs, for comparing what a change costs: a checkout with its dist/. */
export const BASE = 'base';
function otherBuild(checkout: string): Kind {
  const cli = join(checkout, 'bin/scopefs');
  const paths = (store: string) => ({
    vault: join(store, 'vault'),
    key: `file:${join(store, 'key')}`,
    host: `unix://${join(store, 'socket')}`,
  });
  return {
    name: BASE,
    format: (store, mount) => {
      const { vault: made, key } = paths(store);
      mkdirSync(mount, { recursive: true });
      writeFileSync(join(store, 'key'), randomBytes(32), { mode: 0o600 });
      must(cli, ['init', made, '--with', key]);
    },
    mount: (store, mount) => {
      const { vault: made, key, host } = paths(store);
      const output = must(cli, ['mount', made, mount, '--with', key, '--host', host, '--json']);
      return (JSON.parse(output) as { pid: number }).pid;
    },
    unmount: (mount) => {
      must(cli, ['unmount', mount, '--host', paths(dirname(mount)).host]);
    },
  };
}

let vault: Vault | undefined;

const KINDS: readonly Kind[] = [
  {
    name: 'ext4',
    format: () => undefined,
    mount: () => 0,
    unmount: () => undefined,
  },
  {
    name: 'gocryptfs',
    program: 'gocryptfs',
    format: (store) => {
      writeFileSync(passFile(store), `${PASSWORD}\n`);
      must('gocryptfs', ['-init', '-q', '-scryptn', '10', '-passfile', passFile(store), store]);
    },
    mount: (store, mount) =>
      daemon('gocryptfs', ['-q', '-fg', '-passfile', passFile(store), store, mount], mount),
    unmount: umount,
  },
  {
    name: 'securefs',
    program: 'securefs',
    format: (store) => {
      must('securefs', ['create', ...CHEAP, '--pass', PASSWORD, store]);
    },
    mount: (store, mount) => daemon('securefs', ['mount', '--pass', PASSWORD, store, mount], mount),
    unmount: umount,
  },
  {
    name: 'scopefs',
    format: (store) => {
      vault = new Vault({ directory: store, mount: false });
    },
    mount: () => {
      vault?.mountIt();
      return vault?.pid ?? 0;
    },
    unmount: () => {
      vault?.expect(vault.unmount(), 'unmount');
    },
  },
];

export const SYSTEM_NAMES: readonly string[] = KINDS.map((kind) => kind.name);

/** One filesystem under test on an image of its own. */
export class System {
  readonly name: string;
  /** CPU seconds of its daemons so far. */
  cpu = 0;
  /** Largest VmHWM of its daemons, in bytes. */
  peak = 0;
  readonly #kind: Kind;
  readonly #image: Image;
  #pid = 0;

  constructor(kind: Kind, directory: string, size: ImageSize) {
    this.name = kind.name;
    this.#kind = kind;
    this.#image = new Image(directory, kind.name, size);
  }

  /** Of its daemon; 0 without one. */
  get pid(): number {
    return this.#pid;
  }
  /** Where what it stores lies. */
  get store(): string {
    return join(this.#image.mountPoint, 'store');
  }
  get #mount(): string {
    return join(this.store, 'mount');
  }
  get #separate(): string {
    return join(this.#image.mountPoint, 'mount');
  }
  /** The directory in which workloads work. */
  get root(): string {
    if (this.name === 'ext4') return this.store;
    return this.name === 'scopefs' || this.name === BASE ? this.#mount : this.#separate;
  }

  /** A fresh image with a fresh filesystem, mounted. */
  create(): void {
    this.#image.create();
    mkdirSync(this.store);
    mkdirSync(this.#separate);
    this.#kind.format(this.store, this.root);
    this.#pid = this.#kind.mount(this.store, this.root);
  }

  /** Unmounts the filesystem and its backing store and mounts both again: nothing is cached. */
  remount(): void {
    this.#note();
    this.#kind.unmount(this.root);
    this.#waitForEnd();
    this.#image.unmount();
    this.#image.mount();
    this.#pid = this.#kind.mount(this.store, this.root);
  }

  /** Writes back what this system has not written yet, so that it does not disturb the next workload. */
  settle(): void {
    run('sync', ['-f', this.root]);
    run('sync', ['-f', this.#image.mountPoint]);
  }

  #note(): void {
    if (this.#pid === 0) return;
    this.cpu += cpuSeconds(this.#pid);
    this.peak = Math.max(this.peak, peakMemory(this.#pid));
  }

  #waitForEnd(): void {
    if (this.#pid === 0) return;
    if (!waitFor(() => ended(this.#pid))) throw new Error(`the daemon of ${this.name} did not end`);
    this.#pid = 0;
  }

  /** Ends the round: unmounts in order, then {@link destroy}. */
  close(): void {
    this.#note();
    this.#kind.unmount(this.root);
    this.#waitForEnd();
    this.destroy();
  }

  /** Removes everything, by force where it must. Any state, any number of times. */
  destroy(): void {
    if (mounted(this.root)) run('umount', [this.root]);
    if (this.#pid !== 0) {
      if (!waitFor(() => ended(this.#pid), 3_000)) process.kill(this.#pid, 'SIGKILL');
      this.#pid = 0;
    }
    if (mounted(this.root)) run('umount', ['-l', this.root]);
    this.#image.destroy();
  }
}

/** The systems asked for that are installed, and a line on those that are not. `base`: a checkout to compare with. */
export function chooseSystems(
  wanted: readonly string[] | undefined,
  directory: string,
  size: ImageSize = {},
  base?: string,
): { systems: System[]; missing: string | undefined } {
  const chosen = KINDS.filter((kind) => wanted === undefined || wanted.includes(kind.name));
  const kinds = base === undefined ? chosen : [otherBuild(base), ...chosen];
  const absent = kinds.flatMap(({ program }) =>
    program === undefined || installed(program) ? [] : [program],
  );
  return {
    systems: kinds
      .filter(({ program }) => program === undefined || !absent.includes(program))
      .map((kind) => new System(kind, directory, size)),
    missing:
      absent.length === 0
        ? undefined
        : `not installed, so not compared: ${absent.join(', ')} (apt-get install ${absent.join(' ')})`,
  };
}
