import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateHybridIdentity, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { type Test, test } from 'tap';
import { secretSource } from '../../src/cli/secrets/secret-source.js';
import { Connection } from '../../src/store/connection.js';
import { Rig } from '../support/probe.js';

/** Slots of the kinds that come from somewhere else: age recipients, a command, the parent scope; and ones that end. */

function rigFor(t: Test): Rig {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  writeFileSync(rig.path('a/file'), 'content');
  return rig;
}
const file = (rig: Rig, name: string, content: string, mode = 0o600): string => {
  const path = join(rig.vault.directory, name);
  writeFileSync(path, content, { mode });
  chmodSync(path, mode);
  return path;
};

test('age: sealed to recipients, opened by an identity; the post-quantum ones too', async (t) => {
  const rig = rigFor(t);
  for (const [kind, make] of [
    ['x25519', generateX25519Identity],
    ['hybrid', generateHybridIdentity],
  ] as const) {
    const mine = await make();
    const other = await make();
    const identity = file(rig, `${kind}-mine`, `# created by a test\n${mine}\n`);
    const stranger = file(rig, `${kind}-other`, `${await make()}\n`);
    // Public halves alone: whoever adds the slot cannot open it.
    const recipients = file(
      rig,
      `${kind}-recipients`,
      `${await identityToRecipient(mine)}\n${await identityToRecipient(other)}\n`,
    );
    const added = rig.vault.cli('slot', 'add', 'a', '--new', `age:${recipients}`, '--label', kind, '--json');
    t.equal(added.status, 0, added.stderr);
    const slot = JSON.parse(added.stdout) as { type: string; sealed: string };
    t.equal(slot.type, 'age');
    t.match(Buffer.from(slot.sealed, 'base64').toString('latin1'), /^age-encryption\.org\/v1\n/);
    t.match(rig.vault.cli('slot', 'test', 'a', '--with', `age:${identity}`).stdout, new RegExp(kind));
    await rig.lock('/a');
    t.equal(rig.vault.cli('unlock', 'a', '--with', `age:${stranger}`).status, 5, 'another identity');
    t.equal(rig.vault.cli('unlock', 'a', '--with', `age:${recipients}`).status, 5, 'recipients open nothing');
    const opened = rig.vault.cli('unlock', 'a', '--with', `age:${identity}`);
    t.equal(opened.status, 0, opened.stderr);
    t.equal(readFileSync(rig.path('a/file'), 'utf8'), 'content');
    if (kind === 'hybrid') continue;
    // Rotated: sealed to others, and an older copy of the slot's secret opens nothing new.
    const rotated = rig.vault.cli('slot', 'rotate', 'a', kind, '--new', `age:${stranger}`);
    t.equal(rotated.status, 0, rotated.stderr);
    t.equal(rig.vault.cli('slot', 'test', 'a', '--with', `age:${identity}`).status, 5);
  }
  const made = rig.vault.cli(
    'create',
    'b',
    '--with',
    `age:${file(rig, 'new', await generateX25519Identity())}`,
  );
  t.equal(made.status, 0, made.stderr);
  const exec = rig.vault.cli('lock', 'b');
  t.equal(exec.status, 0);
  t.equal(rig.vault.cli('unlock', 'a', 'b', '--with', `age:${join(rig.vault.directory, 'new')}`).status, 5);
  t.equal(rig.vault.cli('unlock', 'b', '--with', `age:${join(rig.vault.directory, 'new')}`).status, 0);
  for (const bad of ['', 'not age', 'AGE-SECRET-KEY-1NONSENSE', 'age1nonsense']) {
    const made = secretSource(`age:${file(rig, 'bad', `${bad}\n`)}`).make?.();
    // What may be a secret is not repeated.
    await t.rejects(made as Promise<unknown>, { code: 'usage', message: /^(?!.*NONSENSE)/i }, bad);
  }
});

