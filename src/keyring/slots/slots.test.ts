import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { freshId, type ScopeId, type VolumeId } from '../../base/ids.js';
import type { SlotRow, SlotType, WrapRow } from '../../store/rows.js';
import type { ScopeContext } from '../seal.js';
import {
  input,
  kem,
  memory,
  reveal,
  seal,
  secrets,
  slots,
  TestKem,
  testComposer,
  volume,
} from '../test-keyring.js';
import { readRecoveryText, writeRecoveryText } from './recovery-text.js';
import { readParameters } from './slot-facts.js';
import { kindOf, knownKind, slotKinds } from './slot-kinds.js';
import { Slots } from './slots.js';

async function made(type: SlotType, given: string | Buffer, number = 0, epoch = 1) {
  const context: ScopeContext = { volume, scope: freshId<ScopeId>() };
  const secret = secrets.fresh();
  const { slot, wrap } = await slots.make(
    context,
    { number, type, input: input(given), created: 1 },
    { epoch, secret },
  );
  return { context, secret, slot, wrap };
}
function recoveryText(bytes: Buffer): Buffer {
  const text = Buffer.alloc(71);
  writeRecoveryText(bytes, text);
  return text;
}

test('a slot opens with its own secret and no other; a passphrase loses one trailing newline', async (t) => {
  const key = randomBytes(32);
  const context: ScopeContext = { volume, scope: freshId<ScopeId>() };
  const secret = secrets.fresh();
  const recovery = recoveryText(randomBytes(32));
  const all = await Promise.all([
    slots.make(
      context,
      { number: 0, type: 'passphrase', input: input('correct horse\n'), created: 1 },
      { epoch: 1, secret },
    ),
    slots.make(context, { number: 1, type: 'keyfile', input: input(key), created: 1 }, { epoch: 1, secret }),
    slots.make(
      context,
      { number: 2, type: 'recovery', input: input(recovery), created: 1 },
      { epoch: 1, secret },
    ),
  ]);
  const rows = all.map(({ slot }) => slot);
  const wraps = all.map(({ wrap }) => wrap);
  const spelled = recovery.toString().toUpperCase().replaceAll('-', ' ');
  for (const [given, number] of [
    ['correct horse', 0],
    ['correct horse\n', 0],
    [key, 1],
    [recovery, 2],
    [`${spelled}\r\n`, 2],
  ] as const) {
    const opened = await slots.open(context, { slots: rows, wraps }, 1, input(given));
    t.equal(opened?.slot.number, number);
    t.equal(opened === undefined ? '' : reveal(opened.secret), reveal(secret));
    t.equal(opened?.rewrapped, undefined, 'no key pair was needed');
  }
  const other = recoveryText(randomBytes(32));
  for (const wrong of ['correct horse\n\n', 'Correct horse', '', `${key.toString('latin1')}\n`, other]) {
    t.equal(await slots.open(context, { slots: rows, wraps }, 1, input(wrong)), undefined);
  }
  t.notOk(rows.some((row) => row.privateHalf.includes(key)));
});

test('an epoch that a slot never opened is opened by its key pair once, then without', async (t) => {
  const key = randomBytes(32);
  const { context, slot } = await made('keyfile', key);
  const next = secrets.fresh();
  const [wrap] = (await slots.sealTo(context, [slot], { epoch: 2, secret: next })) as [WrapRow];
  const before = kem.calls.decapsulate;
  const opened = await slots.open(context, { slots: [slot], wraps: [wrap] }, 2, input(key));
  t.equal(opened === undefined ? '' : reveal(opened.secret), reveal(next));
  t.equal(kem.calls.decapsulate, before + 1);
  const again = await slots.open(
    context,
    { slots: [slot], wraps: [opened?.rewrapped as WrapRow] },
    2,
    input(key),
  );
  t.equal(again === undefined ? '' : reveal(again.secret), reveal(next));
  t.equal(again?.rewrapped, undefined);
  t.equal(kem.calls.decapsulate, before + 1, 'the second time needs no key pair');
  t.equal(await slots.open(context, { slots: [slot], wraps: [wrap] }, 2, input(randomBytes(32))), undefined);
});

