import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { writeRecoveryText } from '../../src/keyring/slots/recovery-text.js';
import type { CliResult } from '../support/mounted.js';
import { Vault } from '../support/mounted.js';

function setup(t: Test): { vault: Vault; key: string; file(content: Buffer | string): string } {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  let count = 0;
  const file = (content: Buffer | string): string => {
    const path = join(vault.directory, `secret-${count++}`);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  return { vault, key: vault.createScope('a'), file };
}
function fails(t: Test, result: CliResult, status: number, code: string, message: RegExp): void {
  t.equal(result.status, status, result.stderr);
  const { error } = JSON.parse(result.stderr) as { error: { code: string; message: string; hint?: string } };
  t.equal(error.code, code);
  t.match(error.message, message);
}
function recoveryText(): Buffer {
  const text = Buffer.alloc(71);
  writeRecoveryText(randomBytes(32), text);
  return text;
}

test('slots of every type are added, tested, listed, removed', async (t) => {
  const { vault, key, file } = setup(t);
  const recovery = file(recoveryText());
  const word = file('correct horse\n');
  const cli = (...args: string[]): CliResult => vault.cli('slot', ...args, '--json');
  const add = (...args: string[]): unknown =>
    JSON.parse(vault.expect(cli('add', 'a', ...args), 'add').stdout) as unknown;
  t.match(add('--new', `file:${word}`, '--slot', 'passphrase', '--label', 'word'), {
    number: 1,
    type: 'passphrase',
    label: 'word',
    status: 'ok',
  });
  t.match(add('--new', `file:${recovery}`, '--slot', 'recovery'), { number: 2, type: 'recovery' });
  for (const [source, number] of [
    [key, 0],
    [word, 1],
    [recovery, 2],
  ] as const) {
    t.match(JSON.parse(cli('test', 'a', '--with', `file:${source}`).stdout), { number });
  }
  vault.lock('a');
  t.match(JSON.parse(cli('list', 'a').stdout), { slots: [{ status: 'unverified' }, {}, {}] });
  t.match(JSON.parse(cli('test', 'a', '--with', `file:${word}`).stdout), { number: 1 }, 'while it is locked');
  fails(t, cli('rm', 'a', 'word'), 3, 'locked', /locked/);
  t.match(JSON.parse(cli('rm', 'a', 'word', '--with', `file:${recovery}`).stdout), {
    slot: { number: 1, label: 'word' },
    epoch: 2,
    still_readable: { epochs: [1] },
  });
  t.equal(vault.cli('status', 'a').status, 3, 'the short lease ended');
  t.match(JSON.parse(cli('list', 'a').stdout), { slots: [{ number: 0 }, { number: 2 }] });
  vault.unlock('a', recovery);
});

test('the last slot and the last recovery slot stay', async (t) => {
  const { vault, file } = setup(t);
  const cli = (...args: string[]): CliResult => vault.cli('slot', ...args, '--json');
  fails(t, cli('rm', 'a', '0'), 8, 'conflict', /last one/);
  const recovery = [file(recoveryText()), file(recoveryText())];
  vault.expect(cli('add', 'a', '--new', `file:${recovery[0]}`, '--slot', 'recovery'), 'add');
  fails(t, cli('rm', 'a', '1'), 8, 'conflict', /last recovery/);
  vault.expect(cli('add', 'a', '--new', `file:${recovery[1]}`, '--slot', 'recovery'), 'add');
  vault.expect(cli('rm', 'a', '1'), 'now another is there');
  vault.expect(cli('rm', 'a', '0'), 'rm');
  const both = [vault.start('slot', 'rm', 'a', '2'), vault.start('slot', 'rm', 'a', '2')];
  for (const { status } of await Promise.all(both)) t.equal(status, 8);
});

test('what cannot be is refused by name', async (t) => {
  const { vault, file } = setup(t);
  const cli = (...args: string[]): CliResult => vault.cli('slot', ...args, '--json');
  const good = ['--new', `file:${file(randomBytes(32))}`];
  fails(t, cli('add', 'a'), 5, 'input_required', /new secret/);
  fails(t, cli('add', 'a', ...good, '--slot', 'age'), 2, 'usage', /age/);
  fails(t, cli('add', 'a', '--new', `file:${file('short')}`), 2, 'usage', /32 to 4096/);
  fails(
    t,
    cli('add', 'a', '--new', `file:${file('nonsense')}`, '--slot', 'recovery'),
    2,
    'usage',
    /recovery key/,
  );
  fails(t, cli('add', 'a', '--new', 'prompt', '--slot', 'recovery'), 5, 'input_required', /terminal/);
  fails(t, cli('add', 'none', ...good), 4, 'not_found', /none/);
  fails(t, cli('add', 'a', ...good, '--label', '7'), 2, 'usage', /number/);
  vault.expect(cli('add', 'a', ...good, '--label', 'x'), 'add');
  fails(t, cli('add', 'a', ...good, '--label', 'x'), 8, 'conflict', /slot x/);
  fails(t, cli('rm', 'a', 'y'), 4, 'not_found', /no slot y/);
  fails(t, cli('rotate', 'a', 'y', ...good), 4, 'not_found', /no slot y/);
  fails(t, cli('test', 'a', '--with', `file:${file(randomBytes(32))}`), 5, 'bad_key', /opens no slot/);
  vault.lock('a');
  fails(t, cli('add', 'a', ...good), 3, 'locked', /locked/);
  fails(t, cli('rotate', 'a', '0', ...good), 3, 'locked', /locked/);
  const wrong = file(randomBytes(32));
  fails(t, cli('rm', 'a', 'x', '--with', `file:${wrong}`), 5, 'bad_key', /opens no slot/);
});

test('a CLI that is killed leaves no half-made slot or scope', async (t) => {
  const { vault, key, file } = setup(t);
  const secret = file(randomBytes(32));
  for (let delay = 0; delay < 700; delay += 70) {
    const child = vault.startProcess('slot', 'add', 'a', '--new', `file:${secret}`);
    const second = vault.startProcess('create', `scope-${delay}`, '--with', `file:${secret}`);
    // From the beginning: a fast one ends before it is killed.
    const ended = [child, second].map((each) => new Promise((resolve) => each.once('close', resolve)));
    await new Promise((resolve) => setTimeout(resolve, delay));
    child.kill('SIGKILL');
    second.kill('SIGKILL');
    await Promise.all(ended);
  }
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const { slots } = JSON.parse(vault.cli('slot', 'list', 'a', '--json').stdout) as {
    slots: { number: number; status: string }[];
  };
  t.comment(`${slots.length} slots`);
  t.ok(slots.every(({ status }) => status === 'ok'));
  const { scopes } = JSON.parse(vault.cli('ls', '--json').stdout) as {
    scopes: { path: string; state: string }[];
  };
  const made = scopes.filter(({ path }) => path.startsWith('/scope-'));
  t.comment(`${made.length} scopes`);
  for (const { path } of made) {
    // Its maker was gone before the answer: the scope is whole, and nobody's lease has it open.
    vault.unlock(path, secret);
    writeFileSync(vault.path(path, 'file'), 'works');
  }
  vault.remount();
  vault.unlock('a', key);
  for (const { path } of made) vault.unlock(path, secret);
  if (slots.length > 1) vault.expect(vault.cli('slot', 'test', 'a', '--with', `file:${secret}`), 'test');
});
