import { test } from 'tap';
import { soak } from './soak.js';

/** A slice of `npm run soak`. */
const SECONDS = 20;

test(`nothing fails under ${SECONDS} s of mixed load, and the daemon stays one process`, async (t) => {
  const done = await soak({ seconds: SECONDS, pause: 0 }, (line) => t.comment(line));
  t.same(done.failures, []);
  t.ok(done.rounds > 0, `${done.rounds} rounds`);
  t.ok(done.peakMiB > 0, `peak memory ${done.peakMiB} MiB`);
});
