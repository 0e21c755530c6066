import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freshId, type LeaseId, type ScopeId } from '../../src/base/ids.js';
import { Client } from '../../src/control/client.js';
import { CoreHost } from '../../src/daemon/core-host.js';
import { IoExecutor } from '../../src/daemon/io-executor.js';
import { plainTerms } from '../../src/daemon/lease-service.js';
import type { CommandMessage, Results, WorkerMessage } from '../../src/daemon/messages.js';
import { readVault, vaultPaths } from '../../src/daemon/vault.js';
import { ScopeSecrets } from '../../src/keyring/scope-secrets.js';
import { Slots } from '../../src/keyring/slots.js';
import { StoreKey } from '../../src/keyring/store-key.js';
import { kem, memory, suite } from '../../src/keyring/test-keyring.js';
import { SecretInput } from '../../src/libc/memory.js';
import { umask } from '../../src/libc/system.js';
import { Store } from '../../src/store/store.js';
import { unableToMount, Vault } from '../support/mounted.js';

/**
 * `npm run bench:scopes [SCOPES]`: 10,000 scopes in one vault: how long unlock and lock of one take through the API, and
 * what they cost in memory. The scopes are made in this process, as each costs the daemon a child process.
 */
const SCOPES = Number(process.argv[2] ?? 10_000);
const ROUNDS = Math.min(SCOPES, 2_000);

function inputOf(bytes: Buffer): SecretInput {
  const input = new SecretInput();
  input.append(Buffer.from(bytes));
  return input;
}

/** Adds scopes to an unmounted vault: rows and directories, as the daemon makes them. */
async function populate(vault: Vault, key: Buffer): Promise<void> {
  const info = readVault(vault.vault);
  const store = Store.open(vaultPaths(info.path).store);
  const volume = info.record.volume;
  const secrets = new ScopeSecrets(suite, memory, new Slots(suite, memory, kem), info.recordHash);
  const rootRow = store.scopes()[0];
  if (rootRow === undefined) throw new Error('no root scope');
  const rows = store.secretsOf(rootRow.id);
  if (rows === undefined) throw new Error('no root rows');
  const opened = await secrets.open({ volume, scope: rootRow.id }, rows, inputOf(key));
  const rootSecret = opened?.secrets[0];
  if (rootSecret === undefined) throw new Error('the root does not open');
  const sealed = store.meta('store_key');
  const storeKey = StoreKey.unwrap(suite, memory, volume, rootRow.id, rootSecret, sealed as Buffer, 1);
  const answers = new Map<number, (answer: Results[keyof Results]) => void>();
  const done = (_: unknown, then: (result: number) => void): void => then(0);
  const host = new CoreHost(
    {
      tree: vaultPaths(info.path).tree,
      chunkSize: info.record.chunkSize,
      suite: info.suite,
      unclean: false,
      writeback: false,
      session: randomBytes(16),
      uncleanSessions: [],
      scopes: [{ id: rootRow.id, parent: undefined, path: '' }],
    },
    {
      cache: { flush: done, dropPages: done, dropNames: done, prune: (_, then) => then() },
      executor: (backing) => new IoExecutor(backing, { several: false, more: () => {} }),
      tell: (message: WorkerMessage) => {
        if (message.kind === 'answer') answers.get(message.id)?.(message.answer);
      },
      wiped: () => {},
      statistics: () => ({ requests: 0, longest: { operation: 'none', milliseconds: 0 } }),
      addLine: () => {},
    },
  );
  let next = 1;
  const call = <T>(command: object): Promise<T> =>
    new Promise((resolve) => {
      const id = next++;
      answers.set(id, (answer) => resolve(answer as T));
      host.perform({ ...command, id } as CommandMessage);
    });
  const peer = { uid: 0, gid: 0, pid: process.pid };
  await call({
    op: 'grant',
    scope: rootRow.id,
    lease: freshId<LeaseId>(),
    terms: plainTerms('bench', peer),
    oldest: 1,
    secrets: [rootSecret.address],
    stored: { epoch: opened?.epoch, list: opened?.listVersion },
  });
  const made: { id: ScopeId; rows: Awaited<ReturnType<typeof secrets.create>> }[] = [];
  umask(0);
  for (let i = 0; i < SCOPES; i++) {
    const id = freshId<ScopeId>();
    const name = `user-${i}`;
    const secret = secrets.fresh();
    const row = { parent: rootRow.id, path: storeKey.sealPath(id, name), created: 1 };
    const scopeRows = await secrets.create({ volume, scope: id }, row, 'keyfile', inputOf(key), secret);
    const { result } = await call<Results['create']>({
      op: 'create',
      names: [name],
      scope: id,
      epoch: 1,
      secret: secret.address,
      owner: { uid: 0, gid: 0, mode: 0o700 },
      lease: freshId<LeaseId>(),
      terms: plainTerms('bench', peer),
    });
    if (!result.ok) throw new Error(`create ${name}: ${result.errno}`);
    secret.wipe();
    await call({ op: 'lock', scopes: [id], reason: 'bench', limit: 10_000 });
    made.push({ id, rows: scopeRows });
    if (i % 1000 === 999) process.stderr.write(`  ${i + 1} scopes made\n`);
  }
  umask(0o077);
  await store.commit(() => {
    for (const { rows: scopeRows } of made) store.addScope(scopeRows);
  });
  await new Promise<void>((resolve) => host.end(resolve));
  store.close();
}

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] as number;
const row = (name: string, values: readonly number[]): string =>
  `${name.padEnd(28)} p50 ${quantile(values, 0.5).toFixed(2).padStart(7)} ms   p99 ${quantile(values, 0.99).toFixed(2).padStart(7)} ms   max ${Math.max(
    ...values,
  )
    .toFixed(2)
    .padStart(8)} ms`;
