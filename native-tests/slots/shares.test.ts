import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import type { VolumeId } from '../../src/base/ids.js';
import type { LeaseView } from '../../src/control/schemas.js';
import { readShares, type Share } from '../../src/keyring/shares/share-text.js';
import { Shares } from '../../src/keyring/shares/shares.js';
import { writeRecoveryText } from '../../src/keyring/slots/recovery-text.js';
import { input, memory, reveal, seal } from '../../src/keyring/test-keyring.js';
import { SecretInput } from '../../src/libc/memory.js';
import { readVault } from '../../src/service/vault/vault.js';
import { Connection } from '../../src/store/connection.js';
import { scan } from '../support/memory-scan.js';
import { run, scopefs } from '../support/mounted.js';
import { exitStatus, Rig, sleep } from '../support/probe.js';

/** Slots that open with shares: one that a client keeps and that is renewed, or some of several people's. */

const nothing = (): SecretInput => new SecretInput();

class ShareRig extends Rig {
  /** A scope with a recovery slot and a file. */
  async withRecovery(): Promise<void> {
    this.createScope('/a');
    writeFileSync(this.path('a/file'), 'content');
    const text = Buffer.alloc(71);
    writeRecoveryText(randomBytes(32), text);
    await this.client.addSlot('a', { slot: 'recovery' }, input(text));
  }
  /** A new split slot's share, or a threshold slot's. */
  async issue(options: Parameters<Rig['client']['addSlot']>[1]): Promise<string[]> {
    const shares = new SecretInput();
    await this.client.addSlot('a', options, nothing(), shares);
    return lines(shares);
  }
  open(text: string): Promise<LeaseView> {
    return this.client.createLease('a', { with: 'share' }, input(text));
  }
  async renew(text: string): Promise<string> {
    const shares = new SecretInput();
    await this.client.renewShare('a', input(text), shares);
    return lines(shares)[0] as string;
  }
  async events(): Promise<string[]> {
    return (await this.client.audit(1000)).map(({ event, result }) => `${event} ${result}`);
  }
  /** The store's rows by hand. */
  rows<T>(use: (db: Connection) => T): T {
    const db = new Connection(join(this.vault.vault, 'store.sqlite'));
    try {
      return use(db);
    } finally {
      db.close();
    }
  }
}
const lines = (text: SecretInput): string[] => text.view.toString('latin1').trim().split('\n');

async function rigFor(t: Test): Promise<ShareRig> {
  const rig = new ShareRig();
  t.teardown(() => rig.remove());
  await rig.withRecovery();
  return rig;
}

test('split: unlock renews the share in its file, and a copy of an older one is refused and audited', async (t) => {
  const rig = new ShareRig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  const path = join(rig.vault.directory, 'a.share');
  const without = rig.vault.cli('slot', 'add', 'a', '--slot', 'split', '--new', `share:file:${path}`);
  t.equal(without.status, 8, 'without a recovery slot it would be the only way in');
  t.match(without.stderr, /recovery slot/);
  t.notOk(existsSync(path), 'and no empty file is left');
  const recovery = Buffer.alloc(71);
  writeRecoveryText(randomBytes(32), recovery);
  await rig.client.addSlot('a', { slot: 'recovery' }, input(recovery));
  writeFileSync(rig.path('a/file'), 'content');

  const added = rig.vault.cli(
    'slot',
    'add',
    'a',
    '--slot',
    'split',
    '--label',
    'phone',
    '--new',
    `share:file:${path}`,
    '--json',
  );
  t.equal(added.status, 0, added.stderr);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.notMatch(added.stdout, /scopefs-share-/, 'the share is in its file alone');
  const again = rig.vault.cli('slot', 'add', 'a', '--slot', 'split', '--new', `share:file:${path}`);
  t.equal(again.status, 8, 'a file that is there is not replaced');
  const copies = [0, 1, 2].map((i) => join(rig.vault.directory, `copy-${i}`));
  for (const copy of copies) {
    copyFileSync(path, copy);
    await rig.lock('/a');
    const opened = rig.vault.cli('unlock', 'a', '--with', `share:file:${path}`);
    t.equal(opened.status, 0, opened.stderr);
    t.not(readFileSync(path, 'latin1'), readFileSync(copy, 'latin1'), 'another share now');
    t.equal(readFileSync(rig.path('a/file'), 'utf8'), 'content');
  }
  await rig.lock('/a');
  for (const copy of copies) {
    const before = readFileSync(copy);
    const stolen = rig.vault.cli('unlock', 'a', '--with', `share:file:${copy}`, '--json');
    t.equal(stolen.status, 5);
    t.match(JSON.parse(stolen.stderr), { error: { code: 'bad_key', replaced: true } });
    t.same(readFileSync(copy), before, 'its file is as it was');
  }
  t.equal((await rig.events()).filter((one) => one === 'share_replay bad_key').length, 3);
  t.equal(
    rig.vault.cli('slot', 'test', 'a', '--with', `share:file:${path}`).status,
    0,
    'the present one opens still',
  );
  t.equal(
    rig.vault.cli('slot', 'test', 'a', '--with', `share:file:${path}`).status,
    0,
    'a test changes nothing',
  );
  const host = `unix://${rig.vault.socket}`;
  const command = ['--', 'cat', rig.path('a/file')];
  const done = scopefs(['exec', 'a', '--host', host, '--with', `share:file:${path}`, ...command]);
  t.equal(done.stdout, 'content', done.stderr);
});

