import { test } from 'tap';
import { Vault } from '../support/mounted.js';
import { busyRows, fullDiskRows, readOnlyRows, rows } from './errors.js';
import { manErrors, reasons } from './man-errors.js';
import { BEHIND_THE_END } from './scenarios-kernel.js';
import { busyIn, errorsIn, fresh, observationsIn, readOnlyIn } from './suite.js';

const all = [...rows, ...busyRows, ...readOnlyRows, ...fullDiskRows];
const distinct = new Set(all.map(({ call, error }) => `${call} ${error}`));
/**
 * fuse_do_setattr (fs/fuse/dir.c) leaves the last page as it is, where ext4 zeroes its end (ext4_block_truncate_page): what
 * was stored there by a mapping, against mmap(2)'s rule, shows.
 */
const EVERYWHERE: ReadonlySet<string> = new Set([BEHIND_THE_END]);
/** What the kernel's writeback cache does otherwise, whoever serves it (fs/fuse/file.c, dir.c). */
const WRITEBACK: ReadonlySet<string> = new Set([
  ...EVERYWHERE,
  // s_maxbytes is the kernel's: what is too large fails when it is written back, and fsync says so.
  'pwrite EFBIG',
  'write EFBIG',
  'copy_file_range EFBIG',
  // The kernel owns mtime, and a truncate to the same size does not move it (fuse_do_setattr).
  'times that each call moves',
  // It does not write back before LSEEK, so holes are not told: all is data, which is never wrong.
  'sparse files: holes read as zeros, are found by lseek and take no room',
  'lseek ENXIO',
]);
const modes = [
  { mode: 'write-through', options: [], otherwise: EVERYWHERE },
  { mode: 'writeback', options: ['--writeback'], otherwise: WRITEBACK },
] as const;

/** The same calls on ext4, which is the measure, and on the mount in both I/O modes. */
test('errors: each row of the table, on ext4 and on the mount', async (t) => {
  t.comment(`${distinct.size} distinct rows of call and error, ${all.length} in all`);
  const busy = busyRows.map(({ error }) => error);
  const readOnly = readOnlyRows.map(({ error }) => error);
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  const base = fresh(vault.directory, 'control');
  const control = errorsIn(base);
  rows.forEach(({ call, error, what }, i) => {
    t.equal(control[i], error, `ext4: ${call}: ${what}`);
  });
  t.same(busyIn(base), busy, 'ext4: a program that runs');
  t.same(readOnlyIn(base), readOnly, 'ext4: read-only');
  for (const { mode, options, otherwise } of modes) {
    vault.mountIt('--dev', '--suid', ...options);
    const mounted = errorsIn(vault.mount);
    rows.forEach(({ call, error, what }, i) => {
      if (!otherwise.has(`${call} ${error}`)) t.equal(mounted[i], error, `${mode}: ${call}: ${what}`);
    });
    t.same(busyIn(vault.mount), busy, `${mode}: a program that runs`);
    t.same(readOnlyIn(vault.mount), readOnly, `${mode}: read-only`);
    vault.expect(vault.unmount(), 'unmount');
  }
});

test('what programs see, on ext4 and on the mount', async (t) => {
  const vault = new Vault({ mount: false });
  t.teardown(() => vault.remove());
  const control = observationsIn(fresh(vault.directory, 'control'));
  for (const { mode, options, otherwise } of modes) {
    vault.mountIt('--dev', '--suid', ...options);
    const mounted = observationsIn(vault.mount);
    for (const [name, seen] of Object.entries(control)) {
      if (!otherwise.has(name)) t.same(mounted[name], seen, `${mode}: ${name}`);
    }
    vault.expect(vault.unmount(), 'unmount');
  }
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
