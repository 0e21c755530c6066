import { mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { checkKernel, openDevice } from './mount.js';
import { canonicalMountPoint, isDeadMount, mountAt, mounts, mountsBelow } from './mount-table.js';

test('a kernel below the floor is refused by name, with its reason', async (t) => {
  for (const old of [
    [6, 5],
    [5, 15],
    [0, 0],
  ] as const) {
    t.throws(() => checkKernel(old), {
      code: 'unsupported_system',
      message: new RegExp(`Linux ${old[0]}\\.${old[1]} is too old`),
      reason: 'kernel_too_old',
    });
  }
  for (const fine of [
    [6, 6],
    [6, 18],
    [7, 0],
  ] as const) {
    checkKernel(fine);
  }
});

test('a device that is missing is named, with its reason', async (t) => {
  t.throws(() => openDevice('/nonexistent/fuse'), {
    code: 'unsupported_system',
    message: /\/nonexistent\/fuse .*ENOENT/,
    reason: 'device_missing',
  });
});

test('mount tables: octal escapes are undone, the topmost mount counts', async (t) => {
  const text = [
    '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
    '30 22 0:40 / /mnt/with\\040space rw,nosuid shared:2 - fuse.scopefs /srv/the\\040vault rw,user_id=0',
    '31 30 0:41 / /mnt/with\\040space rw - tmpfs tmpfs rw',
    '',
  ].join('\n');
  t.same(mounts(text)[1], {
    deviceNumber: '0:40',
    mountPoint: '/mnt/with space',
    type: 'fuse.scopefs',
    device: '/srv/the vault',
  });
  t.equal(mounts(text).length, 3);
  t.ok(mountsBelow('/mnt', mounts(text)));
  t.notOk(mountsBelow('/mnt/with space', mounts(text)), 'what is on it is not below it');
  t.notOk(mountsBelow('/mnt/with', mounts(text)));
  t.equal(mountAt('/proc')?.type, 'proc');
  t.equal(mountAt('/nonexistent'), undefined);
  t.notOk(isDeadMount('/nonexistent'), 'missing is not dead');
});

test('a mount point is compared by its real path, its last component unlooked', async (t) => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'scopefs-path-')));
  t.teardown(() => rmSync(directory, { recursive: true }));
  symlinkSync(directory, join(directory, 'link'));
  t.equal(canonicalMountPoint(join(directory, 'link', 'm', '')), join(directory, 'm'));
  t.equal(canonicalMountPoint('/nonexistent/x/../m'), '/nonexistent/m');
});
