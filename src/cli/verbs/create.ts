import { printable } from '../../base/printable.js';
import { lastingLeaseOptions } from '../lease-options.js';
import { newSlotOf, type SlotFlags, shareCount, slotFlags } from '../slot-options.js';
import type { Verb } from '../verb.js';

interface Options extends SlotFlags {
  with?: string;
  ttl?: string;
  idle?: string;
  until?: string;
  visibleTo?: string;
}

export const create: Verb = (program, run) => {
  const command = program
    .command('create')
    .argument('<scope>', 'path inside the mount')
    .description('make a new scope: a directory with a key of its own, left unlocked')
    .option('--with <src>', 'where its secret comes from; with share:DEST, where its shares go');
  slotFlags(command)
    .option('--ttl <duration>', 'lock it again after this time')
    .option('--idle <duration>', 'lock it after so long without an open file or an operation')
    .option('--until <time>', 'lock it then: 18:30, or RFC 3339')
    .option('--visible-to <callers>', 'for whom it is left unlocked: as unlock has it')
    .addHelpText(
      'after',
      '\nExamples:\n  scopefs create users/alice --with prompt\n  scopefs create users/public --with parent --auto\n  scopefs create board --slot threshold --shares 5 --threshold 3 --with share:file:board.share',
    )
    .action(
      run(async (context, path: string, options: Options) => {
        const source = context.source(options.with);
        const slot = context.slotType(source, options.slot);
        const { ttl, idle, until, visible_to } = lastingLeaseOptions(options);
        const lease = { ttl, idle, until, visible_to };
        const client = await context.client();
        const scope = await context.withNewSecret(
          source,
          `passphrase of ${path}`,
          shareCount(options),
          (input, sealed, shares) =>
            client.call(
              'createScope',
              { path, slot, sealed, ...newSlotOf(options), ...lease },
              input,
              shares,
            ),
        );
        context.output.result(scope, () => `created ${printable(scope.path)} (${scope.state})`);
      }),
    );
};
