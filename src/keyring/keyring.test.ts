import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { test } from 'tap';
import { freshId, type LeaseId, type ScopeId, type VolumeId } from '../base/ids.js';
import { Xaes256Gcm } from '../crypto/xaes.js';
import { keyIdentifier } from '../format/scope-keys.js';
import { copyMemory, pinned, randomFill, type Secret, SecretInput, SecretMemory } from '../libc/memory.js';
import { type SlotRow, Store } from '../store/store.js';
import { Leases } from './leases.js';
import { StoreKey, sealState, verifyState } from './sealed-rows.js';
import { Slots } from './slots.js';

const memory = new SecretMemory(256);
const suite = new Xaes256Gcm(memory);
const slots = new Slots(suite, memory, { log2n: 10, r: 8, p: 1 });
const volume = freshId<VolumeId>();

function input(text: string | Buffer): SecretInput {
  const secret = new SecretInput();
  secret.append(Buffer.from(text));
  return secret;
}
function fresh(): { secret: Secret; context: Parameters<Slots['wrap']>[0] } {
  const scope = freshId<ScopeId>();
  const secret = memory.allocate(32);
  randomFill(secret.address, 32);
  return { secret, context: { volume, scope, epoch: 1, keyId: keyIdentifier(secret, scope, memory) } };
}
function reveal(secret: Secret): string {
  const bytes = pinned(32);
  copyMemory(bytes.address, secret.address, 32);
  return bytes.bytes.toString('hex');
}

test('a slot opens with its own secret and no other; a passphrase loses one trailing newline', async (t) => {
  const { secret, context } = fresh();
  const key = randomBytes(32);
  const rows = [
    await slots.wrap(context, 0, 'passphrase', input('correct horse\n'), secret, 1),
    await slots.wrap(context, 1, 'keyfile', input(Buffer.from(key)), secret, 1),
  ];
  for (const [given, number] of [
    ['correct horse', 0],
    ['correct horse\n', 0],
    [Buffer.from(key), 1],
  ] as const) {
    const opened = await slots.open(context, rows, input(given));
    t.equal(opened?.slot.number, number);
    t.equal(reveal(opened?.secret as Secret), reveal(secret));
  }
  for (const wrong of [
    'correct horse\n\n',
    'Correct horse',
    '',
    `${key.toString('latin1')}\n`,
    randomBytes(32),
  ]) {
    t.equal(await slots.open(context, rows, input(wrong)), undefined);
  }
  t.notOk(rows.some((row) => row.wrap.includes(key)));
});

test('no row stands in for another: scope, volume, number, epoch and type are bound', async (t) => {
  const { secret, context } = fresh();
  const key = randomBytes(64);
  const give = (): SecretInput => input(Buffer.from(key));
  const row = await slots.wrap(context, 3, 'keyfile', give(), secret, 1);
  t.ok(await slots.open(context, [row], give()));
  const others: [string, Parameters<Slots['open']>[0], SlotRow][] = [
    ['scope', { ...context, scope: freshId<ScopeId>() }, row],
    ['volume', { ...context, volume: freshId<VolumeId>() }, row],
    ['epoch', { ...context, epoch: 2 }, row],
    ['key id', { ...context, keyId: randomBytes(16) }, row],
    ['number', context, { ...row, number: 4 }],
    ['salt', context, { ...row, parameters: JSON.stringify({ salt: randomBytes(32).toString('base64') }) }],
  ];
  for (const [what, where, changed] of others) {
    t.equal(await slots.open(where, [changed], give()), undefined, what);
  }
  for (let at = 0; at < row.wrap.length; at++) {
    const wrap = Buffer.from(row.wrap);
    wrap[at] = (wrap[at] as number) ^ 1;
    t.equal(await slots.open(context, [{ ...row, wrap }], give()), undefined, `byte ${at}`);
  }
  t.rejects(slots.open(context, [{ ...row, kindVersion: 2 }], give()), { code: 'unsupported_format' });
  t.rejects(slots.open(context, [{ ...row, parameters: '{' }], give()), { code: 'integrity' });
});

test('a weakened scrypt cost in the store is refused, not used', async (t) => {
  const { secret, context } = fresh();
  const row = await slots.wrap(context, 0, 'passphrase', input('p'), secret, 1);
  const parsed = JSON.parse(row.parameters) as { salt: string };
  for (const scrypt of [
    { log2n: 1, r: 8, p: 1 },
    { log2n: 25, r: 8, p: 1 },
  ]) {
    const parameters = JSON.stringify({ ...parsed, scrypt });
    await t.rejects(slots.open(context, [{ ...row, parameters }], input('p')), { code: 'integrity' });
  }
});

test('secrets that can be no slot are refused by size', async (t) => {
  const check = (type: 'passphrase' | 'keyfile', secret: Buffer): void => Slots.check(type, input(secret));
  t.throws(() => check('keyfile', randomBytes(31)), { code: 'usage', message: /31/ });
  t.throws(() => check('keyfile', randomBytes(4097)), { code: 'usage' });
  t.throws(() => check('passphrase', Buffer.from('\n')), { code: 'usage' });
  check('keyfile', randomBytes(4096));
  check('passphrase', Buffer.from('x'));
});

