import type { Verb } from '../verb.js';

export const ls: Verb = (program, run) => {
  program
    .command('ls')
    .description('list scopes')
    .action(
      run(async (context) => {
        const scopes = await (await context.client()).call('scopes');
        const { output } = context;
        output.result({ scopes }, () =>
          output.table(
            ['SCOPE', 'STATE', 'LEASES', 'UNTIL', 'OPEN', 'SLOTS', 'ID'],
            scopes.map((scope) => [
              scope.path,
              scope.state,
              String(scope.leases),
              scope.expires ?? '-',
              String(scope.open_handles),
              String(scope.slots),
              scope.id,
            ]),
          ),
        );
      }),
    );
};
