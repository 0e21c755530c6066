import type { Command } from 'commander';
import type { SecretOptions } from '../control/client/client.js';

/** How the secret of a new slot is made, as commander gives it. */
export interface SlotFlags {
  slot?: string;
  shares?: string;
  threshold?: string;
}

export function slotFlags(command: Command): Command {
  return command
    .option(
      '--slot <type>',
      'passphrase, keyfile, recovery, split, threshold, age, cmd or parent (from the source where not given)',
    )
    .option('--shares <n>', 'threshold: how many shares there are')
    .option('--threshold <k>', 'threshold: how many of them open it');
}

export const sharingOf = ({ shares, threshold }: SlotFlags): SecretOptions => ({ shares, threshold });
/** How many shares go out. */
export const shareCount = ({ shares }: SlotFlags): number =>
  shares === undefined ? 1 : Math.floor(Number(shares)) || 1;