test('the state repeats the volume record: an edited record is noticed', async (t) => {
  const { secret, context } = fresh();
  const hash = randomBytes(32);
  const state = sealState(suite, memory, volume, context.scope, secret, hash);
  verifyState(suite, memory, volume, context.scope, secret, state, hash);
  const verify = (change: { hash?: Buffer; scope?: ScopeId; state?: Buffer }): void =>
    verifyState(
      suite,
      memory,
      volume,
      change.scope ?? context.scope,
      secret,
      change.state ?? state,
      change.hash ?? hash,
    );
  t.throws(() => verify({ hash: randomBytes(32) }), { code: 'integrity', message: /edited/ });
  t.throws(() => verify({ scope: freshId<ScopeId>() }), { code: 'integrity' });
  t.throws(() => verify({ state: state.subarray(1) }), { code: 'integrity' });
});

test('labels need the store key, and belong to their scope', async (t) => {
  const { secret, context } = fresh();
  const key = StoreKey.create(suite, memory, volume);
  const wrapped = key.wrap(suite, memory, context.scope, secret);
  const sealed = key.sealPath(context.scope, 'users/al\xefce');
  key.close();
  const again = StoreKey.unwrap(suite, memory, volume, context.scope, secret, wrapped);
  t.equal(again.openPath(context.scope, sealed), 'users/al\xefce');
  t.throws(() => again.openPath(freshId<ScopeId>(), sealed), { code: 'integrity' });
  t.throws(() => StoreKey.unwrap(suite, memory, volume, context.scope, fresh().secret, wrapped), {
    code: 'integrity',
  });
});

test('the store keeps rows over a reopen, all of a change or nothing, and no secret', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-store-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'store.sqlite');
  const { secret, context } = fresh();
  const key = randomBytes(32);
  const slot = await slots.wrap(context, 0, 'keyfile', input(Buffer.from(key)), secret, 7);
  const scope = {
    id: context.scope,
    parent: undefined,
    epoch: 1,
    keyId: context.keyId,
    path: Buffer.from('p'),
    state: Buffer.from('s'),
    created: 7,
  };
  const store = Store.create(path);
  store.setVolume(volume);
  store.addScope(scope, slot);
  t.throws(() => store.addScope({ ...scope, id: freshId<ScopeId>() }, slot), /UNIQUE/);
  t.equal(store.scopes().length, 1, 'the scope of a failed change is not there');
  store.close();
  const again = Store.open(path);
  t.same(again.scopes(), [scope]);
  t.same(again.slots(context.scope), [slot]);
  again.setPath(context.scope, Buffer.from('q'));
  t.same(again.scopes()[0]?.path, Buffer.from('q'));
  again.removeScope(context.scope);
  t.same(again.slots(context.scope), [], 'its slots go with it');
  again.close();
  for (const needle of [key, Buffer.from(reveal(secret), 'hex')])
    t.notOk(readFileSync(path).includes(needle));
  t.throws(() => Store.create(path), { code: 'conflict' });
  t.throws(() => Store.open(join(directory, 'none')), { code: 'not_found' });
  writeFileSync(join(directory, 'bad'), randomBytes(8192));
  t.throws(() => Store.open(join(directory, 'bad')), { code: 'integrity' });
  const newer = new Database(path);
  newer.pragma('user_version = 99');
  newer.close();
  t.throws(() => Store.open(path), { code: 'unsupported_format' });
});

test('a scope lasts as long as its longest lease; the lock begins a little before', async (t) => {
  let now = 1000;
  const leases = new Leases({ boottime: () => now, wall: () => 0 });
  const scope = freshId<ScopeId>();
  const holder = { uid: 0, pid: 1 };
  t.same(leases.deadline(scope), {
    lockAt: Number.POSITIVE_INFINITY,
    deadline: Number.POSITIVE_INFINITY,
  });
  const short = leases.add(scope, 2000, 'short', holder);
  t.same(leases.deadline(scope), { lockAt: 2800, deadline: 3000 }, 'a tenth of a short one');
  now = 1500;
  const long = leases.add(scope, 60_000, 'long', holder);
  t.same(leases.deadline(scope), { lockAt: 60_500, deadline: 61_500 }, 'at most a second');
  t.notOk(leases.end(long.id), 'one is left');
  t.same(leases.deadline(scope), { lockAt: 2800, deadline: 3000 });
  const endless = leases.add(scope, undefined, 'endless', holder);
  t.equal(leases.deadline(scope).deadline, Number.POSITIVE_INFINITY);
  leases.end(endless.id);
  t.ok(leases.end(short.id), 'that was the last');
  t.notOk(leases.end(freshId<LeaseId>()));
  leases.add(scope, 1, 'a', holder);
  leases.add(scope, 1, 'b', holder);
  t.equal(leases.endAll(scope), 2);
  t.same(leases.all(), []);
});
