import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { scanFile } from '../support/memory-scan.js';
import { run, Vault } from '../support/mounted.js';
import { needlesOf } from '../support/needles.js';

/** A core of the whole process takes over a minute, so this is not part of `npm test`: `npm run test:long`. */

test('a core of the daemon taken after a lock holds no key of the scope', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const path = vault.createScope('a');
  writeFileSync(vault.path('a/file'), randomBytes(100_000));
  readFileSync(vault.path('a/file'));
  const dump = (name: string): string => {
    const core = join(vault.directory, name);
    const dumped = run('gcore', ['-o', core, String(vault.pid)]);
    t.equal(dumped.status, 0, `gcore (apt-get install gdb): ${dumped.stderr.slice(-400)}`);
    return `${core}.${vault.pid}`;
  };
  const needles = await needlesOf(vault, readFileSync(path));
  const names = Object.keys(needles);
  const before = scanFile(dump('before'), Object.values(needles));
  names.forEach((name, i) => {
    if (/name key/.test(name)) t.ok((before[i] as number) > 0, `positive control: ${name}`);
    else if (!/^round keys|^file key/.test(name)) t.equal(before[i], 0, `${name}: not even while unlocked`);
  });
  vault.expect(vault.cli('lock', 'a'), 'lock');
  const after = scanFile(dump('after'), Object.values(needles));
  names.forEach((name, i) => {
    t.equal(after[i], 0, `${name}: ${before[i]} copies before, ${after[i]} after`);
  });
});
