import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { cliPath, run } from '../support/mounted.js';
import { Rig } from '../support/probe.js';

/** A screen cleared, a line begun anew, the title set, the same by C1, and text turned around. */
const HOSTILE = '\x1b[2J\x1b[H\r\nscopefs: all is well\x1b]0;x\x07\u009b31m\u202e';
/** What of it a terminal would obey. */
const OBEYED = /(?!\n)[\p{Cc}\u202e]/u;

test('what others chose is shown, not obeyed: names, commands, purposes, labels', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  const host = ['--host', `unix://${rig.vault.socket}`];
  const file = rig.path(`a/${HOSTILE.replaceAll('/', '')}`);
  writeFileSync(file, 'x');
  mkdirSync(rig.path('a/d'));
  // Its name as ps shows it: prctl(PR_SET_NAME).
  const holder = spawn('perl', [
    '-e',
    '$0 = "\\e[2J\\r\\nx"; open F, "<", $ARGV[0]; print "open\\n"; $| = 1; print "\\n"; sleep 60',
    file,
  ]);
  t.teardown(() => holder.kill('SIGKILL'));
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  await rig.lease('/a', { purpose: HOSTILE.replaceAll('\n', '') });
  const seen: string[] = [];
  for (const words of [
    ['status', '/a'],
    ['lease', 'list'],
    ['ls'],
    ['audit', 'tail'],
    ['lease', 'list', '--json'],
    ['audit', 'tail', '--json'],
    ['status', '/a', '--json'],
    ['unlock', HOSTILE, '--with', `file:${rig.key('/a')}`],
    ['exec', '/a', '--with', `file:${rig.key('/a')}`, '--', `/no${HOSTILE}`],
    ['lock', '/a', '--wait', '1s'],
  ]) {
    const { stdout, stderr } = run(cliPath, [...host, ...words]);
    const all = stdout + stderr;
    seen.push(all);
    t.notMatch(all, OBEYED, words.slice(0, 3).join(' '));
  }
  t.match(seen.join('\n'), '\\x1b[2J', 'it is shown');
  t.match(seen.at(-1), /\\x1b\[2J.*\(pid \d+/, 'the holder of a lock that did not wait longer');
});
