import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { freshId, type ScopeId } from '../../base/ids.js';
import { peekSlotList } from '../../format/scope/slot-list.js';
import type { EpochRow, ScopeSecretRows, SlotRow } from '../../store/rows.js';
import type { ScopeContext } from '../seal.js';
import { StoreKey } from '../store-key.js';
import { freshScope, input, memory, reveal, seal, secrets, slots, volume } from '../test-keyring.js';
import { ScopeSecrets, type SlotChange } from './scope-secrets.js';

function applied(rows: ScopeSecretRows, change: SlotChange, slotRows: readonly SlotRow[]): ScopeSecretRows {
  const { state, slotList } = change;
  return {
    scope: { ...rows.scope, state, slotList },
    epochs: change.epoch === undefined ? rows.epochs : [...rows.epochs, change.epoch],
    slots: slotRows,
    wraps: [...rows.wraps, ...change.wraps].filter((wrap) =>
      slotRows.some((slot) => slot.number === wrap.number),
    ),
  };
}

/** A scope with slots 0 and 1, and what it was before slot 1 was added. */
async function two() {
  const { context, rows: before, secret, key } = await freshScope();
  const second = randomBytes(32);
  const made = await slots.make(
    context,
    { number: 1, type: 'keyfile', input: input(second), created: 8 },
    { epoch: 1, secret },
  );
  const all = [...before.slots, made.slot];
  const change = secrets.withSlots(context, before, secret, all);
  const rows = applied({ ...before, wraps: [...before.wraps, made.wrap] }, change, all);
  return { context, before, rows, secret, key, second };
}
/** Slot 1 was removed from it. */
async function removed() {
  const scope = await two();
  const next = secrets.fresh();
  const left = [scope.rows.slots[0] as SlotRow];
  const change = await secrets.advance(scope.context, scope.rows, scope.secret, {
    slots: left,
    secret: next,
    created: 9,
  });
  return { ...scope, full: scope.rows, rows: applied(scope.rows, change, left), next };
}

test('every slot opens the scope; a list of two is the second version', async (t) => {
  const { context, rows, secret, key, second } = await two();
  for (const [given, number] of [
    [key, 0],
    [second, 1],
  ] as const) {
    const opened = await secrets.open(context, rows, input(given));
    t.match(opened, { slot: { number }, epoch: 1, oldest: 1, listVersion: 2, damaged: [] });
    t.same(opened?.secrets.map(reveal), [reveal(secret)]);
  }
  t.equal(await secrets.open(context, rows, input(randomBytes(32))), undefined);
});

test('who stays opens the old epoch and the new; who was removed opens the old one, from an old copy alone', async (t) => {
  const { context, rows, full, secret, next, key, second } = await removed();
  const opened = await secrets.open(context, rows, input(key));
  t.same(opened?.secrets.map(reveal), [reveal(secret), reveal(next)]);
  t.match(opened, { oldest: 1, epoch: 2, listVersion: 3, rewrapped: { number: 0, epoch: 2 } });
  t.equal(await secrets.open(context, rows, input(second)), undefined, 'with the store of now');
  const old = await secrets.open(context, full, input(second));
  t.same(old?.secrets.map(reveal), [reveal(secret)], 'with the store of then: the epoch of then');
  // The old row and its wrap in the new store: no wrap of the new epoch.
  const smuggled = { ...rows, slots: full.slots, wraps: [...rows.wraps, ...full.wraps] };
  await t.rejects(secrets.open(context, smuggled, input(second)), { code: 'integrity', message: /missing/ });
});

test('an edited, swapped, removed or smuggled row is named; the other slots go on opening', async (t) => {
  const { context, rows, key, second } = await two();
  const [first, other] = rows.slots as [SlotRow, SlotRow];
  const stranger = await freshScope();
  const changes: [string, SlotRow[], number][] = [
    ['edited', [first, { ...other, publicKey: randomBytes(1216) }], 1],
    [
      'weaker',
      [first, { ...other, parameters: JSON.stringify({ salt: randomBytes(32).toString('base64') }) }],
      1,
    ],
    ['of another scope', [first, { ...(stranger.rows.slots[0] as SlotRow), number: 1 }], 1],
    ['removed', [first], 1],
    ['smuggled', [first, other, { ...(stranger.rows.slots[0] as SlotRow), number: 2 }], 2],
  ];
  for (const [what, slotRows, damaged] of changes) {
    const opened = await secrets.open(context, { ...rows, slots: slotRows }, input(key));
    t.same(opened?.damaged, [damaged], what);
  }
  const edited = [first, { ...other, publicKey: randomBytes(1216) }];
  await t.rejects(secrets.open(context, { ...rows, slots: edited }, input(second)), {
    code: 'integrity',
    message: /slot 1/,
  });
});

