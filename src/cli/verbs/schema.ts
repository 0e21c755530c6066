import { Failure } from '../../base/failure.js';
import type { Verb } from '../verb.js';

export const schema: Verb = (program, run) => {
  program
    .command('schema')
    .argument('[verb...]', 'one verb only, as "slot list"; "failure" is what each prints when it fails')
    .description('print the JSON Schema of what verbs print with --json')
    .action(
      run(async (_context, words: string[]) => {
        // The one verb that needs the schemas: they are a third of a command's start.
        const { resultSchemas } = await import('../../control/results.js');
        const all = resultSchemas();
        const verb = words.join(' ');
        const one = verb === '' ? all : all[verb];
        if (one === undefined) {
          throw new Failure('not_found', `no verb ${verb} prints JSON`, {
            reason: { name: 'verb_without_json', verbs: Object.keys(all) },
          });
        }
        process.stdout.write(`${JSON.stringify(one, null, 2)}\n`);
      }),
    );
};
