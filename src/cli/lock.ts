import { Failure } from '../base/failure.js';
import type { ReceiptView } from '../control/schemas.js';
import type { Verb } from './verbs.js';

interface Options {
  all?: boolean;
  wait?: string;
  reason?: string;
}

export const lock: Verb = (program, run) => {
  program
    .command('lock')
    .argument('[scope...]', 'paths inside the mount, or ids')
    .description('lock scopes and all below them; prints what was done')
    .option('-a, --all', 'lock every scope, the root scope too')
    .option('--wait <duration>', 'at most so long to write back what is dirty (default 10s)')
    .option('--reason <text>', 'kept in the receipt')
    .action(
      run(async (context, scopes: string[], options: Options) => {
        if (scopes.length > 0 === (options.all === true)) {
          throw new Failure('usage', 'name scopes, or use --all', { hint: 'scopefs ls lists them' });
        }
        const client = await context.client();
        const how = { reason: options.reason, wait: options.wait };
        const receipts: ReceiptView[] = options.all === true ? await client.lockAll(how) : [];
        try {
          for (const scope of scopes) receipts.push(...(await client.lock(scope, how)));
        } finally {
          // What was locked is said also where a later one failed.
          if (receipts.length > 0 || options.all === true) context.output.receipts(receipts);
        }
        if (receipts.length === 0 && options.all !== true) context.output.receipts(receipts);
      }),
    );
};