test('cmd: the secret comes through a pipe, in a clean environment, in time', async (t) => {
  const rig = rigFor(t);
  const key = file(rig, 'kms', 'k'.repeat(40));
  const program = file(rig, 'fetch', `#!/bin/sh\nenv > ${rig.vault.directory}/env\ncat ${key}\n`, 0o700);
  const added = rig.vault.cli('slot', 'add', 'a', '--new', `cmd:${program}`, '--label', 'kms', '--json');
  t.equal(added.status, 0, added.stderr);
  t.match(JSON.parse(added.stdout), { type: 'cmd', label: 'kms' });
  await rig.lock('/a');
  t.equal(rig.vault.cli('unlock', 'a', '--with', `cmd:${program}`).status, 0);
  const environment = readFileSync(`${rig.vault.directory}/env`, 'utf8');
  t.same(
    environment
      .split('\n')
      .map((line) => line.split('=')[0])
      .filter((name) => name !== '' && !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name as string))
      .sort(),
    ['LC_ALL', 'PATH'],
  );
  const options = { confirm: false, what: 'secret', allowPrompt: false };
  const read = (content: string) => secretSource(`cmd:${file(rig, 'bad', content, 0o700)}`).read(options);
  const refused = { code: 'input_required' };
  await t.rejects(read('#!/bin/sh\nexit 3\n'), { ...refused, message: /status 3/ });
  await t.rejects(read('#!/bin/sh\ntrue\n'), { ...refused, message: /gave nothing/ });
  await t.rejects(read('#!/bin/sh\nhead -c 9000 /dev/zero\n'), {
    ...refused,
    message: /more than 8192 bytes/,
  });
  await t.rejects(read('#!/bin/sh\nkill -9 $$\n'), { ...refused, message: /SIGKILL/ });
  const left = await read(`#!/bin/sh\n(sleep 20) &\ncat ${key}\n`);
  t.equal(left.length, 40, 'one that leaves a process with its pipe');
  left.wipe();
  await t.rejects(secretSource('cmd:/no/such/program').read(options), refused);
  t.throws(() => secretSource('cmd:relative'), { code: 'usage' });
});

