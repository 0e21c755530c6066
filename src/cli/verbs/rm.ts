import { createInterface } from 'node:readline/promises';
import { Failure } from '../../base/failure.js';
import { printable } from '../../base/printable.js';
import { scopeArgument } from '../arguments.js';
import { bytes } from '../output.js';
import type { Verb } from '../verb.js';

interface Options {
  shred?: boolean;
  yes?: string;
}

export const rm: Verb = (program, run) => {
  program
    .command('rm')
    .argument(...scopeArgument)
    .description('destroy a scope and its data for good, locked or not')
    .option('--shred', 'required: its slots and its data go, and nobody can bring them back')
    .option('--yes <name>', 'its path again, where nobody can be asked')
    .addHelpText('after', '\nExample:\n  scopefs rm users/alice --shred --yes=users/alice')
    .action(
      run(async (context, reference: string, options: Options) => {
        if (options.shred !== true) {
          throw new Failure('usage', 'rm destroys a scope: say so with --shred', {
            reason: { name: 'shred_unsaid', scope: reference },
          });
        }
        const client = await context.client();
        const { path, slots } = await client.call('scope', { scope: reference });
        const name = options.yes ?? (await ask(path, slots, context.options.input !== false));
        const receipt = await client.call('shred', { scope: reference, shred: '1', yes: name });
        context.output.result(receipt, () =>
          [
            `${context.output.paint('red', 'shredded')} ${printable(receipt.path)}`,
            `  slots destroyed ${receipt.slots.length}, epochs ${receipt.epochs}`,
            `  files unlinked ${receipt.files_unlinked}, ${bytes(receipt.bytes_unlinked)}`,
            'What still opens it:',
            ...receipt.still_opens.map((line) => `  - ${line}`),
          ].join('\n'),
        );
      }),
    );
};

async function ask(path: string, slots: number, allowed: boolean): Promise<string> {
  if (!allowed || process.stdin.isTTY !== true) {
    throw new Failure('input_required', 'destroying a scope is to be confirmed', {
      reason: { name: 'shred_unconfirmed', path },
    });
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(
      `${path} and all its data will be gone for good, with its ${slots} slots.\nType its path to go on: `,
    );
  } finally {
    lines.close();
  }
}
