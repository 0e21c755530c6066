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

test('where secret memory is full an unlock is refused, and works again once there is room', async (t) => {
  const clock = { boottime: () => 1_000, wall: () => 1_000 };
  const rig = new Rig(new MemoryDisk(), { now: clock.boottime });
  const scope = rig.createScope('s', 9);
  rig.lock(scope);
  const watch = { fd: -1, add: () => 0, remove: () => {}, take: () => [] };
  const leaseClock = new LeaseClock(rig.core, () => {}, clock, watch);
  const queue = new UnlockQueue(
    rig.core,
    leaseClock,
    new Drains(rig.core, clock),
    clock,
    new KeyMemory(memory),
  );
  const secret = secretOf(Buffer.alloc(32, 9));
  const ask = (): Unlocked | undefined => {
    let unlocked: Unlocked | undefined;
    const terms = { ...PLAIN, purpose: '', holder: { uid: 0, pid: 1, command: undefined, unit: undefined } };
    const stored = { epoch: 1, list: 1 };
    const asked = { scope, lease: freshId<LeaseId>(), terms, oldest: 1, secrets: [secret.address], stored };
    queue.ask({ op: 'unlock', ...asked, pid: undefined, connection: undefined }, (answer) => {
      unlocked = answer;
    });
    return unlocked;
  };
  const taken: Secret[] = [];
  while (memory.free >= EPOCH_SLOTS) taken.push(memory.allocate(32));
  t.match(ask(), { ok: false, refusal: { errno: errno.ENFILE } });
  t.equal(rig.core.scope(scope)?.isOpen, false);
  for (const one of taken) one.wipe();
  const before = memory.free;
  t.match(ask(), { ok: true });
  t.ok(before - memory.free <= EPOCH_SLOTS, 'no more than was asked for');
  rig.lock(scope);
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
