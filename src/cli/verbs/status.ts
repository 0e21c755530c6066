import type { Verb } from '../verb.js';

const LOCKED = 3;

export const status: Verb = (program, run) => {
  program
    .command('status')
    .argument('[scope]', 'path inside the mount, or id; without one: the mount')
    .description('say whether a scope is unlocked: exit status 0 unlocked, 3 locked, 4 unknown')
    .option('-q, --quiet', 'only the exit status')
    .action(
      run(async (context, reference: string | undefined) => {
        const client = await context.client();
        if (reference === undefined) {
          const [facts, scopes] = await Promise.all([client.call('version'), client.call('scopes')]);
          const unlocked = scopes.filter((scope) => scope.state !== 'locked').length;
          context.output.result({ ...facts, scopes: scopes.length, unlocked }, () =>
            [
              `${facts.vault} on ${facts.mount}`,
              `  ${scopes.length} scopes, ${unlocked} unlocked`,
              `  daemon ${facts.version}, pid ${facts.pid}, keys in ${facts.secret_memory}`,
              `  ${facts.requests} requests, ${facts.inodes} inodes known`,
              `  longest request: ${facts.longest_request.operation}, ${facts.longest_request.milliseconds.toFixed(1)} ms`,
            ].join('\n'),
          );
          return;
        }
        const scope = await client.call('scope', { scope: reference });
        const holders = scope.open_handles > 0 ? await client.call('holders', { scope: reference }) : [];
        context.output.result({ ...scope, holders }, () => {
          const until = scope.expires === null ? '' : ` until ${scope.expires}`;
          return `${scope.path} ${scope.state}${until}, ${scope.leases} leases, ${scope.open_handles} open handles`;
        });
        if (!context.output.json) context.output.holders(holders);
        if (scope.state !== 'unlocked') context.exitStatus = LOCKED;
      }),
    );
};
