import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installed } from '../bench/processes.js';
import { type CliResult, project, unableToMount } from '../support/mounted.js';
import { Container } from './container.js';
import { type Dockerfile, type Instruction, parseDockerfile, parseIgnored } from './dockerfile.js';
import { StageRoot } from './stage-root.js';

/**
 * `npm run try:dockerfile`: the steps of the Dockerfile without Docker. Each stage is an overlay over this host's /, its
 * RUN lines run in it by chroot, with an empty npm cache; then its container runs, as the Dockerfile's head comment
 * starts it: volumes, capabilities, a root of its own.
 *
 * What is not tried: the images. The host's node and its libraries stand for node:24-bookworm, and for its -slim what
 * a host often has besides (compilers, python3, git, fusermount, OpenSSL's libraries) is hidden. Nor are seccomp and
 * AppArmor, the memory limit, user namespaces and a registry.
 *
 * Everything runs in a mount and process namespace of its own: whatever ends it, no mount or process of it is left.
 */

const STOP_SECONDS = 15;
const TOOLS = ['unshare', 'nsenter', 'setpriv', 'pivot_root', 'chroot', 'mknod', 'ldd'];
/** Copies of others' FUSE mounts would keep their daemons from ending: this namespace lets them go first. */
const INSIDE = `awk '$3 ~ /^fuse/ { print $2 }' /proc/self/mounts | while read -r at; do umount -l "$(printf '%b' "$at")"; done
exec "$@"`;

const started = performance.now();
const seconds = (): number => Math.round((performance.now() - started) / 1000);
const say = (text: string): boolean => process.stderr.write(`[dockerfile] ${seconds()} s  ${text}\n`);

