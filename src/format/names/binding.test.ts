import fc from 'fast-check';
import { test } from 'tap';
import { copyMemory, pinned, type Secret, SecretMemory } from '../../libc/memory.js';
import { type BindingKind, encodeBinding, encodeUnbound, judgeBinding, placeMac, tagOf } from './binding.js';

const memory = new SecretMemory(64);
function secret(fill: number): Secret {
  const made = memory.allocate(32);
  const from = pinned(32);
  from.bytes.fill(fill);
  copyMemory(made.address, from.address, 32);
  return made;
}
const key = secret(1);
const tag = Buffer.alloc(16, 7);
const home = Buffer.alloc(16, 1);
const away = Buffer.alloc(16, 2);
const found = Buffer.alloc(16);

function judge(bytes: Buffer, directory = home, name = 'name', by = key): string {
  return judgeBinding([{ binding: by }], bytes, { directory, name }, found);
}

test('a bound file is bound to its one name and to no other', async (t) => {
  const bytes = encodeBinding(key, tag, [{ directory: home, name: 'name' }]);
  t.equal(bytes.length, 34);
  t.equal(bytes.toString('hex', 0, 18), `0101${'07'.repeat(16)}`);
  t.equal(judge(bytes), 'bound');
  t.same(found, tag, 'the tag that it names');
  t.same(tagOf(bytes, bytes.length), tag);
  t.same([tagOf(bytes, 17), tagOf(bytes, -61)], [undefined, undefined], 'too short for a tag, or -errno');
  t.equal(judge(bytes, away), 'mismatch', 'another directory');
  t.equal(judge(bytes, home, 'nam'), 'mismatch');
  t.equal(judge(bytes, home, 'name2'), 'mismatch');
  t.equal(judge(bytes, home, 'Name'), 'mismatch');
  t.equal(judge(bytes, home, 'name', secret(2)), 'mismatch', 'another scope');
});

test('during a rename both names hold, and no third', async (t) => {
  const places = [
    { directory: home, name: 'old' },
    { directory: away, name: 'new' },
  ];
  const bytes = encodeBinding(key, tag, places);
  t.equal(bytes.length, 50);
  t.equal(judge(bytes, home, 'old'), 'bound');
  t.equal(judge(bytes, away, 'new'), 'bound');
  t.equal(judge(bytes, home, 'new'), 'mismatch');
  t.equal(judge(bytes, away, 'old'), 'mismatch');
});

test('a file of several names is unbound under each, and an unbound mark cannot be made from a bound one', async (t) => {
  const bytes = encodeUnbound(key, tag);
  t.equal(bytes.length, 34);
  t.equal(judge(bytes), 'unbound');
  t.equal(judge(bytes, away, 'anything'), 'unbound');
  t.equal(judge(bytes, home, 'name', secret(2)), 'mismatch');
  const bound = encodeBinding(key, tag, [{ directory: home, name: 'name' }]);
  bound[1] = 5;
  t.equal(judge(bound), 'mismatch');
  const empty = encodeBinding(key, tag, [{ directory: Buffer.alloc(16), name: '' }]);
  empty[1] = 5;
  t.equal(judge(empty), 'mismatch', 'the kind is under the MAC');
  const relabelled = Buffer.from(bytes);
  relabelled[1] = 1;
  t.equal(judge(relabelled, Buffer.alloc(16), ''), 'mismatch');
});

test('every flipped bit of a binding is a mismatch', async (t) => {
  const bindings = {
    bound: encodeBinding(key, tag, [{ directory: home, name: 'name' }]),
    unbound: encodeUnbound(key, tag),
  };
  for (const [kind, bytes] of Object.entries(bindings)) {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      if (judge(flipped) !== 'mismatch') t.fail(`${kind}: bit ${bit}`);
    }
    t.equal(judge(bytes), kind);
  }
});

test('every other length is a mismatch', async (t) => {
  const bytes = encodeBinding(key, tag, [
    { directory: home, name: 'name' },
    { directory: away, name: 'other' },
  ]);
  for (let length = 0; length < 120; length++) {
    const cut = Buffer.alloc(length);
    bytes.copy(cut);
    const expected = length === 34 || length === 50 ? 'bound' : 'mismatch';
    if (judge(cut) !== expected) t.fail(`${length} bytes: ${judge(cut)}`);
  }
  const unbound = Buffer.concat([encodeUnbound(key, tag), Buffer.alloc(16)]);
  t.equal(judge(unbound), 'mismatch', 'an unbound mark has one length');
});

test('a place is one directory, one tag and one name, of any bytes and length', async (t) => {
  const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 255, min: 1 })
    .map((bytes) => Buffer.from(bytes).toString('latin1'));
  const place = fc.record({ directory: id, tag: id, name });
  const epoch = fc.integer({ min: 0, max: 0xffffffff });
  const mac = (
    at: { directory: Buffer; tag: Buffer; name: string },
    when: number,
    kind: BindingKind,
  ): string => placeMac(key, kind, when, at, at.tag).toString('hex');
  fc.assert(
    fc.property(place, place, epoch, epoch, (a, b, one, two) => {
      const made = mac(a, one, 'bound');
      return (
        mac({ ...a }, one, 'bound') === made &&
        (mac({ ...a, directory: b.directory }, one, 'bound') === made) === a.directory.equals(b.directory) &&
        (mac({ ...a, tag: b.tag }, one, 'bound') === made) === a.tag.equals(b.tag) &&
        (mac({ ...a, name: b.name }, one, 'bound') === made) === (a.name === b.name) &&
        (mac(a, two, 'bound') === made) === (one === two) &&
        mac(a, one, 'directory') !== made
      );
    }),
    { numRuns: 400 },
  );
  t.pass('distinct');
});
