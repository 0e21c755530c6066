import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/**
 * `npm run test:nodes -- 24 26 [--all] [FILTER...]`: this build under other versions of Node, each in a copy of the project
 * of its own, with better-sqlite3 compiled for it. Runs the demo, the tests of src/store, src/worker, src/service and src/daemon, and those of
 * native-tests/daemon; `--all`: every test; FILTER: those alone. The npm package `node` brings the binaries, with the
 * headers that the build needs.
 */
const project = fileURLToPath(new URL('../../../', import.meta.url));
const { values, positionals } = parseArgs({
  options: { all: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const versions = positionals.filter((one) => /^\d+(\.\d+)*$/.test(one));
const filters = positionals.filter((one) => !versions.includes(one));
/** What must work wherever the daemon runs: what holds SQLite's statements, and who mounts and ends. */
const FILTERS = {
  src: ['src/store/', 'src/worker/', 'src/service/', 'src/daemon/'],
  'native-tests': ['native-tests/daemon/'],
} as const;

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

class OtherNode {
  readonly #directory = mkdtempSync(join(tmpdir(), 'scopefs-node-'));
  readonly copy = join(this.#directory, 'scopefs');
  readonly #environment: NodeJS.ProcessEnv;

  constructor(version: string) {
    const home = join(this.#directory, 'node');
    mkdirSync(home);
    // Tests run the command line as other users too, who must be able to read it.
    chmodSync(this.#directory, 0o755);
    // Its install script only puts the binary of this processor in its place.
    writeFileSync(join(home, 'package.json'), '{"private":true,"allowScripts":{"node":true}}');
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
    this.#must(spawnSync('npm', ['install', ...quiet, `node@${version}`], { cwd: home, encoding: 'utf8' }));
    const own = join(home, 'node_modules/node');
    this.#environment = {
      ...process.env,
      PATH: `${join(own, 'bin')}:${process.env['PATH']}`,
      npm_config_nodedir: join(own, `node_modules/node-linux-${process.arch}`),
    };
    for (const name of ['bin', 'src', 'native-tests', 'systemd', 'dist', 'node_modules', 'README.md']) {
      cpSync(join(project, name), join(this.copy, name), { recursive: true, verbatimSymlinks: true });
    }
    for (const name of [
      'package.json',
      'package-lock.json',
      'tsconfig.json',
      'Dockerfile',
      '.dockerignore',
    ]) {
      cpSync(join(project, name), join(this.copy, name), { preserveTimestamps: true });
    }
    this.#must(this.#run('npm', ['rebuild', '--loglevel=error', 'better-sqlite3'], 'pipe'));
  }

  #run(command: string, args: readonly string[], stdio: 'inherit' | 'pipe'): SpawnSyncReturns<string> {
    const options = { cwd: this.copy, env: this.#environment, encoding: 'utf8' } as const;
    return spawnSync(command, args, { ...options, stdio: ['ignore', stdio, stdio] });
  }
  #must(done: SpawnSyncReturns<string>): void {
    if (done.status !== 0) throw new Error(`${done.error?.message ?? ''}${done.stderr}`);
  }

  get version(): string {
    return this.#run('node', ['--version'], 'pipe').stdout.trim();
  }
  /** False: it failed, and has said why. */
  run(args: readonly string[]): boolean {
    return this.#run('node', args, 'inherit').status === 0;
  }
  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

let failed = 0;
let passed = 0;
const check = (what: string, done: boolean): void => {
  if (done) passed++;
  else failed++;
  say(`${done ? 'ok' : 'FAILED'} ${what}`);
};

for (const wanted of versions) {
  say(`Node ${wanted}: installing it, and compiling better-sqlite3 for it`);
  const started = Date.now();
  const node = new OtherNode(wanted);
  try {
    const { version } = node;
    say(`${version}: ready after ${Math.round((Date.now() - started) / 1000)} s`);
    check(`${version}: demo`, node.run(['dist/native-tests/demo/demo.js']));
    for (const room of ['src', 'native-tests'] as const) {
      const chosen = filters.length > 0 ? filters : values.all ? [] : FILTERS[room];
      check(`${version}: ${room}`, node.run(['dist/native-tests/support/run-tests.js', room, ...chosen]));
    }
  } finally {
    node.remove();
  }
}
const counts = process.env['SCOPEFS_TEST_COUNTS'];
if (counts !== undefined) appendFileSync(counts, `${passed} ${failed}\n`);
process.exitCode = failed === 0 ? 0 : 1;
