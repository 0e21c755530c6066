import { test } from 'tap';
import { MemoryDisk } from '../disk/test-memory-disk.js';
import { ROOT_NODE } from '../inodes/inode-table.js';
import type { FOR_ANY } from '../scopes/scope-access.js';
import { nodeOf, Rig, secretOf, user } from '../test/test-rig.js';

const opened = { write: false, truncate: false, killPrivileges: false };
const other = { ...user, uid: 1001 };

test('an open that is refused says why, and its caller one errno', async (t) => {
  const rig = new Rig(new MemoryDisk());
  const scope = rig.createScope('alice', 1);
  const root = rig.walk('alice');
  const file = rig.put(root, 'f', 'content');
  const open = (node: number, caller = user, write = false) =>
    rig.start((reply) => rig.core.files.open(node, { ...opened, write }, caller, reply)).answers[0];
  const list = (node: number) => rig.start((reply) => rig.core.opendir(node, user, reply)).answers[0];
  t.match(open(file), { handle: 0 });

  rig.cache.hold = true;
  rig.core.locks.lock([scope], 'test', Number.POSITIVE_INFINITY, () => {});
  t.match(open(file), { error: 'ENOKEY', reason: 'locking' });
  const byHandle = rig.start((reply) => rig.core.attributes.getattr(file, true, user, reply));
  t.match(byHandle.answers[0], { error: 'ENOKEY', reason: 'locking' }, 'a writer notices the lock');
  while (rig.cache.answer());
  rig.cache.hold = false;
  t.match(open(file), { error: 'ENOKEY', reason: 'generation' });
  t.match(list(root), { error: 'ENOKEY', reason: 'locked' });
  rig.unlock(scope, 1);
  t.match(open(file), { error: 'ENOKEY', reason: 'generation' }, 'also in the next generation');
  t.match(rig.read(file, 0, 0, 7), { error: 'ENOKEY', reason: 'generation' }, 'by its handle too');
  t.match(open(file + 1), { error: 'ESTALE', reason: 'unknown' });

  rig.lock(scope);
  const gate = { admits: ({ uid }: { uid: number }) => uid === user.uid };
  const unlock = (terms: typeof FOR_ANY): void => {
    const result = rig.core.scopeAccess.unlock(scope, 1, [secretOf(Buffer.alloc(32, 1))], undefined, terms);
    t.ok(result.ok);
  };
  unlock({ gate, readOnly: true });
  const again = nodeOf(rig.lookup(root, 'f'));
  t.match(open(again), { handle: 1 });
  t.match(open(again, other), { error: 'ENOKEY', reason: 'caller' });
  t.match(open(again, user, true), { error: 'EROFS', reason: 'read_only' });
  const seen = rig.start((reply) => rig.core.attributes.getattr(root, false, other, reply));
  t.match(seen.answers[0], { error: 'ENOKEY', reason: 'caller' }, 'the door');
  const missing = rig.lookup(ROOT_NODE, 'n'.repeat(256));
  t.match(missing, { error: 'ENAMETOOLONG', reason: undefined }, 'what was let in and failed has no reason');
  rig.close();
});
