import { test } from 'tap';
import { Throttle } from './throttle.js';

test('five wrong keys are free, then each costs twice as long, at most a minute', async (t) => {
  let now = 0;
  const throttle = new Throttle({ boottime: () => now, wall: () => 0 });
  const waits: number[] = [];
  for (let i = 0; i < 14; i++) {
    throttle.check('a', 1);
    throttle.wrong('a', 1);
    const before = now;
    for (;;) {
      try {
        throttle.check('a', 1);
        break;
      } catch {
        now += 1000;
      }
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
  t.throws(() => throttle.check('a', 1), { code: 'throttled', details: { retry_after: 2 } });
  throttle.check('a', 2);
  throttle.check('b', 1);
  throttle.right('a', 1);
  throttle.check('a', 1);
  err();
  now += 600_001;
  throttle.wrong('a', 1);
  throttle.check('a', 1);
  for (let i = 0; i < 20_000; i++) throttle.wrong(`${i}`, 3);
  t.pass('guessing at many scopes does not fill the memory');
});
