import { readdirSync } from 'node:fs';
import type { Test } from 'tap';
import { run } from '../support/mounted.js';
import { sys } from './sys.js';

/** Makes, lists (warm and cold), finds and removes many names in a directory that is not there yet. */
export function manyNames(t: Test, directory: string, names: number): void {
  sys.mkdir(directory);
  let failed = 0;
  for (let i = 0; i < names; i++) if (sys.mknod(`${directory}/name-${i}`, 0o100644) < 0) failed++;
  t.equal(failed, 0, 'each was made');
  t.equal(new Set(readdirSync(directory)).size, names);
  run('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches']);
  const cold = readdirSync(directory);
  t.equal(cold.length, names, 'also cold');
  t.equal(new Set(cold).size, names);
  for (let i = 0; i < names; i += 97) if (sys.statOf(`${directory}/name-${i}`) < 0) failed++;
  for (let i = 0; i < names; i++) if (sys.unlink(`${directory}/name-${i}`) < 0) failed++;
  t.equal(failed, 0, 'each was found and unlinked');
  t.equal(sys.rmdir(directory), 0);
}