test('no row stands in for another: scope, volume, number, epoch, type and form are bound', async (t) => {
  const key = randomBytes(64);
  const { context, slot, wrap } = await made('keyfile', key, 3);
  const open = (where: ScopeContext, row: SlotRow, sealed: WrapRow, epoch = 1) =>
    slots.open(where, { slots: [row], wraps: [sealed] }, epoch, input(key));
  t.ok(await open(context, slot, wrap));
  const salt = JSON.stringify({ salt: randomBytes(32).toString('base64') });
  t.equal(await open({ ...context, scope: freshId<ScopeId>() }, slot, wrap), undefined, 'scope');
  t.equal(await open({ ...context, volume: freshId<VolumeId>() }, slot, wrap), undefined, 'volume');
  t.equal(await open(context, { ...slot, number: 4 }, { ...wrap, number: 4 }), undefined, 'number');
  t.equal(await open(context, { ...slot, parameters: salt }, wrap), undefined, 'salt');
  // The secret is the slot's: then the wrap is named.
  await t.rejects(open(context, slot, { ...wrap, epoch: 2 }, 2), { code: 'integrity', message: /slot 3/ });
  await t.rejects(slots.open(context, { slots: [slot], wraps: [] }, 1, input(key)), {
    code: 'integrity',
    message: /missing/,
  });
  const other = await made('keyfile', key, 3);
  await t.rejects(open(context, slot, { ...other.wrap }), {
    code: 'integrity',
    message: /slot 3.*authentic/,
  });
  for (const kindVersion of [1, 3]) {
    await t.rejects(open(context, { ...slot, kindVersion }, wrap), { code: 'unsupported_format' });
  }
  await t.rejects(open(context, { ...slot, parameters: '{' }, wrap), { code: 'integrity' });
});

test('every changed byte of a wrap is refused by the name of its slot', async (t) => {
  const key = randomBytes(32);
  const { context, slot, wrap } = await made('keyfile', key, 5);
  const flip = (bytes: Buffer, at: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[at] = (copy[at] as number) ^ 1;
    return copy;
  };
  const rewrap = wrap.rewrap as Buffer;
  for (let at = 0; at < rewrap.length; at += 5) {
    const changed = { ...wrap, rewrap: flip(rewrap, at) };
    await t.rejects(slots.open(context, { slots: [slot], wraps: [changed] }, 1, input(key)), {
      code: 'integrity',
      message: /slot 5/,
    });
  }
  for (let at = 0; at < wrap.wrap.length; at += 97) {
    const changed = { ...wrap, rewrap: undefined, wrap: flip(wrap.wrap, at) };
    await t.rejects(
      slots.open(context, { slots: [slot], wraps: [changed] }, 1, input(key)),
      { code: 'integrity' },
      `${at}`,
    );
  }
  const short = { ...wrap, rewrap: undefined, wrap: wrap.wrap.subarray(0, 100) };
  await t.rejects(slots.open(context, { slots: [slot], wraps: [short] }, 1, input(key)), {
    message: /cut short/,
  });
  for (let at = 0; at < slot.privateHalf.length; at += 7) {
    const row = { ...slot, privateHalf: flip(slot.privateHalf, at) };
    const bare = { ...wrap, rewrap: undefined };
    t.equal(
      await slots.open(context, { slots: [row], wraps: [bare] }, 1, input(key)),
      undefined,
      'as with a wrong key',
    );
  }
});

test('a weakened scrypt cost in the store is refused, not used', async (t) => {
  const { context, slot, wrap } = await made('passphrase', 'p');
  const parsed = JSON.parse(slot.parameters) as { salt: string };
  for (const scrypt of [
    { log2n: 1, r: 8, p: 1 },
    { log2n: 25, r: 8, p: 1 },
  ]) {
    const row = { ...slot, parameters: JSON.stringify({ ...parsed, scrypt }) };
    await t.rejects(slots.open(context, { slots: [row], wraps: [wrap] }, 1, input('p')), {
      code: 'integrity',
    });
  }
});

test('a slot of a type that this build does not know is not tried; the others go on', async (t) => {
  const key = randomBytes(32);
  const { context, slot, wrap } = await made('keyfile', key);
  const strange = { ...slot, number: 1, type: 'hardware' as SlotType };
  const rows = { slots: [strange, slot], wraps: [{ ...wrap, number: 1 }, wrap] };
  t.equal((await slots.open(context, rows, 1, input(key)))?.slot.number, 0);
  t.equal(await slots.open(context, rows, 1, input(key), { only: 1 }), undefined);
  t.throws(() => readParameters(strange), { code: 'integrity', message: /slot 1/ });
  t.throws(() => knownKind(strange), { code: 'unsupported_format', message: /slot 1/ });
  t.equal(kindOf({ type: 'toString' as SlotType }), undefined, 'nor what every object has');
});

