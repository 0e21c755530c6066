import { Failure } from '../base/failure.js';
import { RECOVERY_TEXT_BYTES, writeRecoveryText } from '../keyring/slots/recovery-text.js';
import { pinned, randomFill, SecretInput } from '../libc/memory.js';
import type { CommandContext } from './context.js';
import { secretSource } from './secrets/secret-source.js';

/** Makes a recovery key, shows it once and has it typed back: a key that was not noted down opens nothing. */
export async function newRecoveryKey(context: CommandContext, what: string): Promise<SecretInput> {
  if (context.options.input === false || !process.stdin.isTTY || !process.stderr.isTTY) {
    throw new Failure('input_required', 'a new recovery key is shown on a terminal and typed back', {
      reason: 'recovery_needs_terminal',
    });
  }
  const key = pinned(32);
  const text = Buffer.alloc(RECOVERY_TEXT_BYTES);
  randomFill(key.address, 32);
  writeRecoveryText(key.bytes, text);
  key.bytes.fill(0);
  const shown = new SecretInput();
  process.stderr.write(`Recovery key of ${what}. Write it down; it is not shown again:\n\n    `);
  // Written and wiped: not a string, which would stay in the heap.
  await new Promise<void>((resolve) => process.stderr.write(text, () => resolve()));
  process.stderr.write('\n\n');
  shown.append(text);
  const typed = await context.read(secretSource('prompt'), 'type it back');
  const [expected, given] = [compact(shown), compact(typed)];
  shown.wipe();
  if (expected.equals(given)) {
    expected.fill(0);
    given.fill(0);
    return typed;
  }
  expected.fill(0);
  given.fill(0);
  typed.wipe();
  throw new Failure('usage', 'that is not the recovery key that was shown', {
    reason: 'recovery_mistyped',
  });
}

/** The letters alone, in small. */
function compact(input: SecretInput): Buffer {
  const bytes = Buffer.alloc(input.length);
  let length = 0;
  for (const byte of input.view) {
    if (byte > 0x40) bytes[length++] = byte | 0x20;
  }
  return bytes.subarray(0, length);
}