test('split: lost replies and callers at the same time lock nobody out; the first use of the next share ends this one', async (t) => {
  const rig = await rigFor(t);
  const [first] = (await rig.issue({ slot: 'split' })) as [string];
  await rig.lock('/a');
  const next = await rig.renew(first);
  t.equal(await rig.renew(first), next, 'asked again: the same');
  const renewed = await Promise.all([1, 2, 3, 4].map(() => rig.renew(first)));
  t.ok(
    renewed.every((one) => one === next),
    'also at the same time',
  );
  const leases = await Promise.all([1, 2, 3, 4].map(() => rig.open(first)));
  t.equal(new Set(leases.map(({ id }) => id)).size, 4, 'the present one opens until the next is used');
  await rig.lock('/a');

  // Whatever a crash takes, it is not the next share: that was durable before the reply.
  process.kill(rig.vault.pid, 'SIGKILL');
  rig.vault.mountIt();
  await rig.open(first);
  await rig.lock('/a');
  await rig.open(next);
  t.equal(await exitStatus(rig.open(first)), 5, 'now it is over');
  t.equal(await exitStatus(rig.renew(first)), 5);
  await rig.lock('/a');
  await rig.open(next);
  const third = await rig.renew(next);
  await rig.lock('/a');
  await rig.open(third);
  t.equal(await exitStatus(rig.open(next)), 5);
  const live = rig.rows((db) =>
    db.prepare('SELECT count(*) AS n FROM shares WHERE sealed IS NOT NULL').get(),
  );
  t.same(live, { n: 1 }, 'the server keeps one half');
});

test('split: neither half opens anything alone, and an edited or swapped one is no key', async (t) => {
  const rig = await rigFor(t);
  const [mine] = (await rig.issue({ slot: 'split' })) as [string];
  const [other] = (await rig.issue({ slot: 'split' })) as [string];
  await rig.lock('/a');
  const [share] = readShares(input(mine), memory) as [Share];
  t.equal(
    await exitStatus(rig.client.createLease('a', {}, input(Buffer.from(reveal(share.value), 'hex')))),
    5,
    "the client's bytes as a key file",
  );
  const forged = readShares(input(other), memory)[0] as Share;
  t.not(forged.slot, share.slot);
  rig.rows((db) => {
    const [a, b] = db.prepare('SELECT slot, sealed FROM shares ORDER BY slot').all() as {
      slot: number;
      sealed: Buffer;
    }[] as [{ slot: number; sealed: Buffer }, { slot: number; sealed: Buffer }];
    const set = db.prepare('UPDATE shares SET sealed = ? WHERE slot = ?');
    set.run(b.sealed, a.slot);
    set.run(a.sealed, b.slot);
  });
  t.equal(await exitStatus(rig.open(mine)), 5, 'the halves of two slots were exchanged');
  t.equal(await exitStatus(rig.open(other)), 5);
  rig.rows((db) => db.prepare('DELETE FROM shares').run());
  t.equal(await exitStatus(rig.open(mine)), 5, 'no half');
  t.equal((await rig.client.scope('a')).state, 'locked');
  await rig.unlock('/a');
  const shares = new SecretInput();
  await rig.client.rotateSlot('a', String(share.slot), nothing(), {}, shares);
  await rig.lock('/a');
  await rig.open(lines(shares)[0] as string);
  t.equal(await exitStatus(rig.open(mine)), 5, 'rotated: shares of before are told apart');
});