/** Does a step; what it throws names the step. */
async function step<T>(name: string, act: () => T | Promise<T>): Promise<T> {
  say(name);
  try {
    return await act();
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`);
  }
}

function succeeded(done: CliResult): string {
  if (done.status === 0) return done.stdout.trim();
  throw new Error(`exit status ${done.status}: ${done.stdout}${done.stderr}`.trim());
}

function apply(
  instruction: Instruction,
  root: StageRoot,
  earlier: Map<string, StageRoot>,
  ignored: Set<string>,
) {
  if (instruction.kind === 'WORKDIR') {
    root.enter(instruction.path);
  } else if (instruction.kind === 'RUN') {
    succeeded(root.run(['sh', '-c', instruction.command]));
  } else {
    const from = instruction.from === undefined ? undefined : earlier.get(instruction.from);
    if (instruction.from !== undefined && from === undefined) throw new Error(`no stage ${instruction.from}`);
    for (const source of instruction.paths.slice(0, -1)) {
      const top = source.split('/').find((name) => name !== '' && name !== '.') ?? '.';
      if (top === '.' || top === '..')
        throw new Error('the replay does not know a COPY of the whole context');
      if (from === undefined && ignored.has(top)) throw new Error(`${source} is in .dockerignore`);
      root.copy(join(from?.path ?? project, source), instruction.paths.at(-1) as string);
    }
  }
}

async function build(file: Dockerfile, directory: string): Promise<StageRoot> {
  const path = join(project, '.dockerignore');
  const ignored = parseIgnored(existsSync(path) ? readFileSync(path, 'utf8') : '');
  const roots = new Map<string, StageRoot>();
  let last: StageRoot | undefined;
  for (const { name, image, instructions } of file.stages) {
    const stage = `stage ${name}`;
    const root = await step(`${stage}: FROM ${image}`, () => {
      const at = join(directory, `stage-${roots.size}`);
      mkdirSync(at);
      return new StageRoot(at, image);
    });
    await step(`${stage}: node runs`, () => succeeded(root.run(['node', '--version'])));
    for (const instruction of instructions) {
      await step(`${stage}: ${instruction.line}`, () => apply(instruction, root, roots, ignored));
    }
    roots.set(name, root);
    last = root;
  }
  return last as StageRoot;
}

/** The image holds what the package needs to run, and nothing of what only its developers need. */
function packages(root: StageRoot): void {
  const { dependencies, devDependencies } = JSON.parse(
    readFileSync(join(project, 'package.json'), 'utf8'),
  ) as {
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  const there = (name: string): boolean => existsSync(root.resolve(join('node_modules', name)));
  const extra = Object.keys(devDependencies).filter(there);
  if (extra.length > 0) throw new Error(`still there: ${extra.join(', ')}`);
  const absent = Object.keys(dependencies).filter((name) => !there(name));
  if (absent.length > 0) throw new Error(`not there: ${absent.join(', ')}`);
}

async function runImage(file: Dockerfile, directory: string, root: StageRoot): Promise<void> {
  const container = await step('container', () => new Container(directory, root, file.capabilities));
  try {
    await step('scopefs init', () =>
      succeeded(container.exec([...file.entrypoint, 'init', '/vault', '--with', 'file:/run/secrets/root'])),
    );
    const main = [...file.entrypoint, ...file.cmd];
    await step(main.join(' '), () => container.start(main));
    await step('write and read through the mount', () => {
      const text = `written by the host ${process.pid}\n`;
      writeFileSync(join(container.data, 'file'), text);
      if (readFileSync(join(container.data, 'file'), 'utf8') !== text)
        throw new Error('the host reads other bytes');
      const seen = succeeded(container.exec(['cat', '/mnt/data/file']));
      if (seen !== text.trim()) throw new Error('the container reads other bytes');
    });
    await step(`${file.stopSignal} ends it`, () => container.stop(file.stopSignal, STOP_SECONDS));
    await step('no mount is left', () => {
      const left = container.left();
      if (left.length > 0) throw new Error(left.join(', '));
    });
  } finally {
    container.close();
  }
}

async function replay(directory: string): Promise<string> {
  const file = await step('read the Dockerfile', () =>
    parseDockerfile(readFileSync(join(project, 'Dockerfile'), 'utf8')),
  );
  const root = await build(file, directory);
  await step('dependencies only', () => packages(root));
  const added = root.added();
  const entry = [...file.entrypoint, 'version'];
  const version = await step(entry.join(' '), () => succeeded(root.run(entry)).split('\n')[0]);
  await runImage(file, directory, root);
  const count = file.stages.reduce((sum, stage) => sum + stage.instructions.length + 1, 0);
  return `${file.stages.length} stages, ${count} steps, ${added} MiB above the image, ${version}`;
}

/** Starts this program again in namespaces of its own; killing it ends all that it started. */
async function outside(): Promise<void> {
  const unable = unableToMount() ?? TOOLS.find((tool) => !installed(tool));
  if (unable !== undefined) throw new Error(`needs: ${unable}`);
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-dockerfile-'));
  try {
    const namespaces = '-m --propagation private --pid --fork --kill-child --mount-proc'.split(' ');
    const self = [
      process.execPath,
      fileURLToPath(import.meta.url),
      directory,
      readlinkSync('/proc/self/ns/mnt'),
    ];
    const child = spawn('unshare', [...namespaces, 'sh', '-c', INSIDE, 'sh', ...self], { stdio: 'inherit' });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => child.kill('SIGKILL'));
    const [status] = await once(child, 'exit');
    process.exitCode = status ?? 1;
    if (status === null) process.stdout.write('failed: interrupted\n');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const [directory, hostNamespace] = process.argv.slice(2);
try {
  if (directory === undefined) {
    await outside();
  } else {
    if (readlinkSync('/proc/self/ns/mnt') === hostNamespace) throw new Error('not in a namespace of its own');
    const result = await replay(directory);
    process.stdout.write(`ok: ${result}, ${seconds()} s\n`);
  }
} catch (error) {
  const [first, ...more] = (error as Error).message.split('\n');
  if (more.length > 0) process.stderr.write(`${more.join('\n')}\n`);
  process.stdout.write(`failed: ${first}\n`);
  process.exitCode = 1;
}
