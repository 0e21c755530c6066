import { printable } from '../../base/printable.js';
import { SCOPES, type With, withOption } from '../arguments.js';
import { type LeaseFlags, lastingLeaseOptions, leaseFlags } from '../lease-options.js';
import { openAll, skipBusyOption } from '../several-leases.js';
import type { Verb } from '../verb.js';

interface Options extends LeaseFlags, With {
  skipBusy?: boolean;
}

export const unlock: Verb = (program, run) => {
  const command = program
    .command('unlock')
    .argument('<scope...>', SCOPES)
    .description('unlock scopes, all or none: each gets a lease')
    .option(...withOption);
  leaseFlags(command)
    .option('--pid <pid>', 'lock when that process ends; self: what runs scopefs')
    .option(
      '--visible-to <callers>',
      'any (as without it), or some of uid:N,gid:N,tree:PID|self,cgroup:PATH,unit:NAME',
    )
    .option(...skipBusyOption)
    .addHelpText(
      'after',
      `
To callers whom it is not visible to the scope is as if it were locked. All leases of a scope are visible to the same
and all are read-only, or none: another kind is refused (8) until the scope was locked. self is the program that runs scopefs.

Examples:
  scopefs unlock users/alice --with prompt --ttl 15m
  scopefs unlock users/alice --with file:key --visible-to unit:mail.service --idle 10m --budget files:1000,per:hour`,
    )
    .action(
      run(async (context, scopes: string[], options: Options) => {
        const source = context.source(options.with);
        const asked = lastingLeaseOptions(options);
        const client = await context.client();
        const { opened, skipped } = await openAll(
          context,
          { client, source, scopes, skipBusy: options.skipBusy === true },
          (scope, input, how) => client.call('createLease', { scope, ...asked, ...how }, input),
          ({ id }) => id,
        );
        context.output.result({ leases: opened, skipped }, () =>
          opened
            .map(({ path, expires_seconds: left }) =>
              left === null
                ? `unlocked ${printable(path)}`
                : `unlocked ${printable(path)} for ${Math.round(left)} s`,
            )
            .join('\n'),
        );
      }),
    );
};
