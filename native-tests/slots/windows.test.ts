import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { input } from '../../src/keyring/test-keyring.js';
import { Connection } from '../../src/store/connection.js';
import { scopefs } from '../support/mounted.js';
import { Rig, sleep } from '../support/probe.js';

/** Slots that may be used at certain times alone (keyring/windows.test.ts has the calendar). */

const HOUR = 3_600_000;
/** A time of day in UTC, so many milliseconds from now. */
const clock = (from: number): string => new Date(Date.now() + from).toISOString().slice(11, 16);

class WindowRig extends Rig {
  readonly nightly: string;
  constructor() {
    super();
    this.createScope('/a');
    this.nightly = join(this.vault.directory, 'nightly');
    const key = randomBytes(32);
    writeFileSync(this.nightly, key, { mode: 0o600 });
    this.vault.expect(
      this.vault.cli('slot', 'add', 'a', '--new', `file:${this.nightly}`, '--label', 'nightly'),
      'slot add',
    );
  }
  set(...options: string[]): string {
    const done = this.vault.cli('window', 'set', 'a', 'nightly', ...options, '--zone', 'UTC');
    return this.vault.expect(done, 'window set').stdout;
  }
  unlockNightly() {
    return this.vault.cli('unlock', 'a', '--with', `file:${this.nightly}`, '--json');
  }
}
function rigFor(t: Test): WindowRig {
  const rig = new WindowRig();
  t.teardown(() => rig.remove());
  return rig;
}

test('outside its window a slot opens nothing, other slots do; the refusal says when, and is audited', async (t) => {
  const rig = rigFor(t);
  t.match(
    rig.set('--at', clock(2 * HOUR), '--for', '15m'),
    /slot 1 may be used at:\d\d:\d\d,for:15m,zone:UTC/,
  );
  await rig.lock('/a');
  const refused = rig.unlockNightly();
  t.equal(refused.status, 6);
  const { error } = JSON.parse(refused.stderr) as { error: { code: string; opens: string; hint: string } };
  t.equal(error.code, 'forbidden');
  const wait = Date.parse(error.opens) - Date.now();
  t.ok(wait > HOUR && wait < 2 * HOUR + 60_000, error.opens);
  t.equal((await rig.client.scope('a')).state, 'locked');
  t.match((await rig.client.audit(1)).at(-1), { event: 'unlock', result: 'forbidden', slot: 1 });
  t.match(
    rig.vault.cli('slot', 'test', 'a', '--with', `file:${rig.nightly}`).stdout,
    /nightly/,
    'a test opens nothing',
  );
  const [listed] = JSON.parse(rig.vault.cli('window', 'list', 'a', '--json').stdout).slots as {
    window: string;
  }[];
  t.match(listed?.window, /^at:/);
  await rig.unlock('/a');
  t.match(rig.vault.cli('window', 'rm', 'a', 'nightly').stdout, /any time/);
  await rig.lock('/a');
  t.equal(rig.unlockNightly().status, 0);
});

test('within it a slot opens its scope so often, and the lease ends with the window however it is renewed', async (t) => {
  const rig = rigFor(t);
  rig.set('--at', clock(-HOUR), '--for', '3h', '--uses', '2');
  await rig.lock('/a');
  const opened = rig.unlockNightly();
  t.equal(opened.status, 0, opened.stderr);
  const [lease] = (JSON.parse(opened.stdout) as { leases: { id: string; expires_seconds: number }[] }).leases;
  const left = lease?.expires_seconds ?? 0;
  t.ok(left > 1.9 * 3600 && left <= 2 * 3600, `${left} s`);
  const renewed = await rig.client.changeLease(lease?.id as string, { ttl: '5h' });
  t.ok((renewed.expires_seconds ?? 1e9) <= left, 'not beyond it');
  await rig.lock('/a');
  // A refused one does not count.
  await rig.unlock('/a');
  const conflict = await rig.client
    .createLease('a', { ro: '1' }, input(readFileSync(rig.nightly)))
    .catch((error: { code: string }) => error.code);
  t.equal(conflict, 'conflict');
  await rig.lock('/a');
  t.equal(rig.unlockNightly().status, 0, 'the second use');
  await rig.lock('/a');
  const third = rig.unlockNightly();
  t.equal(third.status, 6);
  t.match(third.stderr, /was used 2 times/);
  process.kill(rig.vault.pid, 'SIGKILL');
  rig.vault.mountIt();
  t.equal(rig.unlockNightly().status, 6, 'a restart forgets nothing');
  await rig.unlock('/a');
  rig.set('--at', clock(-HOUR), '--for', '3h', '--uses', '3');
  await rig.lock('/a');
  t.equal(rig.unlockNightly().status, 0);
});

