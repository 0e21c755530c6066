import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { project } from '../support/mounted.js';

/** That random operations notice bugs which somebody could make: each in a copy of the build. */
interface Bug {
  readonly what: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}
const bugs: readonly Bug[] = [
  {
    what: 'off by one at the edge of a chunk: the last byte of a partly read chunk is not copied',
    file: 'filesystem/content/file-read.js',
    from: 'copyMemory(out.address + at + from - offset, io.edges.address + from - start, until - from)',
    to: 'copyMemory(out.address + at + from - offset, io.edges.address + from - start, until - from - 1)',
  },
  {
    what: 'a stale tail: what a truncate cut off is there again when the file grows',
    file: 'filesystem/content/file-truncate.js',
    from: 'bytes.fill(0, this.lengthBefore, this.lengthAfter)',
    to: 'bytes.fill(0, this.lengthBefore, this.lengthBefore)',
  },
  {
    what: 'a hole reads as the data that was there',
    file: 'filesystem/content/file-allocate.js',
    from: 'const before = holes.snapshot();',
    to: 'if (first < last) return done(0); const before = holes.snapshot();',
  },
  {
    what: 'a write into a hole leaves it a hole',
    file: 'filesystem/content/file-holes.js',
    from: 'this.#map.holes.remove(from, to);',
    to: 'this.#map.holes.remove(from, to - 1);',
  },
  {
    what: 'a growing truncate forgets the size',
    file: 'filesystem/content/file-truncate.js',
    from: 'this.#setBackingSize(this.size, () => this.#writeHeader(this.#succeed)',
    to: 'this.#setBackingSize(this.size - 1, () => this.#writeHeader(this.#succeed)',
  },
];

for (const { what, file, from, to } of bugs) {
  test(`planted bug: ${what}`, async (t) => {
    const copy = mkdtempSync(join(tmpdir(), 'scopefs-bug-'));
    t.teardown(() => rmSync(copy, { recursive: true, force: true }));
    for (const part of ['bin', 'dist', 'package.json']) {
      cpSync(join(project, part), join(copy, part), { recursive: true });
    }
    symlinkSync(join(project, 'node_modules'), join(copy, 'node_modules'));
    const path = join(copy, 'dist/src', file);
    const source = readFileSync(path, 'utf8');
    t.ok(source.includes(from), 'the line is there');
    writeFileSync(path, source.replace(from, to));
    const said: string[] = [];
    for (const seed of [1, 2, 3]) {
      const run = spawnSync(
        process.execPath,
        [join(copy, 'dist/native-tests/posix/random.js'), String(seed), '15000'],
        { encoding: 'utf8', timeout: 200_000, killSignal: 'SIGKILL' },
      );
      said.push(`${run.stdout}${run.status === 0 ? '' : run.stderr}`.trim());
      if (run.status !== 0) break;
    }
    t.match(said.at(-1), /seed \d, step \d+|EIO/, said.at(-1) ?? 'nothing');
  });
}
