import { test } from 'tap';
import { Vault } from '../support/mounted.js';
import { busyRows, fullDiskRows, readOnlyRows, rows } from './errors.js';
import { manErrors, reasons } from './man-errors.js';
import { busyIn, errorsIn, fresh, observationsIn, readOnlyIn } from './suite.js';

const all = [...rows, ...busyRows, ...readOnlyRows, ...fullDiskRows];
const distinct = new Set(all.map(({ call, error }) => `${call} ${error}`));
/** The same calls on ext4, which is the measure, and on the mount. */
test('errors: each row of the table, on ext4 and on the mount', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt('--dev', '--suid');
  const control = errorsIn(fresh(vault.directory, 'control'));
  const mounted = errorsIn(vault.mount);
  t.comment(`${distinct.size} distinct rows of call and error, ${all.length} in all`);
  rows.forEach(({ call, error, what }, i) => {
    t.equal(control[i], error, `ext4: ${call}: ${what}`);
    t.equal(mounted[i], error, `mount: ${call}: ${what}`);
  });
  const busy = busyRows.map(({ error }) => error);
  t.same(busyIn(fresh(vault.directory, 'control')), busy, 'ext4: a program that runs');
  t.same(busyIn(vault.mount), busy, 'mount: a program that runs');
  const readOnly = readOnlyRows.map(({ error }) => error);
  t.same(readOnlyIn(fresh(vault.directory, 'control')), readOnly, 'ext4: read-only');
  t.same(readOnlyIn(vault.mount), readOnly, 'mount: read-only');
});

/** Calls that share another's man page. */
const page: Record<string, string> = {
  creat: 'open',
  renameat2: 'rename',
  linkat: 'link',
  unlinkat: 'unlink',
  fchmod: 'chmod',
  fchown: 'chown',
  lchown: 'chown',
  ftruncate: 'truncate',
  pwrite: 'pread',
};

test('every error of the man pages is a row, or says why not', async (t) => {
  const covered = new Set(all.map(({ call, error }) => `${page[call] ?? call} ${error}`));
  // pread(2) refers to read(2), write(2) and lseek(2).
  for (const error of ['EINVAL', 'EBADF', 'EFBIG', 'ESPIPE']) {
    if (covered.has(`pread ${error}`)) for (const call of ['read', 'write']) covered.add(`${call} ${error}`);
  }
  const excused = new Set(reasons.flatMap(({ of }) => of));
  const missing: string[] = [];
  let tested = 0;
  for (const [call, errors] of Object.entries(manErrors)) {
    for (const error of errors) {
      if (covered.has(`${call} ${error}`)) tested++;
      else if (!excused.has(`${call} ${error}`) && !excused.has(`* ${error}`))
        missing.push(`${call} ${error}`);
    }
  }
  const listed = Object.values(manErrors).reduce((sum, errors) => sum + errors.length, 0);
  t.comment(`${tested} of ${listed} errors of the man pages are tested`);
  t.same(missing, []);
  t.ok(reasons.length <= 15, `${reasons.length} reasons`);
});

test('what programs see, on ext4 and on the mount', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  vault.mountIt('--dev', '--suid');
  const control = observationsIn(fresh(vault.directory, 'control'));
  const mounted = observationsIn(vault.mount);
  for (const [name, seen] of Object.entries(control)) t.same(mounted[name], seen, name);
});
