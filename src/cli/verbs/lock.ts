import { Failure } from '../../base/failure.js';
import type { Client } from '../../control/client/client.js';
import type { ReceiptView } from '../../control/schemas.js';
import { SCOPES } from '../arguments.js';
import type { CommandContext } from '../context.js';
import type { Verb } from '../verb.js';

interface Options {
  all?: boolean;
  wait?: string;
  failIfBusy?: boolean;
  reason?: string;
}

const flag = (given: boolean | undefined): '1' | undefined => (given === true ? '1' : undefined);

/** Names the processes that are waited for. */
async function sayWhoUses(
  { output }: CommandContext,
  client: Client,
  scopes: readonly string[],
  wait: string,
): Promise<void> {
  if (output.json) return;
  for (const scope of scopes.length === 0 ? ['/'] : scopes) {
    const holders = await client.call('holders', { scope });
    if (holders.length === 0) continue;
    output.note(`waiting up to ${wait} for those who use ${scope}:`);
    output.holders(holders);
  }
}

export const lock: Verb = (program, run) => {
  program
    .command('lock')
    .argument('[scope...]', SCOPES)
    .description('lock scopes and all below them; prints what was done')
    .option('-a, --all', 'lock every scope at once: keys go before anything is written back')
    .option(
      '--wait <duration>',
      'first wait until nothing is open, so long at most; give no leases meanwhile',
    )
    .option('--fail-if-busy', 'lock nothing where something is open (then): exit status 7, and who has it')
    .option('--reason <text>', 'kept in the receipt')
    .action(
      run(async (context, scopes: string[], options: Options) => {
        if (scopes.length > 0 === (options.all === true)) {
          throw new Failure('usage', 'name scopes, or use --all', { reason: 'lock_without_scopes' });
        }
        const client = await context.client();
        const how = { reason: options.reason, wait: options.wait, fail_if_busy: flag(options.failIfBusy) };
        if (options.wait !== undefined) await sayWhoUses(context, client, scopes, options.wait);
        const receipts: ReceiptView[] = options.all === true ? await client.call('lockAll', how) : [];
        try {
          for (const scope of scopes) receipts.push(...(await client.call('lock', { scope, ...how })));
        } finally {
          // What was locked is said also where a later one failed.
          if (receipts.length > 0 || options.all === true) context.output.receipts(receipts);
        }
        if (receipts.length === 0 && options.all !== true) context.output.receipts(receipts);
      }),
    );
};
