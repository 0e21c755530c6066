import type { Verb } from '../verb.js';
import { clientOrList } from './status.js';

export const ls: Verb = (program, run) => {
  program
    .command('ls')
    .description('list scopes; where several vaults are mounted and none is named, these')
    .action(
      run(async (context) => {
        const client = await clientOrList(context);
        if (client === undefined) return;
        const scopes = await client.call('scopes');
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
