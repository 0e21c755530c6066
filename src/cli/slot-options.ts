import type { Command } from 'commander';
import type { SecretOptions } from '../control/client/client.js';

/** How the secret of a new slot is made, as commander gives it. */
export interface SlotFlags {
  slot?: string;
  shares?: string;
  threshold?: string;
  auto?: boolean;
}

export function slotFlags(command: Command): Command {
  return command
    .option(
      '--slot <type>',
      'passphrase, keyfile, recovery, split, threshold, age, cmd or parent (from the source where not given)',
    )
    .option('--shares <n>', 'threshold: how many shares there are')
    .option('--threshold <k>', 'threshold: how many of them open it')
    .option('--auto', 'parent: open it whenever its parent is opened, until that is locked');
}

export const sharingOf = ({ shares, threshold }: SlotFlags): SecretOptions => ({ shares, threshold });
/** As {@link sharingOf}, of a slot that is added. */
export const newSlotOf = (flags: SlotFlags): SecretOptions & { auto: '1' | undefined } => ({
  ...sharingOf(flags),
  auto: flags.auto === true ? '1' : undefined,
});
/** How many shares go out. */
export const shareCount = ({ shares }: SlotFlags): number =>
  shares === undefined ? 1 : Math.floor(Number(shares)) || 1;
