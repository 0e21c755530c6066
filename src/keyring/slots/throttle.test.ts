import { test } from 'tap';
import { Throttle } from './throttle.js';

test('five wrong keys are free, then each costs twice as long, at most a minute', async (t) => {
  let now = 0;
  const throttle = new Throttle({ boottime: () => now, wall: () => 0 });
  const waits: number[] = [];
  for (let i = 0; i < 14; i++) {
    throttle.wrong('a', 1);
    const before = now;
    for (let refusals = 0; ; refusals++) {
      const refusal = throttle.refusal('a', 1);
      if (refusal === undefined) break;
      t.equal(refusal.first, refusals === 0, 'one row of the audit a wait');
      now += 1000;
    }
    waits.push((now - before) / 1000);
  }
  t.same(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
});

test('a caller slows down itself alone, on that scope alone, until it has the key or ten minutes passed', async (t) => {
  let now = 0;
  const throttle = new Throttle({ boottime: () => now, wall: () => 0 });
  const err = (): void => {
    for (let i = 0; i < 6; i++) throttle.wrong('a', 1);
  };
  err();
  t.match(throttle.refusal('a', 1)?.failure, { code: 'throttled', details: { retry_after: 2 } });
  t.equal(throttle.refusal('a', 2), undefined);
  t.equal(throttle.refusal('b', 1), undefined);
  throttle.right('a', 1);
  t.equal(throttle.refusal('a', 1), undefined);
  err();
  now += 600_001;
  throttle.wrong('a', 1);
  t.equal(throttle.refusal('a', 1), undefined);
  for (let i = 0; i < 20_000; i++) throttle.wrong(`${i}`, 3);
  t.pass('guessing at many scopes does not fill the memory');
});