test('a use that came to nothing is not counted: exec and unlock over several scopes are all or none', async (t) => {
  const rig = rigFor(t);
  rig.createScope('/b');
  writeFileSync(rig.path('b/file'), 'content');
  writeFileSync(rig.path('a/file'), 'content');
  rig.vault.expect(rig.vault.cli('slot', 'add', 'b', '--new', `file:${rig.nightly}`), 'slot add');
  rig.set('--at', clock(-HOUR), '--for', '3h', '--uses', '1');
  await rig.lock('/a');
  const reader = openSync(rig.path('b/file'), 'r');
  const draining = rig.vault.start('lock', 'b', '--wait', '60s');
  const both = (verb: string, ...more: string[]) =>
    scopefs([
      verb,
      'a',
      'b',
      '--host',
      `unix://${rig.vault.socket}`,
      '--with',
      `file:${rig.nightly}`,
      ...more,
    ]);
  const refusal = () =>
    rig.client.createLease('b', {}, input(readFileSync(rig.nightly))).then(
      (lease) => rig.client.endLease(lease.id).then(() => 'open'),
      (error: { code: string }) => error.code,
    );
  for (let i = 0; i < 200 && (await refusal()) !== 'busy'; i++) await sleep(20);
  const refused = both('exec', '--', 'true');
  t.equal(refused.status, 125, refused.stderr);
  t.match(refused.stderr, /none of the scopes was unlocked/);
  t.equal(await rig.state('/a'), 'locked');
  t.equal(both('unlock').status, 7);
  t.equal(await rig.state('/a'), 'locked');
  const skipped = both('exec', '--skip-busy', '--', 'sh', '-c', 'cat "$0"', rig.path('a/file'));
  t.equal(skipped.status, 0, skipped.stderr);
  t.equal(skipped.stdout, 'content');
  t.match(skipped.stderr, /skipped b: /);
  t.equal(both('exec', '--skip-busy', '--', 'true').status, 125, 'that was the use of the day');
  const waits = rig.vault.start('unlock', 'b', '--with', `file:${rig.nightly}`, '--wait', '30s');
  await sleep(300);
  closeSync(reader);
  t.equal((await draining).status, 0);
  const waited = await waits;
  t.equal(waited.status, 0, waited.stderr);
  t.equal(readFileSync(rig.path('b/file'), 'utf8'), 'content', 'opened after the lock for which it waited');
  // Withdrawn by somebody who used it: counted all the same.
  await rig.unlock('/a');
  rig.set('--at', clock(-HOUR), '--for', '3h', '--uses', '2');
  await rig.lock('/a');
  const used = await rig.client.createLease('a', {}, input(readFileSync(rig.nightly)));
  t.equal(readFileSync(rig.path('a/file'), 'utf8'), 'content');
  await rig.client.endLease(used.id, true);
  t.equal(rig.unlockNightly().status, 6);
  t.match(rig.vault.cli('audit', 'tail').stdout, /unlock +unused/);
});

test('an edited window makes its slot a damaged one; windows survive a rotation; what is none is refused', async (t) => {
  const rig = rigFor(t);
  rig.set('--at', clock(2 * HOUR), '--for', '15m');
  t.equal(rig.vault.cli('slot', 'rotate', 'a', 'nightly', '--new', `file:${rig.nightly}`).status, 0);
  await rig.lock('/a');
  t.equal(rig.unlockNightly().status, 6, 'after a rotation too');
  const db = new Connection(join(rig.vault.vault, 'store.sqlite'));
  t.teardown(() => db.close());
  const at = db
    .prepare("SELECT parameters FROM slots WHERE number = 1 AND parameters LIKE '%window%'")
    .get() as {
    parameters: string;
  };
  const { window: _window, ...rest } = JSON.parse(at.parameters) as Record<string, unknown>;
  db.prepare('UPDATE slots SET parameters = ? WHERE parameters = ?').run(JSON.stringify(rest), at.parameters);
  t.equal(rig.unlockNightly().status, 9, 'integrity');
  db.prepare('UPDATE slots SET parameters = ? WHERE parameters = ?').run(at.parameters, JSON.stringify(rest));
  await rig.unlock('/a');
  const set = (...options: string[]) => rig.vault.cli('window', 'set', ...options).status;
  t.equal(set('a', 'nightly', '--at', '25:00', '--for', '15m'), 2);
  t.equal(set('a', 'nightly', '--at', '02:00', '--for', '15m', '--zone', 'Mars/Olympus'), 2);
  t.equal(set('a', 'nobody', '--at', '02:00', '--for', '15m'), 4);
  t.equal(set('a', '0', '--at', '02:00', '--for', '15m'), 8, 'the last one that opens at any time');
  await rig.lock('/a');
  t.equal(set('a', 'nightly', '--at', '02:00', '--for', '15m'), 3, 'locked');
});
