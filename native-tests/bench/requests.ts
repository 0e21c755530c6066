import { Application } from '../support/application.js';
import { addedLatency } from './added-latency.js';
import { median, quantile } from './results.js';

/**
 * `npm run bench:requests [USERS]`: what it adds to a request of an application that its user's scope (of 1,000) is
 * opened for it and locked after it, beside the same request on an open scope, one client at a time and 20.
 */
const USERS = Number(process.argv[2] ?? 1_000);

function row(what: string, values: readonly number[]): void {
  const cells = [median(values), quantile(values, 0.99), Math.max(...values)].map((one) => one.toFixed(2));
  process.stdout.write(`${what.padEnd(58)} ${cells.map((cell) => cell.padStart(9)).join('')}\n`);
}

const application = new Application(USERS);
try {
  await application.prepare();
  await application.start();
  for (const clients of [1, 20]) {
    const { opening, joining, open, added } = await addedLatency(application, application.users, clients);
    const head = `milliseconds, ${USERS} users, ${clients} at a time`;
    process.stdout.write(`${head.padEnd(58)} ${'p50'.padStart(9)}${'p99'.padStart(9)}${'max'.padStart(9)}\n`);
    row('a request on a scope that is open', open);
    row('with a lease of its own on a scope that is open', joining);
    row('with a lease that opens the scope', opening);
    row('added by opening, same user', added);
  }
} finally {
  await application.remove();
}