const resident = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;

const unable = unableToMount();
if (unable !== undefined) throw new Error(unable);
const directory = mkdtempSync(join(tmpdir(), 'scopefs-many-'));
const empty = new Vault();
const before = resident(empty.pid);
empty.remove();
const vault = new Vault({ directory, mount: false });
try {
  const key = readFileSync(vault.keyFile);
  const started = performance.now();
  await populate(vault, key);
  process.stderr.write(`${SCOPES} scopes made in ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  const mounting = performance.now();
  vault.mountIt();
  const mount = performance.now() - mounting;
  const locked = resident(vault.pid);
  const client = new Client(vault.socket);
  const input = inputOf(key);
  const unlock: number[] = [];
  const lock: number[] = [];
  const first: number[] = [];
  const time = async (into: number[], act: () => Promise<unknown>): Promise<void> => {
    const from = performance.now();
    await act();
    into.push(performance.now() - from);
  };
  const pick = (): string => `/user-${Math.floor(Math.random() * SCOPES)}`;
  const chosen = [...new Set(Array.from({ length: ROUNDS }, pick))];
  for (const path of chosen.slice(0, 20)) {
    await time(first, () => client.createLease(path, {}, input));
    await client.lock(path, {});
  }
  for (const path of chosen) {
    await time(unlock, () => client.createLease(path, {}, input));
    mkdirSync(vault.path(path.slice(1), 'x'), { recursive: true });
    await time(lock, () => client.lock(path, {}));
  }
  const plain: number[] = [];
  for (let i = 0; i < 500; i++) await time(plain, () => client.scope(pick()));
  for (let i = 0; i < SCOPES; i++) await client.createLease(`/user-${i}`, {}, input);
  const unlocked = resident(vault.pid);
  const all: number[] = [];
  await time(all, () => client.lockAll({}));
  input.wipe();
  const rows = [
    `${SCOPES} scopes; mount ${mount.toFixed(0)} ms`,
    row('unlock, the first of a scope', first),
    row('unlock', unlock),
    row('lock', lock),
    row('GET of a scope, for scale', plain),
    `memory: ${before.toFixed(0)} MiB without scopes, ${locked.toFixed(0)} with all locked (${(((locked - before) / SCOPES) * 1024).toFixed(2)} KiB each), ${unlocked.toFixed(0)} with all unlocked (${(((unlocked - locked) / SCOPES) * 1024).toFixed(2)} KiB each)`,
    `lock -a of ${SCOPES}: ${(all[0] as number).toFixed(0)} ms`,
  ];
  process.stdout.write(`${rows.join('\n')}\n`);
} finally {
  vault.remove();
  rmSync(directory, { recursive: true, force: true });
}