test('an older slot list, state or epoch is refused by name', async (t) => {
  const { context, before, rows, full, key } = await removed();
  const open = (scope: Partial<ScopeSecretRows['scope']>, epochs = rows.epochs) =>
    secrets.open(context, { ...rows, scope: { ...rows.scope, ...scope }, epochs }, input(key));
  await t.rejects(open({ slotList: full.scope.slotList }), { code: 'integrity', message: /slot list/ });
  await t.rejects(open({ slotList: randomBytes(68) }), { message: /slot list.*not authentic/ });
  await t.rejects(open({ slotList: Buffer.alloc(0) }), { message: /slot list.*not authentic/ });
  await t.rejects(open({ state: full.scope.state }), { code: 'integrity', message: /state/ });
  const newest = rows.epochs[1] as EpochRow;
  await t.rejects(open({}, [rows.epochs[0] as EpochRow, { ...newest, chain: undefined }]), {
    message: /epoch 2/,
  });
  await t.rejects(open({}, [rows.epochs[0] as EpochRow, { ...newest, keyId: randomBytes(16) }]), {
    message: /epoch 2.*identifier/,
  });
  const second = await two();
  const list = second.before.scope.slotList;
  const older = { ...second.rows, scope: { ...second.rows.scope, slotList: list } };
  await t.rejects(secrets.open(second.context, older, input(second.key)), { message: /an older one/ });
  t.equal(peekSlotList(before.scope.slotList)?.version, 1);
  t.ok(await open({}), 'the untouched one opens');
});

test('an edited volume record is noticed; nothing of one scope opens under another', async (t) => {
  const { context, rows, key } = await freshScope();
  const elsewhere = new ScopeSecrets(seal, slots, randomBytes(32));
  await t.rejects(elsewhere.open(context, rows, input(key)), { code: 'integrity', message: /edited/ });
  const other: ScopeContext = { ...context, scope: freshId<ScopeId>() };
  t.equal(await secrets.open(other, rows, input(key)), undefined);
  await t.rejects(secrets.open(context, { ...rows, epochs: [] }, input(key)), { message: /no epoch/ });
});

test('many epochs chain back to the first', async (t) => {
  let { context, rows, secret, key } = await freshScope();
  const all = [reveal(secret)];
  for (let epoch = 2; epoch <= 6; epoch++) {
    const next = secrets.fresh();
    const change = await secrets.advance(context, rows, secret, {
      slots: rows.slots,
      secret: next,
      created: epoch,
    });
    rows = applied(rows, change, rows.slots);
    secret = next;
    all.push(reveal(next));
  }
  const opened = await secrets.open(context, rows, input(key));
  t.same(opened?.secrets.map(reveal), all);
  const broken = rows.epochs.map((row) => (row.epoch === 4 ? { ...row, chain: randomBytes(72) } : row));
  const used = memory.used;
  await t.rejects(secrets.open(context, { ...rows, epochs: broken }, input(key)), { message: /epoch 4/ });
  t.equal(memory.used, used, 'what was opened on the way is wiped');
});

test('labels need the store key, and belong to their scope and slot', async (t) => {
  const { context, secret } = await freshScope();
  const key = StoreKey.create(seal, volume);
  const wrapped = key.wrap(context.scope, secret);
  const sealed = key.sealPath(context.scope, 'users/al\xefce');
  const label = key.sealLabel(context.scope, 3, 'Büro');
  key.close();
  const again = StoreKey.unwrap(seal, context, { epoch: 1, secret }, wrapped);
  t.equal(again.openPath(context.scope, sealed), 'users/al\xefce');
  t.equal(again.openPath(freshId<ScopeId>(), sealed), undefined, 'of another scope');
  t.equal(again.openLabel(context.scope, 3, label), 'Büro');
  t.equal(again.openLabel(context.scope, 4, label), undefined);
  t.equal(again.openLabel(context.scope, 3, sealed), undefined, 'a path is no label');
  t.throws(() => StoreKey.unwrap(seal, context, { epoch: 1, secret: secrets.fresh() }, wrapped), {
    code: 'integrity',
  });
});

test('texts of the audit stay readable over new store keys, and need one', async (t) => {
  const root = freshId<ScopeId>();
  const used = memory.used;
  const sealed = new Map<number, Buffer>();
  const notes: Buffer[] = [];
  let key = StoreKey.create(seal, volume);
  notes.push(key.sealNote(root, 'note 1'));
  for (let generation = 2; generation <= 4; generation++) {
    const next = StoreKey.create(seal, volume, generation);
    sealed.set(generation, next.succeed(root, key));
    key.close();
    key = next;
    notes.push(key.sealNote(root, `note ${generation}`));
  }
  const epochSecret = secrets.fresh();
  const wrapped = key.wrap(root, epochSecret);
  const all = (of: StoreKey) => notes.map((note, i) => of.openNote(root, i + 1, note));
  t.same(all(key), ['note 1', 'note 2', 'note 3', 'note 4']);
  key.close();
  const again = StoreKey.unwrap(seal, { volume, scope: root }, { epoch: 4, secret: epochSecret }, wrapped);
  t.same(all(again), [undefined, undefined, undefined, 'note 4']);
  again.recall(root, (generation) => sealed.get(generation));
  t.same(all(again), ['note 1', 'note 2', 'note 3', 'note 4']);
  t.equal(again.openNote(undefined, 4, notes[3] as Buffer), undefined, 'of another scope');
  t.equal(again.openNote(root, 3, notes[3] as Buffer), undefined, 'of another generation');
  again.close();
  const broken = StoreKey.unwrap(seal, { volume, scope: root }, { epoch: 4, secret: epochSecret }, wrapped);
  broken.recall(root, (generation) => (generation === 3 ? randomBytes(72) : sealed.get(generation)));
  t.same(all(broken), [undefined, undefined, 'note 3', 'note 4'], 'what is broken hides what is older');
  broken.close();
  t.throws(() => StoreKey.unwrap(seal, { volume, scope: root }, { epoch: 3, secret: epochSecret }, wrapped), {
    code: 'integrity',
  });
  epochSecret.wipe();
  t.equal(memory.used, used, 'nothing stays in secret memory');
});
