import { test } from 'tap';
import { printable, printableJson, printableLines } from './printable.js';

test('what a terminal obeys is shown instead', async (t) => {
  t.equal(printable('a\x1b[2Jb\r\n\t\x00\x7f\x9b31m'), 'a\\x1b[2Jb\\x0d\\n\\x09\\x00\\x7f\\x9b31m');
  t.equal(printable('pay\u202egpj.exe\u2066\u2028'), 'pay\\u202egpj.exe\\u2066\\u2028');
  t.equal(printable('Grüße, 漢字 🙂'), 'Grüße, 漢字 🙂');
});

test('lines keep their ends, and sequences of ours', async (t) => {
  const ours = ['\x1b[1m', '\x1b[22m'];
  t.equal(
    printableLines('\x1b[1mSCOPE\x1b[22m\n\x1b[2Jx\x1b[1;5m', ours),
    '\x1b[1mSCOPE\x1b[22m\n\\x1b[2Jx\\x1b[1;5m',
  );
  t.equal(printableLines('\x1b[1mx'), '\\x1b[1mx');
});

test('JSON stays the same value', async (t) => {
  const value = { name: '\x1b\x9b\x7f\u202e"\\' };
  const json = printableJson(`${JSON.stringify(value, null, 2)}\n`);
  t.match(json, '\\u001b\\u009b\\u007f\\u202e');
  t.same(JSON.parse(json), value);
});
