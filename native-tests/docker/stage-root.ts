import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { must } from '../bench/processes.js';
import type { CliResult } from '../support/mounted.js';

const TIMEOUT = 900_000;
/** Directories that Debian's image has with their content, and those that it has empty. */
const KEPT = 'bin dev etc lib lib32 lib64 libx32 proc root sbin sys usr var'.split(' ');
const EMPTY = 'boot home media mnt opt run srv tmp'.split(' ');
/** What the -slim image lacks of what a host often has: nothing that runs in it may need these. */
const NOT_SLIM =
  'git python python3 make gcc g++ cc c++ ld curl wget openssl fusermount fusermount3 ps pgrep sqlite3'.split(
    ' ',
  );
const NOT_SLIM_LIBRARIES = /^lib(ssl|crypto|sqlite3|fuse3?|sodium|curl)\.so/;

/** Of the caller's environment a build sees only how to reach the network. */
const NETWORK =
  /^((https?|no|all)_proxy|node_extra_ca_certs|ssl_cert_(file|dir)|npm_config_(registry|cafile))$/i;

/** Environment of the image: PATH with the host's node in it. */
export function imageEnvironment(): Record<string, string> {
  const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'.split(':');
  if (!path.includes(dirname(process.execPath))) path.unshift(dirname(process.execPath));
  const network = Object.entries(process.env).filter(([name]) => NETWORK.test(name));
  return { ...(Object.fromEntries(network) as Record<string, string>), PATH: path.join(':'), HOME: '/root' };
}

/**
 * The root of one stage: an overlay whose lower directory is this host's /, its upper one a tmpfs of its own. Whiteouts
 * hide what no image has. Only a private mount namespace may create it: it has no way to unmount.
 */
export class StageRoot {
  readonly path: string;
  readonly #upper: string;
  #workdir = '/';

  constructor(directory: string, image: string) {
    must('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', directory]);
    this.path = join(directory, 'root');
    this.#upper = join(directory, 'upper');
    const work = join(directory, 'work');
    for (const one of [this.path, this.#upper, work]) mkdirSync(one);
    this.#hide(image);
    const layers = `lowerdir=/,upperdir=${this.#upper},workdir=${work}`;
    must('mount', ['-t', 'overlay', '-o', layers, 'overlay', this.path]);
    for (const name of EMPTY) mkdirSync(join(this.path, name), { recursive: true, mode: 0o755 });
    must('chmod', ['1777', join(this.path, 'tmp')]);
    // Docker gives a container the host's resolver. It may be a link into /run, which is empty here.
    const resolver = existsSync('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf') : '';
    rmSync(join(this.path, 'etc/resolv.conf'), { force: true });
    writeFileSync(join(this.path, 'etc/resolv.conf'), resolver);
    for (const one of ['dev', 'proc', 'sys']) must('mount', ['--bind', `/${one}`, join(this.path, one)]);
  }

  get workdir(): string {
    return this.#workdir;
  }

  /** Whiteouts in the upper directory, before it is mounted: character devices 0, 0. */
  #hide(image: string): void {
    const node = process.execPath.split('/')[1] ?? '';
    const paths = readdirSync('/').filter((name) => name !== node && !KEPT.includes(name));
    paths.push('root/.npm', 'root/.cache', 'usr/bin/scopefs', 'usr/local/bin/scopefs');
    if (image.endsWith('-slim')) {
      const needed = must('ldd', [process.execPath]);
      for (const room of ['usr/bin', 'usr/local/bin', 'usr/lib', ...libraryRooms()]) {
        for (const name of readdirSync(join('/', room))) {
          if (NOT_SLIM.includes(name)) paths.push(join(room, name));
          if (NOT_SLIM_LIBRARIES.test(name) && !needed.includes(name)) paths.push(join(room, name));
        }
      }
    }
    for (const path of paths) {
      if (!existsSync(join('/', path))) continue;
      const parent = dirname(path);
      mkdirSync(join(this.#upper, parent), { recursive: true, mode: 0o755 });
      if (parent !== '.') must('chmod', ['--reference', join('/', parent), join(this.#upper, parent)]);
      must('mknod', [join(this.#upper, path), 'c', '0', '0']);
    }
  }

  /** Runs a program to its end in the root, in its working directory. */
  run(args: readonly string[]): CliResult {
    const enter = ['sh', '-c', 'cd "$0" && exec "$@"', this.#workdir];
    const done = spawnSync('chroot', [this.path, ...enter, ...args], {
      env: imageEnvironment(),
      input: '',
      timeout: TIMEOUT,
      maxBuffer: 64 << 20,
    });
    const stderr = String(done.stderr ?? '') + (done.error === undefined ? '' : String(done.error));
    return { status: done.status ?? 255, stdout: String(done.stdout ?? ''), stderr };
  }

  /** WORKDIR: makes it where it is not there. */
  enter(path: string): void {
    this.#workdir = path;
    mkdirSync(join(this.path, path), { recursive: true });
  }

  /** A path of an instruction, as seen from outside. */
  resolve(path: string): string {
    return join(this.path, posix.resolve(this.#workdir, path));
  }

  /** COPY: a directory's content, a file by its name into a directory that ends in a slash. `source` is outside. */
  copy(source: string, destination: string): void {
    if (!existsSync(source)) throw new Error(`${source} is not there`);
    const into = this.resolve(destination);
    const directory = destination.endsWith('/') || (existsSync(into) && statSync(into).isDirectory());
    const target = statSync(source).isFile() && directory ? join(into, basename(source)) : into;
    mkdirSync(dirname(target), { recursive: true });
    cpSync(source, target, { recursive: true, verbatimSymlinks: true });
  }

  /** MiB that the stage's instructions added. */
  added(): number {
    return Number.parseInt(must('du', ['-sm', this.#upper]), 10);
  }
}

function libraryRooms(): string[] {
  const rooms = readdirSync('/usr/lib').filter((name) => name.endsWith('-linux-gnu'));
  return rooms.map((name) => join('usr/lib', name));
}
