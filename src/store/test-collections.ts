import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freshId, type ScopeId } from '../base/ids.js';
import { Connection } from './connection.js';
import { Store } from './store.js';

/**
 * A process of connection.test.ts, started with --expose-gc: uses stores in every way and has V8 collect outside of
 * JavaScript, under load and when idle. Prints `collected N times`.
 */
const collect = globalThis.gc;
if (collect === undefined) throw new Error('start it with --expose-gc');
let times = 0;
/** A task of the platform: no JavaScript is entered while it collects. */
async function collectOutside(): Promise<void> {
  await collect?.({ type: 'major', execution: 'async' });
  times++;
}

const directory = mkdtempSync(join(tmpdir(), 'scopefs-collect-'));
const path = join(directory, 'store.sqlite');
function refused(open: () => Store): void {
  try {
    open().close();
  } catch {
    return;
  }
  throw new Error('a store that is none was opened');
}

Store.create(path).close();
writeFileSync(join(directory, 'bad'), randomBytes(8192));
const store = Store.serve(path);
for (let round = 0; round < 20; round++) {
  // Whoever opens, reads, fails or ends in between must leave nothing behind.
  Store.open(path).close();
  refused(() => Store.open(join(directory, 'bad')));
  refused(() => Store.open(join(directory, 'none')));
  const other = new Connection(path, { readonly: true });
  other.pragma('user_version');
  other.prepare(`SELECT ${round}`).get();
  other.close();
  const scope = freshId<ScopeId>();
  const working = Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      store.commit(() => store.audit.append(i, { event: 'unlock', result: 'ok', scope })),
    ),
  );
  await collectOutside();
  await working;
  store.scrub();
  store.audit.tail(10);
  await collectOutside();
  if (round % 10 === 9) await sleep(100);
}
await collectOutside();
store.close();
await collectOutside();
rmSync(directory, { recursive: true });
process.stdout.write(`collected ${times} times\n`);
