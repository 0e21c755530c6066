import type { Verb } from './verbs.js';

export const create: Verb = (program, run) => {
  program
    .command('create')
    .argument('<scope>', 'path inside the mount')
    .description('make a new scope: a directory with a key of its own, left unlocked')
    .option('--with <src>', 'where its secret comes from')
    .option(
      '--slot <type>',
      'passphrase, keyfile, recovery, age, cmd or parent (from the source where not given)',
    )
    .addHelpText('after', '\nExample:\n  scopefs create users/alice --with prompt')
    .action(
      run(async (context, path: string, options: { with?: string; slot?: string }) => {
        const source = context.source(options.with);
        const slot = context.slotType(source, options.slot);
        const client = await context.client();
        const { input, sealed } = await context.newSecret(source, `passphrase of ${path}`);
        try {
          const scope = await client.createScope(path, { slot, sealed }, input);
          context.output.result(scope, () => `created ${scope.path} (${scope.state})`);
        } finally {
          input.wipe();
        }
      }),
    );
};
