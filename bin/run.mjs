// Entry of the npm scripts in a fresh clone: plain JavaScript without dependencies. Checks what must be there, installs,
// builds, then starts the compiled program. Whatever `node` is elsewhere, all of it runs under the one that runs this.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isThere, missingPrograms, packagesOf, programs } from './programs.mjs';

const project = fileURLToPath(new URL('..', import.meta.url));
const [what = '', ...rest] = process.argv.slice(2);
const ci = process.env.CI === 'true' || process.env.CI === '1';
const tests = 'support/run-tests';

/** Each script: its compiled programs below native-tests/ with their arguments, and whether they mount for certain. */
const scripts = {
  demo: { run: [['demo/demo']], mounts: true },
  test: {
    run: [
      [tests, 'src'],
      [tests, 'native-tests'],
    ],
  },
  'test:unit': { run: [[tests, 'src']] },
  'test:long': { run: [[tests, 'native-tests', '--long']], mounts: true },
  'test:nodes': { run: [['support/other-nodes']], mounts: true },
  soak: { run: [['soak/soak']], mounts: true },
  bench: { run: [['bench/bench']], mounts: true },
  'bench:control': { run: [['bench/control']], mounts: true },
  'bench:latency': { run: [['bench/latency']], mounts: true },
  'bench:lock': { run: [['bench/lock']], mounts: true },
  'bench:memory': { run: [['bench/memory']], mounts: true },
  'bench:requests': { run: [['bench/requests']], mounts: true },
  'bench:scopes': { run: [['bench/scopes']], mounts: true },
  'try:dockerfile': { run: [['docker/replay']], mounts: true },
};

const say = (text) => console.error(`[scopefs] ${text}`);

/** Why nothing can be mounted here, or undefined. */
function unableToMount() {
  if (process.getuid() !== 0) return `root, for mounting: sudo npm run ${what}`;
  return existsSync('/dev/fuse')
    ? undefined
    : '/dev/fuse: modprobe fuse, or in a container --device /dev/fuse';
}

const addon = `${project}node_modules/better-sqlite3/build/Release/better_sqlite3.node`;

/** What is missing, each with the way to get it. */
function missing() {
  const lines = [];
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    lines.push(`Node.js >= 20.19 (this is ${process.versions.node}): from nodejs.org or your distribution`);
  }
  if (process.platform !== 'linux') lines.push("Linux: scopefs speaks its kernel's FUSE protocol");
  const [kernelMajor, kernelMinor] = existsSync('/proc/sys/kernel/osrelease')
    ? readFileSync('/proc/sys/kernel/osrelease', 'utf8').split('.').map(Number)
    : [0, 0];
  if (kernelMajor < 6 || (kernelMajor === 6 && kernelMinor < 6)) {
    lines.push(`Linux >= 6.6 (this is ${kernelMajor}.${kernelMinor})`);
  }
  for (const row of programs) {
    const wanted = row.needed === true || (row.compiles === true && !existsSync(addon));
    if (!wanted || isThere(row)) continue;
    const why = row.compiles === true ? ' (better-sqlite3 is compiled here)' : '';
    lines.push(`${row.program}${why}: apt-get install ${packagesOf([row]).join(' ')}`);
  }
  const unable = scripts[what]?.mounts === true ? unableToMount() : undefined;
  if (unable !== undefined) lines.push(unable);
  return lines;
}

/** A program to its end: its status. With `step` it says every 10 s that it still runs, and what it does. */
function run(command, args, { step, env = process.env } = {}) {
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  if (step !== undefined) say(step);
  const beat =
    step === undefined ? undefined : setInterval(() => say(`  ${step}: ${seconds()} s so far`), 10_000);
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: project, stdio: 'inherit', env });
    child.on('error', (error) => {
      say(`${command}: ${error.message}`);
      resolve(1);
    });
    child.on('close', (status) => resolve(status ?? 1));
  }).finally(() => {
    clearInterval(beat);
    if (step !== undefined) say(`  ${step}: took ${seconds()} s`);
  });
}

