import { test } from 'tap';
import { Failure, failureCodes } from '../base/failure.js';
import type { GivenReason } from '../base/reasons.js';
import { adviceOf } from './advice.js';

const advice = (reason: GivenReason): string => adviceOf(new Failure('usage', 'it failed', { reason }));

test('a failing caller is told what to do, by the code where no reason tells more', async (t) => {
  for (const code of failureCodes) {
    const failure = new Failure(code, 'it failed');
    const text = adviceOf(failure);
    t.ok(text.length > 10 && text !== failure.title, `${code}: ${text}`);
  }
});

test('a reason gives the way out, whatever the code', async (t) => {
  t.match(advice('kernel_too_old'), 'Debian 13');
  t.match(advice('device_missing'), 'modprobe fuse');
  t.match(advice('libfuse_missing'), 'apt-get install libfuse2');
  t.match(advice('binding_missing'), 'npm install fuse-native');
  t.match(advice('binding_unloadable'), '--transport kernel');
  t.match(advice('sqlite_for_other_node'), 'npm rebuild better-sqlite3');
  t.match(advice('store_full'), 'make room');
  t.match(advice('store_unsynced'), 'restart the daemon');
  t.match(advice('credential_outside_service'), 'LoadCredential=NAME:PATH');
});

test('advice names what its reason names', async (t) => {
  t.equal(advice({ name: 'mount_dead', path: '/mnt/data' }), 'remove it first with: umount -l /mnt/data');
  t.equal(advice({ name: 'shred_misnamed', path: '/users/alice' }), 'repeat it: --yes=users/alice');
  t.equal(advice({ name: 'daemons_several', mounts: ['/a', '/b'] }), '--host /a or --host /b');
});

test('what a daemon advised is passed on as it came', async (t) => {
  t.equal(adviceOf(new Failure('busy', 'in use', { hint: 'end it', reason: 'mount_in_use' })), 'end it');
});
