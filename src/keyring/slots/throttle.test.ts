import { test } from 'tap';
import { Throttle } from './throttle.js';

test('five wrong keys on a connection are free, then each answer waits twice as long, at most 4 s', async (t) => {
  const throttle = new Throttle({ boottime: () => 0, wall: () => 0 });
  const [one, other] = [{}, {}];
  t.same(
    Array.from({ length: 9 }, () => throttle.delay(one)),
    [0, 0, 0, 0, 1000, 2000, 4000, 4000, 4000],
  );
  t.equal(throttle.delay(other), 0, 'another connection has erred in nothing');
});

test('the audit has each of the first wrong keys, then one row for all in ten seconds', async (t) => {
  let now = 0;
  const throttle = new Throttle({ boottime: () => now, wall: () => 0 });
  const rows: (number | undefined)[] = [];
  for (let i = 0; i < 30; i++, now += 1000) rows.push(throttle.wrong('a', 1));
  t.same(rows.slice(0, 6), [1, 1, 1, 1, 1, undefined]);
  t.same(
    rows.filter((row) => row !== undefined),
    [1, 1, 1, 1, 1, 10, 10],
    'and none is lost in the count',
  );
  t.equal(throttle.wrong('a', 2), 1, 'each user for itself');
  t.equal(throttle.wrong('b', 1), 1, 'and each scope');
  now += 600_001;
  t.equal(throttle.wrong('a', 1), 1, 'forgotten after ten minutes');
  for (let i = 0; i < 20_000; i++) throttle.wrong(`${i}`, 3);
  t.pass('guessing at many scopes does not fill the memory');
});
