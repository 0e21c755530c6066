import { printable } from '../../base/printable.js';
import { type SlotFlags, shareCount, sharingOf, slotFlags } from '../slot-options.js';
import type { Verb } from '../verb.js';

interface Options extends SlotFlags {
  with?: string;
}

export const create: Verb = (program, run) => {
  const command = program
    .command('create')
    .argument('<scope>', 'path inside the mount')
    .description('make a new scope: a directory with a key of its own, left unlocked')
    .option('--with <src>', 'where its secret comes from; with share:DEST, where its shares go');
  slotFlags(command)
    .addHelpText(
      'after',
      '\nExamples:\n  scopefs create users/alice --with prompt\n  scopefs create board --slot threshold --shares 5 --threshold 3 --with share:file:board.share',
    )
    .action(
      run(async (context, path: string, options: Options) => {
        const source = context.source(options.with);
        const slot = context.slotType(source, options.slot);
        const client = await context.client();
        const scope = await context.withNewSecret(
          source,
          `passphrase of ${path}`,
          shareCount(options),
          (input, sealed, shares) =>
            client.call('createScope', { path, slot, sealed, ...sharingOf(options) }, input, shares),
        );
        context.output.result(scope, () => `created ${printable(scope.path)} (${scope.state})`);
      }),
    );
};
