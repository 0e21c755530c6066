import { join } from 'node:path';
import { type Test, test } from 'tap';
import { freshVault } from '../support/failing.js';
import { scopefs, type Vault } from '../support/mounted.js';
import { onTerminal } from '../support/terminal.js';

/** Passphrases typed on a terminal: its own line discipline edits them, and nothing else is in them. */

function stage(t: Test): { vault: Vault; target: string; init: string[] } {
  const vault = freshVault(t);
  const target = join(vault.directory, 'typed');
  return { vault, target, init: ['init', target, '--with', 'prompt'] };
}
/** Whether a passphrase opens the root scope of a vault. */
function opens(t: Test, vault: Vault, target: string, passphrase: string | Buffer): boolean {
  const host = `unix://${vault.directory}/typed.sock`;
  const args = ['mount', target, vault.mount, '--with', '-', '--host', host, '--json'];
  const done = scopefs(args, { input: Buffer.from(passphrase) });
  if (done.status === 0) t.equal(scopefs(['unmount', vault.mount, '--host', host]).status, 0);
  else t.equal(done.status, 5, done.stderr);
  return done.status === 0;
}
const twice = (keys: string | Buffer): [string, string | Buffer][] => [
  ['passphrase of the root scope: ', keys],
  ['again: ', keys],
];

test('erase, word erase and kill are those of the terminal, whole letters at once', async (t) => {
  for (const [keys, passphrase] of [
    ['abcdefghé\x7fxyz\r', 'abcdefghxyz'],
    ['wrong\x15correct horsd\x17horse\n', 'correct horse'],
  ] as const) {
    const { vault, target, init } = stage(t);
    const session = onTerminal(init, { typed: twice(keys) });
    t.equal(session.status, 0, session.seen);
    t.notMatch(session.seen, /xyz|horse/, 'nothing of it is seen');
    t.equal(session.echo, true, 'the terminal echoes again');
    t.ok(opens(t, vault, target, `${passphrase}\n`), 'what was seen in mind is what opens');
  }
});

test('what is typed ahead answers both questions', async (t) => {
  const { vault, target, init } = stage(t);
  const session = onTerminal(init, { ahead: 'typed ahead\ntyped ahead\n' });
  t.equal(session.status, 0, session.seen);
  t.ok(opens(t, vault, target, 'typed ahead'));
});

test('a letter is one letter, whatever keyboard it came from; what is not UTF-8 stays as it is', async (t) => {
  const { vault, target, init } = stage(t);
  const session = onTerminal(init, { typed: twice('Schlu\u0308ssel\r') });
  t.equal(session.status, 0, session.seen);
  t.ok(opens(t, vault, target, 'Schl\u00fcssel'), 'composed');
  t.ok(opens(t, vault, target, 'Schlu\u0308ssel\n'), 'decomposed');
  t.notOk(opens(t, vault, target, Buffer.from('Schl\u00fcssel', 'latin1')), 'another passphrase');
  const other = join(vault.directory, 'latin1');
  const bytes = Buffer.from('Schl\u00fcssel', 'latin1');
  t.equal(scopefs(['init', other, '--with', '-'], { input: bytes }).status, 0);
  t.ok(opens(t, vault, other, bytes));
});

test('an interrupt ends it with the terminal as it was; nothing typed and too long are said', async (t) => {
  const { init } = stage(t);
  const [first] = twice('abc\x03') as [[string, string]];
  const interrupted = onTerminal(init, { typed: [first] });
  t.match(interrupted, { status: -2, echo: true }, interrupted.seen);
  const nothing = onTerminal(init, { typed: [[first[0], '\x04']] });
  t.equal(nothing.status, 5);
  t.match(nothing.seen, /nothing was typed/);
  const long = onTerminal(init, { typed: [[first[0], `${'x'.repeat(4200)}\r`]] });
  t.equal(long.status, 2);
  t.match(long.seen, /4094 bytes.*--slot passphrase/s);
  const differ = onTerminal(init, {
    typed: [
      [first[0], 'one\r'],
      ['again: ', 'two\r'],
    ],
  });
  t.equal(differ.status, 2);
  t.match(differ.seen, /did not match/);
});

test('what nobody sees in a passphrase is pointed out', async (t) => {
  const { vault } = stage(t);
  for (const [name, passphrase, note] of [
    ['cr', 'secret\r\n', /ends in a carriage return/],
    ['bom', '\ufeffsecret\n', /begins with a byte order mark/],
  ] as const) {
    const target = join(vault.directory, name);
    const done = scopefs(['init', target, '--with', '-'], { input: passphrase });
    t.equal(done.status, 0, done.stderr);
    t.match(done.stderr, note);
    t.ok(opens(t, vault, target, passphrase));
    t.notOk(opens(t, vault, target, 'secret'));
  }
});
