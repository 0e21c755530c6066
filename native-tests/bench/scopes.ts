import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '../support/client.js';
import { inputOf } from '../support/key-input.js';
import { unableToMount, Vault } from '../support/mounted.js';
import { populate } from '../support/populate.js';
import { quantile } from './results.js';

/**
 * `npm run bench:scopes [SCOPES]`: 10,000 scopes in one vault: how long unlock and lock of one take through the API, and
 * what they cost in memory.
 */
const SCOPES = Number(process.argv[2] ?? 10_000);
const ROUNDS = Math.min(SCOPES, 2_000);
const CREATIONS = 20;

const row = (name: string, values: readonly number[]): string =>
  `${name.padEnd(30)} p50 ${quantile(values, 0.5).toFixed(2).padStart(7)} ms   p99 ${quantile(values, 0.99).toFixed(2).padStart(7)} ms   max ${Math.max(
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
  const scopes = Array.from({ length: SCOPES }, (_, i) => ({ name: `user-${i}`, key }));
  await populate(vault, scopes, (made) => {
    if (made % 1000 === 0) process.stderr.write(`  ${made} scopes made\n`);
  });
  process.stderr.write(`${SCOPES} scopes made in ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  const mounting = performance.now();
  vault.mountIt();
  const mount = performance.now() - mounting;
  const locked = resident(vault.pid);
  const client = new Client(vault.socket);
  const input = inputOf(key);
  const unlock: number[] = [];
  const lock: number[] = [];
  const flush: number[] = [];
  const first: number[] = [];
  /** What one durable row costs on this disk: an unlock has one, a lock one beside its flush. */
  const sync: number[] = [];
  const log = await open(join(directory, 'log'), 'w');
  const block = Buffer.alloc(4096, 1);
  const time = async <T>(into: number[], act: () => Promise<T>): Promise<T> => {
    const from = performance.now();
    const value = await act();
    into.push(performance.now() - from);
    return value;
  };
  const pick = (): string => `/user-${Math.floor(Math.random() * SCOPES)}`;
  const chosen = [...new Set(Array.from({ length: ROUNDS }, pick))];
  // The copy of its slot list is written then, which `create` would have done.
  for (const path of chosen) {
    await time(first, () => client.createLease(path, {}, input));
    await client.lock(path, {});
  }
  for (const path of chosen) {
    await time(unlock, () => client.createLease(path, {}, input));
    mkdirSync(vault.path(path.slice(1), 'x'), { recursive: true });
    const [receipt] = await time(lock, () => client.lock(path, {}));
    flush.push((receipt?.seconds ?? Number.NaN) * 1000);
    await time(sync, async () => {
      await log.write(block);
      await log.datasync();
    });
  }
  const create: number[] = [];
  for (let i = 0; i < CREATIONS; i++) {
    await time(create, () => client.createScope(`/made-${i}`, { slot: 'keyfile' }, input));
    await client.lock(`/made-${i}`, {});
  }
  const plain: number[] = [];
  for (let i = 0; i < 500; i++) await time(plain, () => client.scope(pick()));
  for (let i = 0; i < SCOPES; i++) await client.createLease(`/user-${i}`, {}, input);
  const unlocked = resident(vault.pid);
  const all: number[] = [];
  await time(all, () => client.lockAll({}));
  input.wipe();
  await log.close();
  const rows = [
    `${SCOPES} scopes; mount ${mount.toFixed(0)} ms`,
    row('unlock, the first of a scope', first),
    row('unlock', unlock),
    row('lock', lock),
    row('  in the worker, with flush', flush),
    row('4 KiB and fdatasync, for scale', sync),
    row('create, a child process', create),
    row('GET of a scope, for scale', plain),
    `memory: ${before.toFixed(0)} MiB without scopes, ${locked.toFixed(0)} with all locked (${(((locked - before) / SCOPES) * 1024).toFixed(2)} KiB each), ${unlocked.toFixed(0)} with all unlocked (${(((unlocked - locked) / SCOPES) * 1024).toFixed(2)} KiB each)`,
    `lock -a of ${SCOPES}: ${(all[0] as number).toFixed(0)} ms`,
  ];
  process.stdout.write(`${rows.join('\n')}\n`);
} finally {
  vault.remove();
  rmSync(directory, { recursive: true, force: true });
}
