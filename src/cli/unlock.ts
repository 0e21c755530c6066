import type { LeaseView } from '../control/schemas.js';
import type { Verb } from './verbs.js';

interface Options {
  with?: string;
  ttl?: string;
  purpose?: string;
}

export const unlock: Verb = (program, run) => {
  program
    .command('unlock')
    .argument('<scope...>', 'paths inside the mount, or ids')
    .description('unlock scopes: each gets a lease')
    .option('--with <src>', 'where the secret comes from')
    .option('--ttl <duration>', 'lock again after this time: 30s, 15m, 2h, 1d')
    .option('--purpose <text>', 'what for: leases and the audit show it')
    .addHelpText('after', '\nExample:\n  scopefs unlock users/alice --with prompt --ttl 15m')
    .action(
      run(async (context, scopes: string[], options: Options) => {
        const source = context.source(options.with);
        const client = await context.client();
        const input = await context.read(source, 'passphrase');
        const leases: LeaseView[] = [];
        try {
          for (const scope of scopes) {
            leases.push(
              await client.createLease(scope, { ttl: options.ttl, purpose: options.purpose }, input),
            );
          }
        } finally {
          input.wipe();
        }
        context.output.result({ leases }, () =>
          leases
            .map(({ path, expires_seconds: left }) =>
              left === null ? `unlocked ${path}` : `unlocked ${path} for ${Math.round(left)} s`,
            )
            .join('\n'),
        );
      }),
    );
};
