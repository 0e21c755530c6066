import { randomBytes } from 'node:crypto';
import { type Test, test } from 'tap';
import { errno } from '../../base/errno.js';
import { encodeSlotCopy } from '../../format/scope/slot-copy.js';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import { LateExecutor } from './test-ports.js';
import { nodeOf, Rig, ROOT_SCOPE, ROOT_SECRET, secretOf } from './test-rig.js';

/** A removed slot's holder knows the secrets of the epochs before: what was written since must stay shut. */

const SECOND = Buffer.alloc(32, 8);
const C = 4096;
const LONG = 'n'.repeat(200);

/** A vault of which a part was written before the second epoch began and a part after. */
function aged() {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const before = randomBytes(5 * C + 10);
  const appended = randomBytes(5 * C + 10);
  rig.put(ROOT_NODE, 'kept', before);
  const changed = rig.put(ROOT_NODE, 'changed', before);
  rig.put(ROOT_NODE, 'appended', appended);
  rig.put(ROOT_NODE, 'moved', before);
  rig.put(ROOT_NODE, 'removed', before);
  rig.put(ROOT_NODE, LONG, before);
  const home = nodeOf(rig.mkdir(ROOT_NODE, 'home'));
  rig.put(home, 'inside', before);
  rig.symlink(ROOT_NODE, 'old link', 'old target');
  const { handle } = rig.open(changed, true) as { handle: number };

  if (!rig.core.scopeAccess.advance(ROOT_SCOPE, 2, secretOf(SECOND))) throw new Error('no new epoch');

  // Through a handle from before, in the middle of the file.
  const middle = randomBytes(C);
  rig.write(changed, handle, 2 * C, middle);
  rig.release(handle);
  const after = Buffer.concat([before.subarray(0, 2 * C), middle, before.subarray(3 * C)]);
  const tail = randomBytes(3 * C);
  const node = rig.walk('appended');
  const opened = rig.open(node, true) as { handle: number };
  rig.write(node, opened.handle, appended.length, tail);
  rig.release(opened.handle);
  rig.rename(ROOT_NODE, 'moved', home, 'moved there');
  rig.unlink(ROOT_NODE, 'removed');
  rig.put(home, 'new file', 'new content');
  rig.put(ROOT_NODE, 'removed', 'made again');
  rig.put(nodeOf(rig.mkdir(home, 'new home')), 'x', 'y');
  rig.symlink(ROOT_NODE, 'new link', 'new target');
  return { disk, rig, before, after, appended: Buffer.concat([appended, tail]) };
}

function look(rig: Rig, vault: ReturnType<typeof aged>, t: Test): void {
  const { before, after, appended } = vault;
  t.same(rig.get(rig.walk('kept')), before);
  t.same(rig.get(rig.walk('changed')), after);
  t.same(rig.get(rig.walk('appended')), appended);
  t.same(rig.get(rig.walk(LONG)), before, 'a long name');
  t.same(rig.get(rig.walk('home', 'moved there')), before);
  t.same(rig.get(rig.walk('home', 'inside')), before);
  t.equal(String(rig.get(rig.walk('home', 'new file'))), 'new content');
  t.equal(String(rig.get(rig.walk('home', 'new home', 'x'))), 'y');
  t.equal(String(rig.get(rig.walk('removed'))), 'made again');
  t.match(rig.readlink(rig.walk('old link')), { target: 'old target' });
  t.match(rig.readlink(rig.walk('new link')), { target: 'new target' });
  t.match(rig.lookup(ROOT_NODE, 'moved'), { negative: true });
  t.same(
    rig.names(ROOT_NODE),
    ['appended', 'changed', 'home', 'kept', LONG, 'new link', 'old link', 'removed'].sort(),
    'each name once',
  );
}

test('a new epoch begins while files are open, and everything reads right, now and after a remount', async (t) => {
  const vault = aged();
  look(vault.rig, vault, t);
  vault.rig.lock(ROOT_SCOPE);
  look(new Rig(vault.disk, { fresh: false, secrets: [ROOT_SECRET, SECOND] }), vault, t);
});

test('with the old secret alone, what was written before opens and nothing of what was written since', async (t) => {
  const { disk, rig, before } = aged();
  rig.lock(ROOT_SCOPE);
  const removed = new Rig(disk, { fresh: false });
  t.same(removed.get(removed.walk('kept')), before);
  t.same(removed.get(removed.walk('home', 'inside')), before);
  t.match(removed.readlink(removed.walk('old link')), { target: 'old target' });
  t.same(removed.names(ROOT_NODE), ['appended', 'changed', 'home', 'kept', LONG, 'old link'], 'no new name');
  t.same(removed.names(removed.walk('home')), ['inside']);
  t.equal(removed.get(removed.walk('changed')), 'EIO', 'a file that was written to');
  t.equal(removed.get(removed.walk('appended')), 'EIO');
});

