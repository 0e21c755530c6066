import { randomFillSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Failure } from '../../base/failure.js';
import { SecretInput } from '../../libc/memory.js';

const SECRET_BYTES = 32;

/** The lines of an age file of identities or recipients. */
function linesOf(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'latin1');
  } catch (error) {
    throw new Failure('input_required', `${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (lines.length > 0 && lines.every((line) => /^(AGE-SECRET-KEY-|age1)[A-Za-z0-9-]+$/.test(line)))
    return lines;
  throw new Failure('usage', `${path} is not a file of age identities or recipients`, {
    reason: 'age_file_form',
  });
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** A new slot's secret, and it as an age file for the recipients (or the identities') of a file. */
export async function sealForAge(path: string): Promise<{ input: SecretInput; sealed: string }> {
  const { Encrypter, identityToRecipient } = await import('age-encryption');
  const encrypter = new Encrypter();
  for (const line of linesOf(path)) {
    try {
      encrypter.addRecipient(line.startsWith('age1') ? line : await identityToRecipient(line));
    } catch {
      throw new Failure('usage', `${path} has a line that age does not take`);
    }
  }
  const secret = randomFillSync(Buffer.alloc(SECRET_BYTES));
  const sealed = base64(await encrypter.encrypt(secret));
  const input = new SecretInput();
  input.append(secret);
  return { input, sealed };
}

/**
 * The secret of one of a scope's age slots, by the identities of a file. They and the secret pass through the heap of this
 * process, which is short-lived; the daemon never sees an identity.
 */
export async function openWithAge(path: string, sealed: readonly string[]): Promise<SecretInput> {
  const { Decrypter } = await import('age-encryption');
  const decrypter = new Decrypter();
  const identities = linesOf(path).filter((line) => !line.startsWith('age1'));
  if (identities.length === 0) {
    throw new Failure('input_required', `${path} has recipients only`, {
      reason: 'age_recipients_only',
    });
  }
  try {
    for (const identity of identities) decrypter.addIdentity(identity);
  } catch {
    throw new Failure('usage', `${path} has a line that age does not take`);
  }
  for (const one of sealed) {
    try {
      const { buffer, byteOffset, length } = await decrypter.decrypt(Buffer.from(one, 'base64'));
      const input = new SecretInput();
      // Overwritten there.
      input.append(Buffer.from(buffer, byteOffset, length));
      return input;
    } catch {
      // For others.
    }
  }
  throw new Failure('bad_key', `no age slot is for the identities in ${path}`, {
    reason: 'age_identity_unfit',
  });
}
