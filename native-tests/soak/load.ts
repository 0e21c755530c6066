import { createHash, randomBytes, randomInt } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errno } from '../../src/base/errno.js';
import { type CliResult, Vault } from '../support/mounted.js';

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Of a scope that exists: its key file, and what its files must contain. */
interface Kept {
  readonly path: string;
  readonly key: string;
  readonly files: Map<string, string>;
}

/** Scopes that exist at once: the oldest is destroyed. */
const SCOPES = 4;
const FILES = 6;
const LARGEST = 300_000;
/** One of so many rounds has a passphrase, whose derivation takes most of a second. */
const PASSPHRASE_EVERY = 8;
const BAD_KEY = 5;

/**
 * Mixed load on one mounted vault, by its command line: in each round a scope is made, filled, locked, tried with a wrong
 * key, used by `exec`, unlocked, read back, and gets and loses a second slot; older scopes are read back and destroyed.
 * Beside it a scope that stays open is written, renamed and read. What is not as it must be is a line of `failures`.
 */
export class SoakLoad {
  readonly vault = new Vault();
  readonly failures: string[] = [];
  rounds = 0;
  #scopes: Kept[] = [];
  #stopped = false;
  #beside: Promise<void> | undefined;

  /** Begins what goes on beside the rounds. */
  start(): void {
    this.vault.createScope('open');
    this.#beside = this.#writeBeside();
  }