test('a torn pair of headers of two epochs is repaired after an unclean stop', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const data = randomBytes(3 * C);
  const node = rig.put(ROOT_NODE, 'file', data);
  const { directories } = rig.core.volume;
  const path = [directories.stored(directories.get(1) as never, 'file').name];
  const old = Buffer.from(disk.raw(path));
  rig.core.scopeAccess.advance(ROOT_SCOPE, 2, secretOf(SECOND));
  const { handle } = rig.open(node, true) as { handle: number };
  const fresh = randomBytes(C);
  rig.write(node, handle, 0, fresh);
  rig.release(handle);
  rig.lock(ROOT_SCOPE);
  const expected = Buffer.concat([fresh, data.subarray(C)]);
  const now = Buffer.from(disk.raw(path));
  const secrets = [ROOT_SECRET, SECOND];
  for (const copies of [
    [now.subarray(0, 512), old.subarray(512, 1024)],
    [old.subarray(0, 512), now.subarray(512, 1024)],
    // The header was never written: frames of the later epoch open all the same.
    [old.subarray(0, 1024)],
  ]) {
    disk.setRaw(path, Buffer.concat([...copies, now.subarray(1024)]));
    const again = new Rig(disk, { fresh: false, unclean: true, secrets });
    t.same(again.get(again.walk('file')), expected);
  }
});

test('an epoch follows the one before it; a locked scope gets none', async (t) => {
  const rig = new Rig(new MemoryDisk());
  t.notOk(rig.core.scopeAccess.advance(ROOT_SCOPE, 3, secretOf(SECOND)), 'not two at once');
  t.notOk(rig.core.scopeAccess.advance(ROOT_SCOPE, 1, secretOf(SECOND)));
  t.ok(rig.core.scopeAccess.advance(ROOT_SCOPE, 2, secretOf(SECOND)));
  rig.lock(ROOT_SCOPE);
  t.notOk(rig.core.scopeAccess.advance(ROOT_SCOPE, 3, secretOf(SECOND)));
});

test('directories of scopes below keep opening after their parent began a new epoch', async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const id = rig.createScope('child', 5);
  rig.put(rig.walk('child'), 'x', 'y');
  rig.core.scopeAccess.advance(ROOT_SCOPE, 2, secretOf(SECOND));
  rig.lock(id);
  t.equal(rig.unlock(id, 5), 'ok');
  t.equal(String(rig.get(rig.walk('child', 'x'))), 'y');
  t.same(rig.rename(ROOT_NODE, 'child', ROOT_NODE, 'renamed'), {});
  rig.lock(ROOT_SCOPE);
  const known = [
    { id: ROOT_SCOPE, parent: undefined, path: '' },
    { id, parent: ROOT_SCOPE, path: 'renamed' },
  ];
  const again = new Rig(disk, { fresh: false, secrets: [ROOT_SECRET, SECOND], known });
  t.equal(again.unlock(id, 5), 'ok');
  t.equal(String(again.get(again.walk('renamed', 'x'))), 'y');
});

test("the copy of a scope's slots is hidden, durable, and shuts out an older store", async (t) => {
  const disk = new MemoryDisk();
  const rig = new Rig(disk);
  const copy = (epoch: number, list: number): Buffer =>
    encodeSlotCopy(ROOT_SCOPE, { epoch, list }, Buffer.from('{}'));
  t.equal(rig.core.scopeAccess.writeSlotCopy(ROOT_SCOPE, copy(1, 3)), 0);
  t.equal(rig.core.scopeAccess.writeSlotCopy(ROOT_SCOPE, copy(1, 4)), 0, 'again');
  t.same(rig.names(ROOT_NODE), [], 'not a file of the user');
  rig.lock(ROOT_SCOPE);
  t.equal(rig.core.scopeAccess.writeSlotCopy(ROOT_SCOPE, copy(1, 5)), -errno.ENOKEY);
  disk.crash(0);
  const unlock = (epoch: number, list: number) => {
    const again = new Rig(disk, { fresh: false });
    again.lock(ROOT_SCOPE);
    return again.core.scopeAccess.unlock(ROOT_SCOPE, 1, [secretOf(ROOT_SECRET)], { epoch, list });
  };
  t.match(unlock(1, 3), { ok: false, errno: errno.ESTALE }, 'an older list');
  t.match(unlock(1, 4), { ok: true, copyBehind: false });
  t.match(unlock(1, 5), { ok: true, copyBehind: true }, 'the copy is to be written again');
  const newer = new Rig(disk, { fresh: false });
  newer.core.scopeAccess.unlock(ROOT_SCOPE, 1, [secretOf(ROOT_SECRET)], { epoch: 1, list: 5 });
  t.equal(newer.core.scopeAccess.writeSlotCopy(ROOT_SCOPE, copy(2, 1)), 0);
  t.match(unlock(1, 9), { ok: false, errno: errno.ESTALE }, 'an older epoch');
});

test('what a lock under way still writes is sealed under the epoch that began meanwhile', async (t) => {
  const disk = new MemoryDisk();
  const executor = new LateExecutor(disk);
  const rig = new Rig(disk, { executor });
  rig.core.locks.lock([ROOT_SCOPE], 'test', Number.POSITIVE_INFINITY, () => {});
  t.equal(rig.core.locks.stateOf(rig.core.volume.scopes[0]!), 'locking');
  t.ok(rig.core.scopeAccess.advance(ROOT_SCOPE, 2, secretOf(SECOND)));
  t.equal(rig.core.volume.scopes[0]?.keys?.epoch, 2);
});
