import { test } from 'tap';
import { freshId, type LeaseId, type ScopeId } from '../../base/ids.js';
import { type EndReason, Leases, type LeaseTerms, PLAIN } from './leases.js';

const NEVER = Number.POSITIVE_INFINITY;
const plain: LeaseTerms = {
  ...PLAIN,
  purpose: '',
  holder: { uid: 0, pid: 1, command: undefined, unit: undefined },
};

function rig() {
  const clock = { now: 1000, wall: 1_000_000 };
  const usage = { operations: 0, handles: 0 };
  const ended: [LeaseId, EndReason][] = [];
  const unused: boolean[] = [];
  const leases = new Leases(
    { boottime: () => clock.now, wall: () => clock.wall },
    () => usage,
    (lease, { reason, unused: none }) => {
      ended.push([lease.id, reason]);
      unused.push(none);
    },
  );
  const scope = freshId<ScopeId>();
  const add = (terms: Partial<LeaseTerms>): LeaseId => {
    const id = freshId<LeaseId>();
    leases.add(id, scope, { ...plain, ...terms });
    return id;
  };
  /** Both clocks go on, in steps as long as the leases ask for. */
  const pass = (milliseconds: number): [LeaseId, EndReason][] => {
    const over: [LeaseId, EndReason][] = [];
    const until = clock.now + milliseconds;
    for (;;) {
      const next = Math.min(leases.due, until);
      clock.wall += next - clock.now;
      clock.now = next;
      for (const { id, reason } of leases.tick(clock.now)) {
        over.push([id, reason]);
        leases.end(id, reason);
      }
      if (next >= until) return over;
    }
  };
  return { clock, usage, ended, unused, leases, scope, add, pass };
}

test('a scope lasts as long as its longest lease; the lock begins a little before', async (t) => {
  const { clock, leases, scope, add, ended } = rig();
  t.same(leases.deadline(scope), { lockAt: NEVER, deadline: NEVER });
  const short = add({ ttl: 2000 });
  t.same(leases.deadline(scope), { lockAt: 2800, deadline: 3000 }, 'a tenth of a short one');
  clock.now = 1500;
  const long = add({ ttl: 60_000 });
  t.same(leases.deadline(scope), { lockAt: 60_500, deadline: 61_500 }, 'at most a second');
  t.equal(leases.end(long, 'revoked'), 'ended', 'one is left');
  t.same(leases.deadline(scope), { lockAt: 2800, deadline: 3000 });
  leases.change(short, 20_000);
  t.same(leases.deadline(scope), { lockAt: 20_500, deadline: 21_500 }, 'a new end counts from now');
  t.equal(leases.change(short, 1500)?.deadline, 3000);
  t.equal(leases.change(freshId<LeaseId>(), 1), undefined);
  const endless = add({});
  t.equal(leases.deadline(scope).deadline, NEVER);
  leases.end(endless, 'revoked');
  t.equal(leases.end(short, 'revoked'), 'last', 'that was the last: it stays until its scope is locked');
  t.equal(leases.count(scope), 1);
  t.equal(leases.change(short, 60_000), undefined, 'and gets no new end');
  t.equal(leases.end(freshId<LeaseId>(), 'revoked'), 'gone');
  add({ ttl: 1 });
  t.equal(leases.endAll(scope, 'locked'), 2);
  t.same(leases.all(), []);
  t.same(
    ended.map(([, reason]) => reason),
    ['revoked', 'revoked', 'locked', 'locked'],
    'each was told once',
  );
});

test('a lease ends at its own time also where others keep the scope open', async (t) => {
  const { add, pass, leases, scope } = rig();
  const long = add({ ttl: 60_000 });
  const short = add({ ttl: 2000 });
  t.same(pass(1999), []);
  t.same(pass(1), [[short, 'ttl']]);
  t.equal(leases.count(scope), 1);
  leases.change(long, 1000);
  t.same(pass(1000), [[long, 'ttl']]);
});

test('no renewal goes beyond the longest life', async (t) => {
  const { clock, add, leases, pass } = rig();
  const id = add({ ttl: 1000, maxTtl: 5000 });
  clock.now = 1900;
  t.equal(leases.change(id, 3000)?.deadline, 4900);
  t.equal(leases.change(id, 60_000)?.deadline, 6000, 'cut');
  t.same(pass(4100), [[id, 'ttl']]);
  const fixed = add({ maxTtl: 500 });
  t.equal(leases.get(fixed)?.deadline, clock.now + 500, 'without a shorter one it is its end');
});

test('a moment of the wall clock: set forward it ends at once, set back nothing is prolonged', async (t) => {
  const first = rig();
  const id = first.add({ until: first.clock.wall + 60_000 });
  t.same(first.pass(10_000), []);
  first.clock.wall += 3_600_000;
  t.same(first.pass(1000), [[id, 'until']]);
  const second = rig();
  const other = second.add({ until: second.clock.wall + 60_000 });
  second.clock.wall -= 3_600_000;
  t.same(second.pass(59_999), []);
  t.same(second.pass(1), [[other, 'ttl']], 'by the clock that never steps');
  t.equal(second.leases.change(other, 1000), undefined);
  const third = rig();
  const past = third.add({ until: third.clock.wall - 1 });
  t.same(third.pass(0), [[past, 'ttl']], 'over already');
});

test('idle: open handles and operations count, and it ends at most an eighth late', async (t) => {
  const { usage, add, pass, ended } = rig();
  const id = add({ idle: 8000 });
  const keeper = add({});
  usage.handles = 1;
  t.same(pass(100_000), [], 'something is open');
  usage.handles = 0;
  t.same(pass(7000), []);
  usage.operations++;
  t.same(pass(8000), [], 'it was used 8 seconds ago, as far as was looked');
  t.same(pass(1000), [[id, 'idle']]);
  t.same(ended, [[id, 'idle']]);
  t.same(pass(1_000_000), [], 'another has no such end');
  t.equal(keeper.length, 32);
});

test('a suspended machine prolongs nothing: the first look after it ends what is over', async (t) => {
  const { clock, usage, add, leases } = rig();
  const idle = add({ idle: 8000 });
  const ttl = add({ ttl: 5000 });
  usage.operations++;
  clock.now += 3_600_000;
  t.same(
    leases.tick(clock.now).map(({ id }) => id),
    [idle, ttl],
  );
});

test('the last of several that end together closes the scope once', async (t) => {
  const { clock, add, leases, scope } = rig();
  const ids = [add({ ttl: 1000 }), add({ ttl: 1000 })];
  clock.now += 1000;
  const outcomes = leases.tick(clock.now).map(({ id, reason }) => leases.end(id, reason));
  t.same(outcomes, ['ended', 'last']);
  t.same(leases.tick(clock.now + 1), [], 'it is ending: not told again');
  t.equal(leases.due, NEVER);
  t.equal(leases.end(ids[1] as LeaseId, 'revoked'), 'last', 'whoever ends it again waits for the same lock');
  t.equal(leases.endAll(scope, 'locked'), 1);
});

test('an end says whether nobody used the scope since it was opened, whoever opened it', async (t) => {
  const { usage, leases, scope, add, unused } = rig();
  add({});
  leases.endAll(scope, 'locked');
  const [first, second] = [add({}), add({})];
  leases.end(first, 'revoked');
  usage.operations++;
  leases.end(second, 'revoked');
  leases.endAll(scope, 'locked');
  add({});
  leases.endAll(scope, 'locked');
  t.same(unused, [true, true, false, true]);
});