  #expect(holds: boolean, what: string): void {
    if (!holds) this.failures.push(`round ${this.rounds}: ${what}`);
  }
  /** A verb that must work: what it printed. */
  async #verb(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.vault.start(...args);
    this.#expect(status === 0, `${args.join(' ')}: exit status ${status}: ${stderr.trim()}`);
    return stdout;
  }
  #refused({ status, stderr }: CliResult, wanted: number, what: string): void {
    this.#expect(status === wanted, `${what}: exit status ${status} for ${wanted}: ${stderr.trim()}`);
  }

  async round(): Promise<void> {
    this.rounds++;
    const scope = await this.#create();
    await this.#write(scope);
    await this.#readBack(scope);
    await this.#verb('lock', scope.path);
    await this.#isLocked(scope);
    await this.#exec(scope);
    await this.#verb('unlock', scope.path, '--with', `file:${scope.key}`);
    await this.#readBack(scope);
    await this.#secondSlot(scope);
    this.#scopes.push(scope);
    if (this.#scopes.length > SCOPES) await this.#destroyOldest();
    await this.#look();
  }

  async #create(): Promise<Kept> {
    const path = `scope-${this.rounds}`;
    const key = join(this.vault.directory, `key-${path}`);
    const phrase = this.rounds % PASSPHRASE_EVERY === 0;
    await writeFile(key, phrase ? randomBytes(16).toString('hex') : randomBytes(32), { mode: 0o600 });
    const slot = phrase ? ['--slot', 'passphrase'] : [];
    await this.#verb('create', path, '--with', `file:${key}`, ...slot);
    return { path, key, files: new Map() };
  }

  async #write({ path, files }: Kept): Promise<void> {
    const directory = this.vault.path(path, 'directory');
    await mkdir(directory);
    for (let i = 0; i < FILES; i++) {
      const bytes = randomBytes(randomInt(LARGEST));
      const name = join(directory, `file-${i}`);
      const file = await open(`${name}.new`, 'wx');
      await file.writeFile(bytes);
      if (i % 2 === 0) await file.sync();
      await file.close();
      await rename(`${name}.new`, name);
      files.set(name, sha256(bytes));
    }
  }
  async #readBack({ files }: Kept): Promise<void> {
    for (const [name, sum] of files) {
      const found = await readFile(name).then(sha256, (error: Error) => error.message);
      this.#expect(found === sum, `${name}: ${found} for ${sum}`);
    }
  }

  async #isLocked({ path, files }: Kept): Promise<void> {
    const [name] = files.keys();
    const error = await readFile(name as string).then(
      () => 'it was read',
      ({ errno: found, message }: NodeJS.ErrnoException) => (found === -errno.ENOKEY ? undefined : message),
    );
    this.#expect(error === undefined, `${name} while it is locked: ${error}`);
    const wrong = join(this.vault.directory, 'wrong');
    await writeFile(wrong, randomBytes(32), { mode: 0o600 });
    const tried = await this.vault.start('unlock', path, '--with', `file:${wrong}`);
    this.#refused(tried, BAD_KEY, `unlock ${path} with a wrong key`);
  }

  async #exec({ path, key, files }: Kept): Promise<void> {
    const [[name, sum]] = files as unknown as [[string, string]];
    // What the vault's own call appends goes to the shell, which has no use for it.
    const host = `unix://${this.vault.socket}`;
    const command = ['sh', '-c', 'sha256sum "$0"', name];
    const said = await this.#verb('exec', path, '--with', `file:${key}`, '--host', host, '--', ...command);
    this.#expect(said.startsWith(sum), `exec sha256sum ${name}: ${said.trim()}`);
  }

  async #secondSlot({ path, key }: Kept): Promise<void> {
    const second = join(this.vault.directory, 'second');
    await writeFile(second, randomBytes(32), { mode: 0o600 });
    const added = [
      '--with',
      `file:${key}`,
      '--new',
      `file:${second}`,
      '--slot',
      'keyfile',
      '--label',
      'second',
    ];
    await this.#verb('slot', 'add', path, ...added);
    await this.#verb('slot', 'test', path, '--with', `file:${second}`);
    await this.#verb('slot', 'rm', path, 'second', '--with', `file:${key}`);
    this.#refused(
      await this.vault.start('slot', 'test', path, '--with', `file:${second}`),
      BAD_KEY,
      `slot test ${path} with a slot that was removed`,
    );
  }

  /** Its files are as they were written, rounds ago. */
  async #destroyOldest(): Promise<void> {
    const oldest = this.#scopes.shift() as Kept;
    await this.#readBack(oldest);
    await this.#verb('rm', oldest.path, '--shred', `--yes=${oldest.path}`);
    await rm(oldest.key);
  }

  async #look(): Promise<void> {
    const { pid } = JSON.parse((await this.#verb('status', '--json')) || '{}') as { pid?: number };
    this.#expect(pid === this.vault.pid, `the daemon is process ${pid}, not ${this.vault.pid}`);
    const audit = JSON.parse((await this.#verb('audit', 'tail', '--json')) || '{}') as {
      entries?: unknown[];
    };
    this.#expect((audit.entries?.length ?? 0) > 0, 'the audit has no entries');
    const { scopes = [] } = JSON.parse((await this.#verb('ls', '--json')) || '{}') as { scopes?: unknown[] };
    const wanted = this.#scopes.length + 2;
    this.#expect(scopes.length === wanted, `${scopes.length} scopes are listed, not ${wanted}`);
  }

  async #writeBeside(): Promise<void> {
    const name = this.vault.path('open', 'beside');
    while (!this.#stopped) {
      try {
        const bytes = randomBytes(randomInt(LARGEST));
        await writeFile(`${name}.new`, bytes);
        await rename(`${name}.new`, name);
        const found = sha256(await readFile(name));
        this.#expect(found === sha256(bytes), `${name}: not what was written`);
      } catch (error) {
        this.#expect(false, `beside the rounds: ${(error as Error).message}`);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Ends the load; the vault must mount again and have what was written. Removes everything. */
  async end(): Promise<void> {
    this.#stopped = true;
    await this.#beside;
    try {
      this.vault.remount();
      for (const scope of this.#scopes) {
        await this.#verb('unlock', scope.path, '--with', `file:${scope.key}`);
        await this.#readBack(scope);
      }
    } catch (error) {
      this.#expect(false, `at the end: ${(error as Error).message}`);
    } finally {
      this.vault.remove();
    }
  }
}