test('threshold: any three of five open, one by one or at once; two never do; the order and repeats do not matter', async (t) => {
  const rig = await rigFor(t);
  const wrong = { slot: 'threshold', shares: '3', threshold: '4' };
  t.equal(await exitStatus(rig.client.addSlot('a', wrong, nothing())), 2, 'more than there are');
  const [one, two, three, four, five] = (await rig.issue({
    slot: 'threshold',
    shares: '5',
    threshold: '3',
  })) as [string, string, string, string, string];
  const ended = rig.vault.cli('slot', 'list', 'a').stdout;
  t.match(ended, /threshold, 3 of 5/);
  await rig.lock('/a');
  await t.rejects(rig.open(one), { code: 'pending', details: { needed: 3, have: [1] } });
  await t.rejects(rig.open(one), { code: 'pending', details: { have: [1], new: false } }, 'twice is once');
  t.equal((await rig.events()).filter((event) => event === 'unlock pending').length, 1, 'in the audit too');
  await t.rejects(rig.open(four), { code: 'pending', details: { have: [1, 4] } });
  t.equal((await rig.client.scope('a')).state, 'locked');
  await rig.open(two);
  t.equal(readFileSync(rig.path('a/file'), 'utf8'), 'content');
  await rig.lock('/a');
  await t.rejects(rig.open(five), { code: 'pending', details: { have: [5] } }, 'those before are forgotten');
  await rig.open(`${two}\n\n${four}\n`);
  await rig.lock('/a');
  await t.rejects(rig.open(`${one}\n${five}`), { code: 'pending' });
  t.same(await rig.lock('/a'), [], 'a lock of what is locked');
  await t.rejects(rig.open(three), { code: 'pending', details: { have: [3] } }, 'forgets them too');
  await rig.client.lockAll({});
  await rig.unlock('/');
  await t.rejects(
    rig.open(one),
    { code: 'pending', details: { have: [1] } },
    'and so does one of its parent',
  );
  await t.rejects(rig.client.testSlot('a', input(one), { with: 'share' }), { code: 'pending' });
  t.match(await rig.client.testSlot('a', input([one, two, five].join('\n')), { with: 'share' }), {
    type: 'threshold',
    shares: 5,
    threshold: 3,
  });

  // Of another slot, with another's number, with other bytes.
  rig.createScope('/b');
  const elsewhere = new SecretInput();
  await rig.client.addSlot('b', { slot: 'threshold', shares: '2', threshold: '2' }, nothing(), elsewhere);
  t.equal(await exitStatus(rig.open(lines(elsewhere)[0] as string)), 5);
  t.equal(await exitStatus(rig.open(`${one.slice(0, -1)}`)), 2, 'a slip of the pen');
  t.equal(await exitStatus(rig.open('not a share')), 2);
  t.equal((await rig.client.scope('a')).state, 'locked');
  const status = rig.vault.cli('unlock', 'a', '--with', 'share:-').status;
  t.equal(status, 5, 'nothing on standard input');
});

test('threshold: made with a scope, by files of one share each; a rotation makes new ones', async (t) => {
  const rig = new ShareRig();
  t.teardown(() => rig.remove());
  const path = join(rig.vault.directory, 'board');
  const options = ['--slot', 'threshold', '--shares', '3', '--threshold', '2'];
  const made = rig.vault.cli('create', 'board', ...options, '--with', `share:file:${path}`);
  t.equal(made.status, 0, made.stderr);
  await rig.lock('/board');
  const unlock = (number: number) =>
    rig.vault.cli('unlock', 'board', '--with', `share:file:${path}.${number}`);
  const waits = unlock(1);
  t.equal(waits.status, 11, 'pending');
  t.match(waits.stderr, /1 of 2 shares/);
  t.equal(unlock(3).status, 0);
  const rotated = rig.vault.cli('slot', 'rotate', 'board', '0', '--new', `share:file:${path}-new`);
  t.equal(rotated.status, 0, rotated.stderr);
  await rig.lock('/board');
  t.equal(unlock(2).status, 5, 'of before the rotation');
  t.equal(rig.vault.cli('unlock', 'board', '--with', `share:file:${path}-new.1`).status, 11);
  t.equal(rig.vault.cli('unlock', 'board', '--with', `share:file:${path}-new.2`).status, 0);
  chmodSync(path.replace('board', 'board.1'), 0o400);
  const both = rig.vault.cli('create', 'c', ...options, '--with', `share:file:${path}`);
  t.equal(both.status, 8, 'files that are there stay');
  t.equal(rig.vault.cli('status', 'c').status, 4, 'and no scope is made');
});

