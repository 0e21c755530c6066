// Entry of `npm run demo`, `npm test` and `npm run bench` in a fresh clone: plain JavaScript without dependencies.
// Checks what must be there, installs, builds, then starts the compiled program.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('..', import.meta.url));
const [what = '', ...rest] = process.argv.slice(2);
const ci = process.env.CI === 'true' || process.env.CI === '1';

const say = (text) => console.error(`[scopefs] ${text}`);

function has(command) {
  return spawnSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' }).status === 0;
}

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
  if (!has('git')) lines.push('git: apt-get install git');
  // better-sqlite3 is compiled where no prebuilt one can be downloaded.
  if (!existsSync(`${project}/node_modules/better-sqlite3/build/Release/better_sqlite3.node`)) {
    for (const tool of ['python3', 'make', 'g++']) {
      if (!has(tool)) lines.push(`${tool} (better-sqlite3 is compiled here): apt-get install ${tool}`);
    }
  }
  if (what === 'demo' || what === 'try:dockerfile' || what.startsWith('bench')) {
    if (process.getuid() !== 0) lines.push(`root, for mounting: sudo npm run ${what}`);
    if (!existsSync('/dev/fuse'))
      lines.push('/dev/fuse: modprobe fuse, or in a container --device /dev/fuse');
  }
  return lines;
}

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { cwd: project, stdio: 'inherit', ...options });
  if (done.error) {
    say(`${command}: ${done.error.message}`);
    process.exit(1);
  }
  if (done.status !== 0) {
    if (options.hint) say(options.hint);
    process.exit(done.status ?? 1);
  }
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

function build() {
  const lock = `${project}/node_modules/.package-lock.json`;
  const fresh =
    existsSync(lock) && statSync(lock).mtimeMs >= statSync(`${project}/package-lock.json`).mtimeMs;
  if (!fresh) {
    say('installing packages (better-sqlite3 may compile for a minute or two)');
    run('npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error'], {
      hint: 'the install failed: see above; it needs the npm registry, and python3, make and g++ to compile',
    });
  }
  const mark = `${project}/dist/.built`;
  const sources = Math.max(newest(`${project}/src`), newest(`${project}/native-tests`));
  if (!existsSync(mark) || statSync(mark).mtimeMs < sources) {
    say('building');
    run('node', ['-e', "require('fs').rmSync('dist',{recursive:true,force:true})"]);
    run('node', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
    run('node', ['-e', "require('fs').writeFileSync('dist/.built','')"]);
  }
}

const lines = missing();
if (lines.length > 0) {
  say(`npm run ${what} needs:\n  ${lines.join('\n  ')}`);
  process.exit(1);
}
build();

if (what === 'demo') {
  run('node', ['dist/native-tests/demo/demo.js', ...rest]);
} else if (what === 'bench') {
  run('node', ['dist/native-tests/bench/bench.js', ...rest]);
} else if (
  what === 'bench:control' ||
  what === 'bench:latency' ||
  what === 'bench:lock' ||
  what === 'bench:memory' ||
  what === 'bench:requests' ||
  what === 'bench:scopes'
) {
  run('node', [`dist/native-tests/bench/${what.slice(6)}.js`, ...rest]);
} else if (what === 'test:long') {
  run('node', ['dist/native-tests/support/run-tests.js', 'native-tests', '--long', ...rest]);
} else if (what === 'try:dockerfile') {
  run('node', ['dist/native-tests/docker/replay.js', ...rest]);
} else if (what === 'test') {
  const unable = process.getuid() !== 0 ? 'not root' : !existsSync('/dev/fuse') ? 'no /dev/fuse' : undefined;
  run('node', ['dist/native-tests/support/run-tests.js', 'src', ...rest]);
  if (unable === undefined) {
    run('node', ['dist/native-tests/support/run-tests.js', 'native-tests', ...rest]);
  } else {
    say(`native tests were not run: ${unable}`);
    if (ci) process.exit(1);
  }
} else {
  say(
    'usage: node bin/run.mjs demo|test|test:long|bench|bench:control|bench:latency|bench:lock|bench:memory|bench:requests|bench:scopes|try:dockerfile',
  );
  process.exit(2);
}