/** @param {string} hint what may help where it fails: then everything ends */
async function must(command, args, { hint, optional = false, ...options } = {}) {
  const status = await run(command, args, options);
  if (status === 0 || optional) return;
  if (hint !== undefined) say(hint);
  process.exit(status);
}

/**
 * npm under this Node: packages are compiled for the Node that npm's scripts find first, with the headers beside it where
 * they are there (else node-gyp downloads them).
 */
function npm(args, options) {
  const bin = dirname(process.execPath);
  const home = dirname(bin);
  const headers = existsSync(`${home}/include/node/node.h`) ? { npm_config_nodedir: home } : {};
  const env = { ...headers, ...process.env, PATH: `${bin}:${process.env.PATH}` };
  return must('npm', args, { ...options, env });
}

/** Why better-sqlite3 does not load because it was compiled for another Node, or undefined. */
function builtForAnother() {
  try {
    const Database = createRequire(import.meta.url)('better-sqlite3');
    new Database(':memory:').close();
  } catch (error) {
    const { code, message } = error;
    if (code === 'ERR_DLOPEN_FAILED' || /NODE_MODULE_VERSION/.test(message)) return message;
  }
  return undefined;
}

async function install() {
  const lock = `${project}node_modules/.package-lock.json`;
  const fresh = existsSync(lock) && statSync(lock).mtimeMs >= statSync(`${project}package-lock.json`).mtimeMs;
  const hint =
    'the install failed: see above; it needs the npm registry, and python3, make and g++ to compile';
  const rebuild = (name, options) => npm(['rebuild', '--loglevel=error', name], options);
  if (!fresh) {
    // Apart from what they compile: one silent step of minutes looks like one that hangs.
    await npm(['ci', '--ignore-scripts', '--no-fund', '--no-audit', '--loglevel=error'], {
      step: 'fetching packages from the npm registry',
      hint,
    });
    say('better-sqlite3 is downloaded if that can be, else compiled, which takes a minute or two');
    await rebuild('better-sqlite3', { step: 'building better-sqlite3', hint });
    // Optional: without it there is no --transport fuse-native.
    if (existsSync(`${project}node_modules/fuse-native`)) {
      await rebuild('fuse-native', { step: 'building fuse-native', optional: true });
    }
  }
  if (builtForAnother() === undefined) return;
  say(`better-sqlite3 was compiled for another Node than this ${process.version}`);
  await rebuild('better-sqlite3', { step: `building better-sqlite3 for ${process.version}`, hint });
}

function newest(directory) {
  let latest = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory()) latest = Math.max(latest, newest(path));
    else if (entry.name.endsWith('.ts')) latest = Math.max(latest, statSync(path).mtimeMs);
  }
  return latest;
}

async function build() {
  const mark = `${project}dist/.built`;
  const sources = Math.max(newest(`${project}src`), newest(`${project}native-tests`));
  if (existsSync(mark) && statSync(mark).mtimeMs >= sources) return;
  rmSync(`${project}dist`, { recursive: true, force: true });
  await must(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], {
    step: 'compiling',
  });
  writeFileSync(mark, '');
}

if (what === 'packages') {
  // For .ci/run: the Debian packages of the programs that are missing.
  console.log(packagesOf(missingPrograms()).join(' '));
  process.exit(0);
}
const script = scripts[what];
if (script === undefined) {
  say(`usage: node bin/run.mjs ${Object.keys(scripts).join('|')}`);
  process.exit(2);
}
const lines = missing();
if (lines.length > 0) {
  say(`npm run ${what} needs:\n  ${lines.join('\n  ')}`);
  process.exit(1);
}
await install();
await build();

let status = 0;
for (const [program, ...args] of script.run) {
  const unable = what === 'test' && args.includes('native-tests') ? unableToMount() : undefined;
  if (unable === undefined) {
    status = (await run(process.execPath, [`dist/native-tests/${program}.js`, ...args, ...rest])) || status;
  } else {
    say(`NOT RUN: the native tests, which need ${unable}`);
    if (ci) status = 1;
  }
}
process.exit(status);
