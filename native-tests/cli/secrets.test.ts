import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { fails, freshVault } from '../support/failing.js';

test('secrets: too short, too long, empty, missing, unreadable, or nobody to ask', async (t) => {
  const vault = freshVault(t);
  const short = join(vault.directory, 'short');
  const target = join(vault.directory, 'new');
  writeFileSync(short, Buffer.alloc(16));
  const using = (source: string[]): string[] => ['init', target, ...source];
  fails(t, using(['--with', `file:${short}`]), 2, 'usage');
  writeFileSync(short, Buffer.alloc(4097));
  fails(t, using(['--with', `file:${short}`]), 2, 'usage');
  writeFileSync(short, '');
  fails(t, using(['--with', `file:${short}`]), 5, 'input_required', { hint: false });
  fails(t, using(['--with', `file:${target}-none`]), 5, 'input_required', { hint: false });
  fails(t, using(['--with', '-']), 5, 'input_required', { hint: false });
  fails(t, using(['--with', 'prompt']), 5, 'input_required');
  fails(t, using(['--with', 'prompt', '--no-input']), 5, 'input_required');
  fails(t, using([]), 5, 'input_required');
  fails(t, using(['--with', 'fd:77']), 5, 'input_required', { hint: false });
  const typed = fails(t, using(['--with', 'correct horse battery']), 2, 'usage');
  t.notMatch(JSON.stringify(typed), /horse/, 'a secret typed by mistake is not repeated');
  t.notOk(existsSync(target), 'none of them left anything');
});
