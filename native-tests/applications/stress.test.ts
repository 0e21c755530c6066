import { test } from 'tap';
import { Vault } from '../support/mounted.js';
import { ENGINES, fioFailure, stressFailures } from './stress.js';

/** A slice of programs.long.ts. */
const STRESSORS = [
  'chmod',
  'copy-file',
  'dentry',
  'dir',
  'fallocate',
  'getdent',
  'link',
  'rename',
  'seek',
  'symlink',
  'xattr',
];

test('stress-ng and fio find nothing wrong', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  for (const stressor of STRESSORS) {
    t.same(stressFailures(vault.path('stress'), [`--${stressor}`, '1', '-t', '1']), [], stressor);
  }
  for (const [engine, direct] of ENGINES) {
    t.equal(fioFailure(vault.path('fio'), engine, direct, 2), undefined, `${engine}, direct ${direct}`);
  }
});