test('parent: opens with its parent, and who was removed from the parent is shut out of it too', async (t) => {
  const rig = rigFor(t);
  mkdirSync(rig.path('a/dir'));
  const made = rig.vault.cli('create', 'a/dir/mail', '--with', 'parent');
  t.equal(made.status, 0, made.stderr);
  writeFileSync(rig.path('a/dir/mail/letter'), 'first');
  await rig.lock('/a');
  const early = rig.vault.cli('unlock', 'a/dir/mail', '--with', 'parent');
  t.equal(early.status, 3, 'not under a locked parent');
  await rig.unlock('/a');
  t.equal(rig.vault.cli('unlock', 'a/dir/mail', '--with', 'parent').status, 0);
  t.equal(readFileSync(rig.path('a/dir/mail/letter'), 'utf8'), 'first');
  t.equal(rig.vault.cli('slot', 'test', 'a/dir/mail', '--with', 'parent').status, 0);
  const wrong = rig.vault.cli('unlock', 'a', '--with', 'parent');
  t.equal(wrong.status, 5, 'it has no such slot');
  t.equal(rig.vault.cli('create', 'b', '--with', 'parent').status, 0, 'of the root scope too');

  const epochOf = async (path: string): Promise<number> => {
    const rotated = rig.vault.cli('audit', 'tail', '--json');
    const { entries } = JSON.parse(rotated.stdout) as { entries: { path: string; event: string }[] };
    return entries.filter((row) => row.path === path && row.event === 'slot_rotate').length;
  };
  // While the child is open: its slot is made anew at once.
  const second = file(rig, 'second', 'x'.repeat(40));
  t.equal(rig.vault.cli('slot', 'add', 'a', '--new', `file:${second}`, '--label', 'second').status, 0);
  t.equal(rig.vault.cli('slot', 'rm', 'a', 'second').status, 0);
  t.equal(await epochOf('/a/dir/mail'), 1);
  await rig.lock('/a/dir/mail');
  t.equal(rig.vault.cli('unlock', 'a/dir/mail', '--with', 'parent').status, 0);
  // While it is locked: at its next unlock, before anything is written, whichever slot opens it.
  const own = file(rig, 'own', 'y'.repeat(40));
  t.equal(rig.vault.cli('slot', 'add', 'a/dir/mail', '--new', `file:${own}`).status, 0);
  await rig.lock('/a/dir/mail');
  t.equal(rig.vault.cli('slot', 'rotate', 'a', '0', '--new', `file:${rig.key('/a')}`).status, 0);
  t.equal(await epochOf('/a/dir/mail'), 1);
  // Somebody puts a slot of their own into the store meanwhile: the new epoch is not sealed to it.
  const child = (await rig.client.scope('a/dir/mail')).id;
  const db = new Connection(join(rig.vault.vault, 'store.sqlite'));
  t.teardown(() => db.close());
  db.prepare(
    `INSERT INTO slots SELECT ?, 7, type, kind_version, parameters, public_key, private_half, NULL, created
     FROM slots WHERE scope = ? AND number = 0`,
  ).run(Buffer.from(child, 'hex'), Buffer.from((await rig.client.scope('a')).id, 'hex'));
  t.equal(rig.vault.cli('unlock', 'a/dir/mail', '--with', `file:${own}`).status, 0);
  t.equal(await epochOf('/a/dir/mail'), 2);
  const wraps = db.prepare('SELECT number, epoch FROM wraps WHERE scope = ?').all(Buffer.from(child, 'hex'));
  t.ok(wraps.length > 0 && !wraps.some((row) => (row as { number: number }).number === 7), 'no wrap for it');
  t.match((await rig.client.slots('a/dir/mail')).at(-1), { number: 7, status: 'damaged' });
  t.equal(rig.vault.cli('slot', 'rm', 'a/dir/mail', '7').status, 0);
  t.equal(readFileSync(rig.path('a/dir/mail/letter'), 'utf8'), 'first');
  await rig.lock('/a');
  await rig.unlock('/a');
  t.equal(
    rig.vault.cli('unlock', 'a/dir/mail', '--with', 'parent').status,
    0,
    'with an epoch that is past, by the chain',
  );
  const list = JSON.parse(rig.vault.cli('slot', 'list', 'a/dir/mail', '--json').stdout) as {
    slots: object[];
  };
  t.match(list.slots, [
    { type: 'parent', status: 'ok' },
    { type: 'keyfile', status: 'ok' },
  ]);
});

test('a slot ends when it was said to', async (t) => {
  const rig = rigFor(t);
  const key = file(rig, 'guest', 'g'.repeat(40));
  const moment = Date.now() + 20_000;
  const until = new Date(moment).toISOString();
  const add = (time: string) =>
    rig.vault.cli('slot', 'add', 'a', '--new', `file:${key}`, '--label', 'guest', '--not-after', time);
  t.equal(add('2020-01-01T00:00:00Z').status, 2);
  t.equal(add(until).status, 0);
  t.match(rig.vault.cli('slot', 'list', 'a').stdout, /guest .*20\d\d-\d\d-\d\dT/);
  t.equal(rig.vault.cli('slot', 'test', 'a', '--with', `file:${key}`).status, 0);
  await new Promise((resolve) => setTimeout(resolve, moment + 1_100 - Date.now()));
  const late = rig.vault.cli('slot', 'test', 'a', '--with', `file:${key}`);
  t.equal(late.status, 6);
  t.match(late.stderr, /slot 1 ended at/);
  await rig.lock('/a');
  t.equal(rig.vault.cli('unlock', 'a', '--with', `file:${key}`).status, 6);
  await rig.unlock('/a');
});
