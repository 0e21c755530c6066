import { test } from 'tap';
import { Vault } from '../support/mounted.js';
import { rows } from './errors.js';
import { errorsIn, fresh, observationsIn } from './suite.js';

/** The same calls on ext4, which is the measure, and on the mount. */
test('errors: each row of the table, on ext4 and on the mount', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt('--dev', '--suid');
  const control = errorsIn(fresh(vault.directory, 'control'));
  const mounted = errorsIn(vault.mount);
  const distinct = new Set(rows.map(({ call, error }) => `${call} ${error}`));
  t.comment(`${distinct.size} distinct rows of call and error, ${rows.length} in all`);
  rows.forEach(({ call, error, what }, i) => {
    t.equal(control[i], error, `ext4: ${call}: ${what}`);
    t.equal(mounted[i], error, `mount: ${call}: ${what}`);
  });
});

test('what programs see, on ext4 and on the mount', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt('--dev', '--suid');
  const control = observationsIn(fresh(vault.directory, 'control'));
  const mounted = observationsIn(vault.mount);
  for (const [name, seen] of Object.entries(control)) t.same(mounted[name], seen, name);
});