test('no share, nor what shares give, is in the memory of the daemon', async (t) => {
  const rig = await rigFor(t);
  const [first] = (await rig.issue({ slot: 'split' })) as [string];
  const threshold = await rig.issue({ slot: 'threshold', shares: '3', threshold: '2' });
  await rig.lock('/a');
  const next = await rig.renew(first);
  await rig.open(next);
  await rig.lock('/a');
  await t.rejects(rig.open(threshold[0] as string), { code: 'pending' });
  const [share] = readShares(input(next), memory) as [Share];
  const { record } = readVault(rig.vault.vault);
  const sealed = rig.rows(
    (db) => db.prepare('SELECT sealed FROM shares WHERE number = 2').get() as { sealed: Buffer },
  ).sealed;
  const context = { volume: record.volume as VolumeId, scope: share.scope };
  const secret = new Shares(seal).open(context, share, sealed);
  const values = threshold.map((line) =>
    Buffer.from(reveal((readShares(input(line), memory)[0] as Share).value), 'hex'),
  );
  const needles = {
    'the text of the share before': Buffer.from(first.slice(-60)),
    'the text of the present share': Buffer.from(next.slice(-60)),
    'the present share': Buffer.from(reveal(share.value), 'hex'),
    "the split slot's secret": Buffer.from(secret === undefined ? '' : reveal(secret), 'hex'),
    'a share that waits': values[0] as Buffer,
    'its text': Buffer.from((threshold[0] as string).slice(-60)),
    'a share that never came': values[2] as Buffer,
  };
  t.equal(needles["the split slot's secret"].length, 32);
  const found = scan(rig.vault.pid, Object.values(needles));
  Object.keys(needles).forEach((name, i) => {
    t.equal(found[i], 0, `${name}: while one waits`);
  });
  await rig.open(threshold[1] as string);
  await rig.lock('/a');
  const after = scan(rig.vault.pid, Object.values(needles));
  Object.keys(needles).forEach((name, i) => {
    t.equal(after[i], 0, `${name}: after a lock`);
  });
});

test('where new shares can not be written it is said that nobody has them', async (t) => {
  const rig = await rigFor(t);
  const closed = rig.vault.cli('slot', 'add', 'a', '--slot', 'split', '--new', 'share:fd:999');
  t.equal(closed.status, 1);
  t.match(closed.stderr, /nobody has them now/);
  t.match(closed.stderr, /slot rotate/);
  const path = join(rig.vault.directory, 'again');
  const rotated = rig.vault.cli('slot', 'rotate', 'a', '2', '--new', `share:file:${path}`);
  t.equal(rotated.status, 0, rotated.stderr);
  t.equal(rig.vault.cli('slot', 'test', 'a', '--with', `share:file:${path}`).status, 0);
});

test('a recovery slot has no end and no window, and the last one that opens for ever stays', async (t) => {
  const rig = await rigFor(t);
  const text = (): SecretInput => {
    const bytes = Buffer.alloc(71);
    writeRecoveryText(randomBytes(32), bytes);
    return input(bytes);
  };
  const soon = new Date(Date.now() + 60_000).toISOString();
  const slot = 'recovery';
  t.equal(await exitStatus(rig.client.addSlot('a', { slot, not_after: soon }, text())), 2);
  t.equal(await exitStatus(rig.client.addSlot('a', { slot, window: 'at:02:00,for:1h' }, text())), 2);
  t.equal(await exitStatus(rig.client.setWindow('a', '1', { window: 'at:02:00,for:1h' })), 2);
  await rig.issue({ slot: 'split' });
  t.equal(await exitStatus(rig.client.removeSlot('a', '1')), 8, 'under a split slot it stays');
  // Without recovery slots: what is left must open for ever.
  rig.createScope('/b');
  await rig.client.addSlot('b', { slot: 'keyfile', not_after: soon }, input(randomBytes(32)));
  t.equal(await exitStatus(rig.client.removeSlot('b', '0')), 8);
  t.equal(await exitStatus(rig.client.removeSlot('b', '1')), 0);
  for (const options of [
    { slot: 'split', shares: '3', threshold: '2' },
    { slot: 'keyfile', shares: '3', threshold: '2' },
  ]) {
    const secret = options.slot === 'split' ? nothing() : input(randomBytes(32));
    t.equal(await exitStatus(rig.client.addSlot('a', options, secret)), 2, `${options.slot} has no shares`);
  }
});

