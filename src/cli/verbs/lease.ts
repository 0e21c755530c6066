import { parseDuration } from '../../base/duration.js';
import { Failure } from '../../base/failure.js';
import type { LeaseView } from '../../control/schemas.js';
import type { CommandContext } from '../context.js';
import type { Verb } from '../verb.js';

const endsWith = ({ bound_to: bound, idle_seconds: idle, budget }: LeaseView): string =>
  [
    ...bound,
    ...(idle === null ? [] : [`${idle} s idle`]),
    ...(budget?.over === 'lock' ? ['its budget'] : []),
  ].join(', ') || '-';

const holder = ({ holder: { uid, pid, command, unit } }: LeaseView): string =>
  `${command ?? '?'} (uid ${uid}, pid ${pid}${unit === null ? '' : `, ${unit}`})`;

function table(context: CommandContext, leases: readonly LeaseView[]): string {
  return context.output.table(
    ['SCOPE', 'UNTIL', 'ENDS WITH', 'VISIBLE TO', 'HOLDER', 'PURPOSE', 'ID'],
    leases.map((lease) => [
      lease.path,
      lease.expires ?? '-',
      endsWith(lease),
      `${lease.visible_to}${lease.read_only ? ', read-only' : ''}`,
      holder(lease),
      lease.purpose,
      lease.id,
    ]),
  );
}

export const lease: Verb = (program, run) => {
  const verb = program.command('lease').description('why scopes are unlocked, and until when');
  verb
    .command('list')
    .description('all leases')
    .action(
      run(async (context) => {
        const leases = await (await context.client()).call('leases');
        context.output.result({ leases }, () => table(context, leases));
      }),
    );
  verb
    .command('show')
    .argument('<lease>', 'its id')
    .description('one lease')
    .action(
      run(async (context, id: string) => {
        const found = await (await context.client()).call('lease', { lease: id });
        context.output.result(found, () => table(context, [found]));
      }),
    );
  for (const [name, what] of [
    ['renew', 'give a lease a later end'],
    ['shorten', 'give a lease an earlier end'],
  ] as const) {
    verb
      .command(name)
      .argument('<lease>', 'its id')
      .description(what)
      .requiredOption('--ttl <duration>', 'from now: 30s, 15m, 2h, 1d')
      .action(
        run(async (context, id: string, options: { ttl: string }) => {
          const client = await context.client();
          const left =
            (await client.call('lease', { lease: id })).expires_seconds ?? Number.POSITIVE_INFINITY;
          const later = parseDuration(options.ttl) / 1000 > left;
          // What is meant to close something sooner must not keep it open.
          if (later !== (name === 'renew')) {
            throw new Failure('conflict', `it ends ${later ? 'sooner' : 'later'} than that`, {
              reason: { name: 'lease_end_misdirected', verb: later ? 'renew' : 'shorten' },
            });
          }
          const changed = await client.call('changeLease', { lease: id, ttl: options.ttl });
          context.output.result(changed, () => table(context, [changed]));
        }),
      );
  }
  verb
    .command('revoke')
    .argument('<lease...>', 'their ids')
    .description('end leases; the last one of a scope locks it')
    .action(
      run(async (context, ids: string[]) => {
        const client = await context.client();
        const receipts = [];
        for (const id of ids) {
          receipts.push(...(await client.call('endLease', { lease: id })));
        }
        context.output.receipts(receipts);
      }),
    );
};
