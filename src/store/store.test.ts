import { randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { freshId, type ScopeId, type VolumeId } from '../base/ids.js';
import { Connection } from './connection.js';
import { openDatabase } from './database.js';
import { GroupSync } from './group-sync.js';
import type { ScopeSecretRows, SlotRow, WrapRow } from './rows.js';
import { Store } from './store.js';

function rowsOf(id = freshId<ScopeId>(), parent?: ScopeId): ScopeSecretRows {
  const slot: SlotRow = {
    number: 0,
    type: 'keyfile',
    kindVersion: 2,
    parameters: '{}',
    publicKey: randomBytes(1216),
    privateHalf: randomBytes(72),
    label: undefined,
    created: 7,
  };
  const wrap: WrapRow = { number: 0, epoch: 1, wrap: randomBytes(1192), rewrap: undefined };
  return {
    scope: {
      id,
      parent,
      path: Buffer.from('p'),
      state: Buffer.from('s'),
      slotList: Buffer.from('l'),
      created: 7,
    },
    epochs: [{ epoch: 1, keyId: randomBytes(16), chain: undefined, created: 7 }],
    slots: [slot],
    wraps: [wrap],
  };
}

test('the store keeps rows over a reopen, and all of a change or nothing', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-store-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'store.sqlite');
  const rows = rowsOf();
  const { id } = rows.scope;
  const store = Store.create(path);
  store.setVolume(freshId<VolumeId>());
  store.addScope(rows);
  const twice = rowsOf();
  t.throws(() => store.addScope({ ...twice, slots: [...twice.slots, ...twice.slots] }), /UNIQUE/);
  t.equal(store.scopes().length, 1, 'the scope of a failed change is not there');
  store.close();
  const again = Store.open(path);
  t.same(again.secretsOf(id), rows);
  t.equal(again.secretsOf(freshId<ScopeId>()), undefined);
  again.setPath(id, Buffer.from('q'));
  t.same(again.scopes()[0]?.path, Buffer.from('q'));
  const wrap = { ...(rows.wraps[0] as WrapRow), rewrap: randomBytes(72) };
  again.putWrap(id, wrap);
  t.same(again.secretsOf(id)?.wraps, [wrap], 'replaced, not doubled');
  again.removeSlot(id, 0);
  t.same(again.secretsOf(id)?.wraps, [], 'a slot takes its wraps along');
  again.removeScope(id);
  t.same(again.scopes(), []);
  again.close();
  t.throws(() => Store.create(path), { code: 'conflict' });
  t.throws(() => Store.open(join(directory, 'none')), { code: 'not_found' });
  writeFileSync(join(directory, 'bad'), randomBytes(8192));
  t.throws(() => Store.open(join(directory, 'bad')), { code: 'integrity' });
  const newer = new Connection(path);
  newer.exec('PRAGMA user_version = 99');
  newer.close();
  t.throws(() => Store.open(path), { code: 'unsupported_format' });
  const draft = new Connection(join(directory, 'draft'));
  draft.exec('CREATE TABLE scopes (id BLOB, key_id BLOB); PRAGMA user_version = 1');
  draft.close();
  t.throws(() => Store.open(join(directory, 'draft')), { code: 'unsupported_format', message: /draft/ });
});

test('the audit only grows', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-audit-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'store.sqlite');
  const store = Store.create(path);
  const scope = freshId<ScopeId>();
  for (let i = 0; i < 5; i++) store.audit.append(i + 0.5, { event: 'unlock', result: 'ok', scope, slot: i });
  store.audit.append(5, { event: 'lock', result: 'io', uid: 3, pid: 4, note: Buffer.from('n'), noteKey: 2 });
  const tail = store.audit.tail(2);
  t.match(tail, [
    { sequence: 5, at: 4, event: 'unlock', scope, slot: 4, uid: undefined },
    {
      sequence: 6,
      at: 5,
      event: 'lock',
      result: 'io',
      scope: undefined,
      uid: 3,
      pid: 4,
      note: Buffer.from('n'),
      noteKey: 2,
    },
  ]);
  store.close();
  const db = new Connection(path);
  t.throws(() => db.exec('DELETE FROM audit'), /append-only/);
  t.throws(() => db.exec("UPDATE audit SET result = 'ok'"), /append-only/);
  db.close();
});

test('a full disk is no_space, and nothing of the change is there', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-full-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const db = openDatabase(join(directory, 'store.sqlite'), true, 'FULL');
  const store = new Store(db);
  store.addScope(rowsOf());
  db.exec(`PRAGMA max_page_count = ${db.pragmaValue('page_count')}`);
  const full = { code: 'no_space', reason: 'store_full' };
  t.throws(() => {
    for (let i = 0; i < 50; i++) store.addScope(rowsOf());
  }, full);
  const scopes = store.scopes();
  for (const { id } of scopes) t.equal(store.slots(id).length, 1, 'each scope that is there is whole');
  const rows = store.audit.tail(100_000).length;
  const many = store.commit(() => {
    for (let i = 0; i < 10_000; i++) store.audit.append(i, { event: 'unlock', result: 'ok' });
  });
  await t.rejects(many, full);
  t.equal(store.audit.tail(100_000).length, rows);
  const wraps = store.commit(() => {
    for (const { id } of scopes)
      store.putWrap(id, { number: 0, epoch: 9, wrap: randomBytes(9000), rewrap: undefined });
  });
  await t.rejects(wraps, full);
  store.close();
});