test('waiting shares open on the terms on which they were brought, and a lease’s end forgets those below it', async (t) => {
  const rig = await rigFor(t);
  rig.createScope('/a/inner');
  const shares = new SecretInput();
  const options = { slot: 'threshold', shares: '3', threshold: '2' };
  await rig.client.addSlot('a/inner', options, nothing(), shares);
  const [one, two, three] = lines(shares) as [string, string, string];
  const bring = (text: string, more: object = {}): Promise<LeaseView> =>
    rig.client.createLease('a/inner', { with: 'share', ...more }, input(text));
  await rig.lock('/a');
  await rig.unlock('/a', '3s');
  const mine = { visible_to: 'uid:1000', ro: '1' };
  await t.rejects(bring(one, mine), { code: 'pending' });
  await t.rejects(bring(two), { code: 'conflict', message: /wait for uid:1000, read-only/ });
  t.equal(await rig.state('/a/inner'), 'locked');
  t.match(await bring(three, mine), { visible_to: 'uid:1000', read_only: true });
  await rig.lock('/a/inner');
  await t.rejects(bring(one), { code: 'pending' });
  for (let i = 0; i < 100 && (await rig.state('/a')) !== 'locked'; i++) await sleep(100);
  await rig.unlock('/a');
  await t.rejects(bring(two), { code: 'pending', details: { have: [2] } });

  rig.rows((db) => {
    const row = db.prepare("SELECT parameters FROM slots WHERE type = 'threshold'").get() as {
      parameters: string;
    };
    const edited = JSON.stringify({ ...(JSON.parse(row.parameters) as object), needed: 1 });
    db.prepare('UPDATE slots SET parameters = ? WHERE parameters = ?').run(edited, row.parameters);
  });
  t.equal(await exitStatus(bring(one)), 9, 'a row that asks for one share is damaged');
});

test('on a full disk neither a share nor a slot is lost', async (t) => {
  const rig = await rigFor(t);
  const tiny = join(rig.vault.directory, 'tiny');
  mkdirSync(tiny);
  rig.vault.expect(run('mount', ['-t', 'tmpfs', '-o', 'size=8k', 'tmpfs', tiny]), 'mount');
  try {
    const path = join(tiny, 'share');
    rig.vault.expect(
      rig.vault.cli('slot', 'add', 'a', '--slot', 'split', '--new', `share:file:${path}`),
      'add',
    );
    const before = readFileSync(path);
    writeFileSync(join(tiny, 'fill'), Buffer.alloc(4096));
    const slots = (await rig.client.slots('a')).length;
    const added = rig.vault.cli('slot', 'add', 'a', '--slot', 'split', '--new', `share:file:${tiny}/other`);
    t.not(added.status, 0);
    t.match(added.stderr, /ENOSPC/);
    t.equal((await rig.client.slots('a')).length, slots, 'the daemon was not asked');
    t.notOk(existsSync(`${tiny}/other`));
    await rig.lock('/a');
    const unlocked = rig.vault.cli('unlock', 'a', '--with', `share:file:${path}`);
    t.equal(unlocked.status, 1);
    t.match(unlocked.stderr, /could not be written/);
    t.same(readFileSync(path), before, 'the share that opens is there');
    rmSync(join(tiny, 'fill'));
    const again = rig.vault.cli('unlock', 'a', '--with', `share:file:${path}`);
    t.equal(again.status, 0, again.stderr);
  } finally {
    run('umount', ['-l', tiny]);
  }
});