test('the kinds of slots have numbers and ranks of their own, and facts that no other kind may have', async (t) => {
  const kinds = Object.values(slotKinds);
  for (const of of ['code', 'rank'] as const) {
    t.equal(new Set(kinds.map((kind) => kind[of])).size, kinds.length, of);
  }
  t.equal(slotKinds.passphrase.rank, kinds.length, 'the slowest comes last');
  const { slot } = await made('keyfile', randomBytes(32));
  const parsed = JSON.parse(slot.parameters) as object;
  for (const strange of [{ sealed: 'YQ==' }, { parent_epoch: 1 }, { needed: 2 }, { set: '00'.repeat(8) }]) {
    const row = { ...slot, parameters: JSON.stringify({ ...parsed, ...strange }) };
    t.throws(() => readParameters(row), { code: 'integrity' }, JSON.stringify(strange));
  }
});

test('secrets that can be no slot are refused', async (t) => {
  const check = (type: SlotType, secret: Buffer | string): void => slotKinds[type].input.check(input(secret));
  t.throws(() => check('keyfile', randomBytes(31)), { code: 'usage', message: /31/ });
  t.throws(() => check('keyfile', randomBytes(4097)), { code: 'usage' });
  t.throws(() => check('passphrase', '\n'), { code: 'usage' });
  check('keyfile', randomBytes(4096));
  check('passphrase', 'x');
  const text = recoveryText(randomBytes(32)).toString();
  check('recovery', text);
  for (const wrong of [
    '',
    'c',
    text.slice(1),
    `${text}c`,
    text.replace(/^./, 'a'),
    text.replace(/^./, '1'),
  ]) {
    t.throws(() => check('recovery', wrong), { code: 'usage', message: /recovery key/ }, wrong);
  }
});

test('a recovery key is 32 bytes, whatever their value', async (t) => {
  const out = Buffer.alloc(32);
  for (const bytes of [Buffer.alloc(32), Buffer.alloc(32, 0xff), randomBytes(32)]) {
    const text = recoveryText(bytes);
    t.match(text.toString(), /^([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}$/);
    t.ok(readRecoveryText(input(text), out));
    t.ok(out.equals(bytes));
  }
});

test('nothing stays in secret memory: each opening, right or wrong, gives its slots back', async (t) => {
  const key = randomBytes(32);
  const { context, slot, wrap, secret } = await made('keyfile', key);
  const used = memory.used;
  (await slots.open(context, { slots: [slot], wraps: [wrap] }, 1, input(key)))?.secret.wipe();
  await slots.open(context, { slots: [slot], wraps: [wrap] }, 1, input(randomBytes(32)));
  const bad = { ...wrap, rewrap: undefined, wrap: wrap.wrap.subarray(0, 1150) };
  await t.rejects(slots.open(context, { slots: [slot], wraps: [bad] }, 1, input(key)));
  (
    await slots.make(
      context,
      { number: 1, type: 'keyfile', input: input(key), created: 1 },
      { epoch: 1, secret },
    )
  ).slot;
  t.equal(memory.used, used);
});

test('a process for key pairs that fails leaves no secret behind', async (t) => {
  const key = randomBytes(32);
  const { context, slot, wrap, secret } = await made('keyfile', key);
  class Failing extends TestKem {
    override generate(): ReturnType<TestKem['generate']> {
      return Promise.reject(new Error('no process'));
    }
    override decapsulate(): ReturnType<TestKem['decapsulate']> {
      return Promise.reject(new Error('no process'));
    }
  }
  const failing = new Slots(seal, new Failing(), testComposer);
  const used = memory.used;
  await t.rejects(
    failing.make(
      context,
      { number: 1, type: 'keyfile', input: input(key), created: 1 },
      { epoch: 1, secret },
    ),
    /no process/,
  );
  const bare = { ...wrap, rewrap: undefined };
  await t.rejects(failing.open(context, { slots: [slot], wraps: [bare] }, 1, input(key)), /no process/);
  t.equal(memory.used, used);
});