test('a server’s commits at the same time share syncs, are there at once, and stay', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-serve-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'store.sqlite');
  Store.create(path).close();
  const store = Store.serve(path);
  const commits = Array.from({ length: 100 }, (_, i) =>
    store.commit(() => store.audit.append(i, { event: 'unlock', result: 'ok', slot: i })),
  );
  t.equal(store.audit.tail(1000).length, 100, 'made before any of them is durable');
  await Promise.all(commits);
  t.ok(store.syncs <= 2, `${store.syncs} syncs`);
  let seen = 0;
  const failing = store.commit(
    () => {
      store.setMeta('a', Buffer.from('1'));
      throw new Error('planted');
    },
    () => seen++,
  );
  await t.rejects(failing, { message: 'planted' });
  t.equal(store.meta('a'), undefined, 'a failed change leaves nothing');
  await store.commit(
    () => store.setMeta('a', Buffer.from('2')),
    () => seen++,
  );
  t.equal(seen, 1, 'told of what was made only');
  // As after kill -9: nobody closes it, and what was committed is in the log.
  const copy = join(directory, 'copy');
  for (const suffix of ['', '-wal']) cpSync(`${path}${suffix}`, `${copy}${suffix}`);
  const other = Store.open(copy);
  t.equal(other.audit.tail(1000).length, 100);
  t.same(other.meta('a'), Buffer.from('2'));
  other.close();
  store.close();
});

test('a store whose disk can’t sync says so from then on', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-eio-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  let failing = false;
  const group = new GroupSync(() => (failing ? Promise.reject(new Error('EIO')) : Promise.resolve()));
  const store = new Store(openDatabase(join(directory, 'store.sqlite'), true, 'NORMAL'), undefined, group);
  const one = (): Promise<void> => store.commit(() => store.audit.append(1, { event: 'lock', result: 'ok' }));
  await one();
  failing = true;
  await t.rejects(one(), { code: 'io', reason: 'store_unsynced' });
  failing = false;
  await t.rejects(one(), { code: 'io' }, 'what the disk has of it is unknown: a later sync proves nothing');
  store.close();
});

test("a split slot's shares: one half lives, older ones are known by their tags, all go with the slot", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-store-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const store = Store.create(join(directory, 'store.sqlite'));
  const rows = rowsOf();
  const { id } = rows.scope;
  store.addScope(rows);
  const { shares } = store;
  const row = (number: number) => ({ number, sealed: randomBytes(72), tag: randomBytes(16) });
  const [one, two] = [row(1), row(2)];
  shares.put(id, 0, one);
  shares.put(id, 0, two);
  shares.put(id, 0, row(2));
  t.notSame(shares.get(id, 0, 2), two, 'in its place');
  shares.put(id, 0, two);
  t.throws(() => shares.put(id, 7, row(1)), /FOREIGN KEY/, 'of no slot');
  t.same(shares.get(id, 0, 2), two);
  t.equal(shares.retireBefore(id, 0, 2), 1);
  t.equal(shares.retireBefore(id, 0, 2), 0, 'once');
  t.same(shares.get(id, 0, 1), { ...one, sealed: undefined });
  for (let number = 3; number < 1100; number++) {
    shares.put(id, 0, row(number));
    shares.retireBefore(id, 0, number);
  }
  t.equal(shares.get(id, 0, 1), undefined, 'the last 1,000 are known');
  t.ok(shares.get(id, 0, 100));
  store.removeSlot(id, 0);
  t.equal(shares.get(id, 0, 1099), undefined);
  store.close();
});

test('unlocks by a slot are counted from a moment on; one that was refused after all is not', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-store-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const store = Store.create(join(directory, 'store.sqlite'));
  const [scope, other] = [freshId<ScopeId>(), freshId<ScopeId>()];
  const say = (at: number, lease: string, result: string, where = scope, slot = 1) =>
    store.audit.append(at, { event: 'unlock', result, scope: where, slot, lease });
  say(999, 'before', 'ok');
  say(1000, 'first', 'ok');
  say(1001, 'refused', 'ok');
  say(1002, 'refused', 'conflict');
  say(1003, 'of another slot', 'ok', scope, 2);
  say(1004, 'of another scope', 'ok', other);
  store.audit.append(1005, { event: 'unlock', result: 'bad_key', scope, slot: 1 });
  say(5000, 'when the clock was ahead', 'ok');
  t.equal(store.audit.unlocks(scope, 1, 1000), 2);
  store.close();
});

test('what a full disk rolled back is tried again as a whole, not in parts', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-store-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'store.sqlite');
  const store = Store.create(path);
  const full = Object.assign(new Error('full'), { code: 'ENOSPC' });
  let times = 0;
  const id = freshId<ScopeId>();
  await store.commit(() => {
    times++;
    store.setMeta(`try-${times}`, Buffer.alloc(1));
    store.addScope(rowsOf(id));
    if (times < 3) throw full;
  });
  t.equal(times, 3);
  t.equal(store.meta('try-1'), undefined, 'nothing of what was rolled back');
  t.ok(store.meta('try-3'));
  t.equal(store.scopes().length, 1);
  store.close();
});
test('a store in a directory that is not there is missing', async (t) => {
  t.throws(() => Store.open('/nonexistent/directory/store.sqlite'), {
    code: 'not_found',
    reason: 'store_missing',
  });
});
