import { test } from 'tap';
import type { ScopeId } from '../../base/ids.js';
import { input, memory, reveal, secretOf } from '../test-keyring.js';
import { readShares, SHARE_LINE_BYTES, type Share, tagOf, writeShares } from './share-text.js';

const scope = '000102030405060708090a0b0c0d0e0f' as ScopeId;
const set = 'a1b2c3d4e5f60718';
const split: Share = {
  type: 'split',
  scope,
  slot: 3,
  set,
  number: 7,
  value: secretOf(Buffer.alloc(32, 0x5a)),
};
const parts = [1, 2, 3].map(
  (number): Share => ({
    type: 'threshold',
    scope,
    slot: 4,
    set,
    number,
    value: secretOf(Buffer.concat([Buffer.alloc(32, number), Buffer.of(number)])),
  }),
);
const text = (shares: readonly Share[]): string => {
  const written = writeShares(shares);
  const copy = written.view.toString('latin1');
  written.wipe();
  return copy;
};

test('a share is read as it was written, letter by letter as FORMAT.md has it', async (t) => {
  const line = text([split]);
  t.equal(line.length, SHARE_LINE_BYTES);
  t.equal(
    line.slice(0, -9),
    // version 1, kind 1, scope, slot 3 (little-endian), set, number 7, 32 bytes 0x5a, zero
    `scopefs-share-cbcb${'cccbcdcecfcgchcicjckclcncrctcucv'}cecccccc${'lbndretfugvhcibj'}cicccccc${'gl'.repeat(32)}cc`,
  );
  const [read] = readShares(input(line), memory);
  t.match(read, { type: 'split', scope, slot: 3, set, number: 7 });
  t.equal(reveal((read as Share).value), '5a'.repeat(32));
  read?.value.wipe();
});

test('several shares are lines; capitals, blanks and empty lines do not matter', async (t) => {
  const lines = text(parts);
  const typed = `\n${lines.toUpperCase().replace('SCOPEFS-SHARE-', 'scopefs-share-').replaceAll('\n', ' \r\n\n')}`;
  const read = readShares(input(typed), memory);
  t.same(
    read.map(({ number }) => number),
    [1, 2, 3],
  );
  t.same(read.map(tagOf), parts.map(tagOf), 'with their tags');
  for (const { value } of read) value.wipe();
});

test('each slip of a letter is noticed, and nothing is left in secret memory', async (t) => {
  const line = text([split]).trim();
  const before = memory.used;
  const letters = 'cbdefghijklnrtuv';
  for (let at = 14; at < line.length; at++) {
    const other = letters[(letters.indexOf(line[at] as string) + 1) % 16] as string;
    t.throws(() => readShares(input(line.slice(0, at) + other + line.slice(at + 1)), memory), {
      code: 'usage',
    });
  }
  for (let end = 0; end < line.length; end++) {
    t.throws(() => readShares(input(line.slice(0, end)), memory), { code: 'usage' }, `cut at ${end}`);
  }
  t.throws(() => readShares(input(`${line}c`), memory), { message: /line 1 .* slip/ });
  t.throws(() => readShares(input(`${line}\nhello`), memory), { message: /line 2 is not a share/ });
  t.throws(() => readShares(input(`${line}\n`.repeat(17)), memory), { message: /more than 16/ });
  t.equal(memory.used, before);
});

test('a tag tells value, number, slot and scope', async (t) => {
  const tag = tagOf(split).toString('hex');
  for (const other of [
    { ...split, number: 8 },
    { ...split, slot: 4 },
    { ...split, set: 'a1b2c3d4e5f60719' },
    { ...split, scope: 'ff0102030405060708090a0b0c0d0e0f' as ScopeId },
    { ...split, value: secretOf(Buffer.alloc(32, 0x5b)) },
  ]) {
    t.not(tagOf(other).toString('hex'), tag);
  }
});
