import { Failure } from '../base/failure.js';
import type { CommandContext } from './context.js';
import type { SecretSource } from './secret-source.js';

/** Of the root scope, which is opened before there is a daemon that knows of its slots. */
export function rootSource(context: CommandContext, text: string | undefined): SecretSource {
  const source = context.source(text);
  if (!['age', 'parent', 'split'].includes(source.impliedSlot)) return source;
  throw new Failure(
    'usage',
    `a mount can't open the root scope with ${source.share === undefined ? source.impliedSlot : 'a share'}`,
    {
      hint: 'use a passphrase, a key file, a recovery key or cmd:/PROGRAM',
    },
  );
}
