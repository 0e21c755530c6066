import { test } from 'tap';
import { freshId, type LeaseId, type ScopeId } from '../base/ids.js';
import { Leases } from './leases.js';

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
  leases.change(short.id, 20_000);
  t.same(leases.deadline(scope), { lockAt: 20_500, deadline: 21_500 }, 'a new end counts from now');
  t.equal(leases.change(short.id, 1500)?.deadline, 3000);
  t.equal(leases.change(freshId<LeaseId>(), 1), undefined);
  t.same(leases.deadline(scope), { lockAt: 2850, deadline: 3000 });
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
