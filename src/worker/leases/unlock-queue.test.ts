import { test } from 'tap';
import { errno } from '../../base/errno.js';
import { freshId, type LeaseId } from '../../base/ids.js';
import { EPOCH_SLOTS } from '../../crypto/scope-keys.js';
import { MemoryDisk } from '../../filesystem/disk/test-memory-disk.js';
import { memory, Rig, secretOf } from '../../filesystem/test/test-rig.js';
import { PLAIN } from '../../keyring/leases/leases.js';
import { MOST_EPOCHS } from '../../keyring/slots/scope-secrets.js';
import { type Secret, SecretMemory } from '../../libc/memory.js';
import type { Unlocked } from '../messages.js';
import { Drains } from './drains.js';
import { KeyMemory } from './key-memory.js';
import { LeaseClock } from './lease-clock.js';
import { UnlockQueue } from './unlock-queue.js';

const CLOCK = { boottime: () => 1_000, wall: () => 1_000 };

function stage() {
  const rig = new Rig(new MemoryDisk(), { now: CLOCK.boottime });
  const scope = rig.createScope('s', 9);
  const watch = { fd: -1, add: () => 0, remove: () => {}, take: () => [] };
  const leaseClock = new LeaseClock(rig.core, () => {}, CLOCK, watch);
  const drains = new Drains(rig.core, CLOCK);
  const queue = new UnlockQueue(rig.core, leaseClock, drains, CLOCK, new KeyMemory(memory));
  const secret = secretOf(Buffer.alloc(32, 9));
  /** What it is answered, once that is known. */
  const ask = (since = 0, wait?: number): { unlocked: Unlocked | undefined } => {
    const asked: { unlocked: Unlocked | undefined } = { unlocked: undefined };
    const terms = { ...PLAIN, purpose: '', holder: { uid: 0, pid: 1, command: undefined, unit: undefined } };
    const stored = { epoch: 1, list: 1 };
    const secrets = [secret.address];
    const command = { scope, lease: freshId<LeaseId>(), terms, oldest: 1, secrets, stored, since, wait };
    queue.ask({ op: 'unlock', ...command, pid: undefined, connection: undefined }, (answer) => {
      asked.unlocked = answer;
    });
    return asked;
  };
  return { rig, scope, drains, queue, ask };
}

test('where secret memory is full an unlock is refused, and works again once there is room', async (t) => {
  const { rig, scope, ask } = stage();
  rig.lock(scope);
  const taken: Secret[] = [];
  while (memory.free >= EPOCH_SLOTS) taken.push(memory.allocate(32));
  t.match(ask().unlocked, { ok: false, refusal: { errno: errno.ENFILE } });
  t.equal(rig.core.scope(scope)?.isOpen, false);
  for (const one of taken) one.wipe();
  const before = memory.free;
  t.match(ask().unlocked, { ok: true });
  t.ok(before - memory.free <= EPOCH_SLOTS, 'no more than was asked for');
  rig.lock(scope);
});

test('an unlock that waits for a drain is not given before its lock; a lock that is asked for later is the last word', async (t) => {
  const { scope, drains, queue, ask } = stage();
  const busy = { ok: false, refusal: { errno: errno.EBUSY } };
  let drained = false;
  drains.start([scope], 500, 1, () => {
    drained = true;
  });
  t.ok(drained, 'nobody has anything open');
  t.match(ask(1).unlocked, busy, 'its lock is about to come');
  const waiting = ask(1, 5_000);
  queue.tick(2_000);
  t.equal(waiting.unlocked, undefined, 'asked to wait, it does');
  queue.lockAsked([scope], 1);
  drains.finish(1);
  t.equal(waiting.unlocked, undefined, 'this is the lock for which it waits');
  queue.lockAsked([scope], 2);
  t.match(waiting.unlocked, busy, 'and this one was asked for after it');
  t.match(ask(2).unlocked, { ok: true });
  drains.start([scope], 500, 3, () => {});
  const late = ask(3, 100);
  queue.tick(1_200);
  t.match(late.unlocked, busy, 'not for ever');
});

test('as many epochs as a scope may have fit the memory of whoever opens it', async (t) => {
  t.ok(65_536 > 4 * MOST_EPOCHS * EPOCH_SLOTS, 'and in the core');
});

test('files leave a reserve of secret memory to scopes', async (t) => {
  const small = new SecretMemory(64, 16);
  const files: Secret[] = [];
  for (let one = small.tryAllocate(32); one !== undefined; one = small.tryAllocate(32)) files.push(one);
  t.equal(files.length, 48);
  t.equal(small.free, 16);
  for (let i = 0; i < 16; i++) small.allocate(32);
  t.throws(() => small.allocate(32), /full/);
  files[0]?.wipe();
  t.equal(small.tryAllocate(32), undefined, 'the reserve comes first');
});
