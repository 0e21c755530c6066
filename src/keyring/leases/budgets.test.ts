import { test } from 'tap';
import { Failure } from '../../base/failure.js';
import { Budget, parseBudget } from './budgets.js';

const MINUTE = 60_000;

test('budgets are read by their parts, and what is none is refused', async (t) => {
  const terms = parseBudget('files:20,bytes:500M,per:hour,over:deny');
  t.same(terms, { bytes: 500 << 20, files: 20, per: 'hour', over: 'deny' });
  t.same(parseBudget('bytes:1'), { bytes: 1, files: undefined, per: 'lease', over: 'lock' });
  t.equal(parseBudget('bytes:2T').bytes, 2 * 2 ** 40);
  for (const bad of [
    '',
    'per:hour',
    'bytes:',
    'bytes:1.5M',
    'bytes:-1',
    'bytes:1,bytes:2',
    'files:1,per:day',
    'x:1',
  ]) {
    try {
      parseBudget(bad);
      t.fail(`took ${bad}`);
    } catch (error) {
      t.ok(error instanceof Failure && error.code === 'usage', bad);
    }
  }
});

test('of a lease: once spent it stays so', async (t) => {
  let now = 0;
  const clock = { boottime: () => now, wall: () => 0 };
  const budget = new Budget(parseBudget('bytes:100,files:2'), clock);
  t.ok(budget.allows(100, 0), 'exactly');
  t.notOk(budget.allows(101, 0));
  budget.charge(60, 1);
  t.notOk(budget.allows(41, 0));
  t.ok(budget.allows(40, 1));
  budget.charge(40, 1);
  t.notOk(budget.allows(0, 1), 'no third file');
  t.ok(budget.allows(0, 0), 'what takes nothing is free');
  now += 100 * 60 * MINUTE;
  t.notOk(budget.allows(1, 0));
  t.same(budget.used, { bytes: 100, files: 2 });
});

test('of an hour: no 60 minutes see more, wherever they begin', async (t) => {
  let now = 12_345;
  const clock = { boottime: () => now, wall: () => 0 };
  const limit = 1000;
  const budget = new Budget(parseBudget(`bytes:${limit},per:hour`), clock);
  const spent: [number, number][] = [];
  // A thief who tries ten bytes every seven seconds, for five hours.
  for (; now < 300 * MINUTE; now += 7_000) {
    if (!budget.allows(10, 0)) continue;
    budget.charge(10, 0);
    spent.push([now, 10]);
  }
  t.ok(spent.length > 400, 'it goes on each hour');
  let worst = 0;
  for (const [from] of spent) {
    const within = spent.filter(([at]) => at >= from && at < from + 60 * MINUTE);
    worst = Math.max(
      worst,
      within.reduce((sum, [, bytes]) => sum + bytes, 0),
    );
  }
  t.equal(worst, limit);
  now += 1_000 * MINUTE;
  t.same(budget.used, { bytes: 0, files: 0 }, 'a long pause forgets all');
  budget.charge(1, 0);
  t.equal(budget.used.bytes, 1);
});
