import { test } from 'tap';
import { freshId, type ScopeId } from '../../base/ids.js';
import type { ScopeContext } from '../seal.js';
import { memory, reveal, seal, secretOf, volume } from '../test-keyring.js';
import { PendingShares, SHARES_LAST_MS } from './pending-shares.js';
import type { Share } from './share-text.js';
import { Shares } from './shares.js';

const shares = new Shares(seal);
const context: ScopeContext = { volume, scope: freshId<ScopeId>() };
const secret = secretOf(Buffer.alloc(32, 1));
const share = (number = 1, fill = 2): Share => ({
  type: 'split',
  scope: context.scope,
  slot: 3,
  set: '0011223344556677',
  number,
  value: secretOf(Buffer.alloc(32, fill)),
});

test("a split slot's secret opens with the client's share at its own place alone", async (t) => {
  const row = shares.seal(context, share(), secret);
  const opened = shares.open(context, share(), row.sealed as Buffer);
  t.equal(opened === undefined ? '' : reveal(opened), reveal(secret));
  opened?.wipe();
  const elsewhere = { ...context, scope: freshId<ScopeId>() };
  for (const [where, one] of [
    [context, share(1, 3)],
    [context, share(2)],
    [context, { ...share(), slot: 4 }],
    [elsewhere, share()],
  ] as const) {
    t.equal(shares.open(where, one, row.sealed as Buffer), undefined);
  }
  const edited = Buffer.from(row.sealed as Buffer);
  edited[30] = (edited[30] as number) ^ 1;
  t.equal(shares.open(context, share(), edited), undefined);
});

test('the next share is the same whenever it is asked for, another for each number, slot and secret', async (t) => {
  const next = shares.next(context, share(), secret);
  t.equal(next.number, 2);
  t.equal(
    reveal(shares.next(context, share(1, 9), secret).value),
    reveal(next.value),
    'it follows from the secret alone',
  );
  for (const [one, from] of [
    [share(2), secret],
    [{ ...share(), slot: 4 }, secret],
    [share(), secretOf(Buffer.alloc(32, 7))],
  ] as const) {
    t.not(reveal(shares.next(context, one, from).value), reveal(next.value));
  }
});

/** Which numbers are there. */
function add(pending: PendingShares, scope: ScopeId, slot: number, brought: Share[], terms = 'any') {
  const added = pending.add(scope, slot, brought, terms);
  return 'numbers' in added ? { numbers: added.numbers } : { numbers: [], others: added.others };
}

function waiting() {
  let now = 1_000;
  const pending = new PendingShares({ boottime: () => now, wall: () => now });
  const pass = (ms: number): void => {
    now += ms;
  };
  return { pending, pass };
}

test('shares wait for others, each once, and are forgotten ten minutes after the last', async (t) => {
  const before = memory.used;
  const { pending, pass } = waiting();
  const { scope } = context;
  t.same(add(pending, scope, 3, [share(2)]).numbers, [2]);
  pass(SHARES_LAST_MS - 1);
  t.same(add(pending, scope, 3, [share(1), share(2)]).numbers, [1, 2], 'a second copy is no second share');
  pass(SHARES_LAST_MS - 1);
  t.equal(pending.expire(), 1, 'when to look again');
  pass(1);
  t.equal(pending.expire(), undefined);
  t.same(pending.of(scope, 3), [], 'gone');
  t.equal(memory.used, before, 'and wiped');
});

test('shares of an earlier set, and those of a locked scope, are forgotten; others stay', async (t) => {
  const before = memory.used;
  const { pending } = waiting();
  const other = freshId<ScopeId>();
  add(pending, context.scope, 3, [share(1)]);
  t.same(add(pending, context.scope, 3, [{ ...share(2), set: 'ffeeddccbbaa9988' }]).numbers, [2]);
  add(pending, other, 3, [share(5)]);
  pending.forget((scope) => scope === context.scope);
  t.same(pending.of(context.scope, 3), []);
  t.equal(pending.of(other, 3)[0]?.number, 5);
  pending.forget((scope) => scope === other);
  t.equal(memory.used, before);
  for (let i = 0; i < 40; i++) add(pending, freshId<ScopeId>(), 0, [share(1)]);
  t.ok(memory.used - before <= 32, 'at most 32 scopes are waited for');
});

test('shares that were brought for some callers alone open for nobody else', async (t) => {
  const { pending } = waiting();
  const { scope } = context;
  add(pending, scope, 3, [share(1)], 'uid:1000, read-only');
  t.same(add(pending, scope, 3, [share(2)], 'any'), { numbers: [], others: 'uid:1000, read-only' });
  t.same(add(pending, scope, 3, [share(2)], 'uid:1000, read-only').numbers, [1, 2]);
  pending.forget(() => true);
});
