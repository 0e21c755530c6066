import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { sessionMark } from '../../filesystem/inodes/volume.js';
import { markClean, markDirty } from './dirty.js';

test('VAULT/dirty remembers sessions that did not end well, and no other', async (t) => {
  const vault = mkdtempSync(join(tmpdir(), 'scopefs-dirty-'));
  t.teardown(() => rmSync(vault, { recursive: true }));
  const file = join(vault, 'dirty');
  const [one, two, three, four] = [1, 2, 3, 4].map((fill) => sessionMark(Buffer.alloc(16, fill))) as [
    string,
    string,
    string,
    string,
  ];
  const well = { unclean: false, behind: false };
  t.same(markDirty(vault, one), { unclean: false, sessions: [] });
  t.ok(existsSync(file));
  markClean(vault, one, well);
  t.notOk(existsSync(file), 'ended well');
  markDirty(vault, two);
  t.same(markDirty(vault, three), { unclean: true, sessions: [two] }, 'the second was killed');
  markClean(vault, three, { unclean: true, behind: false });
  t.equal(readFileSync(file, 'utf8'), `${two}\n`, 'the third ended well');
  t.same(markDirty(vault, four), { unclean: true, sessions: [two] });
  markClean(vault, four, { unclean: true, behind: true });
  t.same(markDirty(vault, one).sessions, [two, four], 'the fourth left files behind');
  t.not(sessionMark(Buffer.alloc(16, 1)), Buffer.alloc(16, 1).toString('hex'), 'the mark is not the id');
});
