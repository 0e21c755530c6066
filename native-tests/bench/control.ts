import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { SecretInput } from '../../src/libc/memory.js';
import { Client } from '../support/client.js';
import { Vault } from '../support/mounted.js';
import { median, quantile } from './results.js';

/** `npm run bench:control`: what unlocking costs, its parts apart, and honest calls beside hostile callers. */

const ROUNDS = 200;
const FIRST_ROUNDS = 10;

function row(what: string, values: readonly number[]): void {
  const cells = [median(values), quantile(values, 0.99), Math.max(...values)].map((one) => one.toFixed(2));
  process.stdout.write(`${what.padEnd(58)} ${cells.map((cell) => cell.padStart(9)).join('')}\n`);
}
async function timed<T>(into: number[], call: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const value = await call();
  into.push(performance.now() - started);
  return value;
}
function secret(path: string): SecretInput {
  const input = new SecretInput();
  input.append(readFileSync(path));
  return input;
}

const vault = new Vault();
try {
  const key = vault.createScope('a');
  const client = new Client(vault.socket);
  process.stdout.write(
    `${'milliseconds'.padEnd(58)} ${'p50'.padStart(9)}${'p99'.padStart(9)}${'max'.padStart(9)}\n`,
  );

  const calls: number[] = [];
  for (let i = 0; i < ROUNDS; i++) await timed(calls, () => client.scope('a'));
  row('a call that reads (no key)', calls);

  const [unlocks, locks, flushes]: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < ROUNDS; i++) {
    writeFileSync(vault.path('a/file'), randomBytes(4096));
    const [receipt] = await timed(locks, () => client.lock('a', {}));
    flushes.push((receipt?.seconds ?? 0) * 1000);
    const input = secret(key);
    await timed(unlocks, () => client.createLease('a', {}, input));
    input.wipe();
  }
  row('unlock by key file (audit row durable first)', unlocks);
  row('lock, one small file dirty', locks);
  row('  of it in the filesystem worker, flush included', flushes);

  // A removed slot begins an epoch: the next unlock starts a process for the key pair.
  const [removals, first]: [number[], number[]] = [[], []];
  for (let i = 0; i < FIRST_ROUNDS; i++) {
    const more = join(vault.directory, 'more');
    writeFileSync(more, randomBytes(32));
    const input = secret(more);
    const { number } = await client.addSlot('a', { slot: 'keyfile' }, input);
    input.wipe();
    await timed(removals, () => client.removeSlot('a', String(number)));
    await client.lock('a', {});
    const again = secret(key);
    await timed(first, () => client.createLease('a', {}, again));
    again.wipe();
  }
  row('remove a slot: new epoch, one process', removals);
  row('first unlock of an epoch: one process', first);

  const hostile: Socket[] = [];
  const timer = setInterval(() => {
    for (let i = 0; i < 50; i++) {
      const socket = connect(vault.socket, () => socket.write('POST /v1/leases HTTP/1.1\r\nhost: x\r\n'));
      socket.on('error', () => {});
      hostile.push(socket);
    }
  }, 20);
  const beside: number[] = [];
  for (let i = 0; i < ROUNDS; i++) await timed(beside, () => client.scope('a'));
  clearInterval(timer);
  row(`a call beside ${hostile.length} half-open requests`, beside);
  for (const socket of hostile) socket.destroy();
} finally {
  vault.remove();
}
