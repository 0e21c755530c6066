import { printable } from '../../base/printable.js';
import { Client } from '../../control/client/client.js';
import type { LiveDaemon } from '../../daemon/live-daemons.js';
import type { CommandContext } from '../context.js';
import { findDaemon } from '../host.js';
import type { Verb } from '../verb.js';

const LOCKED = 3;

/** Whom to ask. Undefined: several vaults are mounted and none is named, so they are the answer. */
export async function clientOrList(context: CommandContext): Promise<Client | undefined> {
  const live = await findDaemon(context.options.host, context.timeout);
  if (live instanceof Client) return live;
  const daemons = live.map(({ socket, facts }) => ({ ...facts, socket }));
  context.output.result({ daemons }, () => table(context, live));
  context.output.note('name one for its scopes: scopefs ls -H MOUNT');
  return undefined;
}

const table = ({ output }: CommandContext, live: readonly LiveDaemon[]): string =>
  output.table(
    ['MOUNT', 'VAULT', 'PID', 'SOCKET'],
    live.map(({ socket, facts }) => [
      facts.detached ? `${facts.mount} (taken away)` : facts.mount,
      facts.vault,
      String(facts.pid),
      socket,
    ]),
  );

export const status: Verb = (program, run) => {
  program
    .command('status')
    .argument(
      '[scope]',
      'path inside the mount, or id; without one: the mount, or all where there are several',
    )
    .description('say whether a scope is unlocked: exit status 0 unlocked, 3 locked, 4 unknown')
    .option('-q, --quiet', 'only the exit status')
    .action(
      run(async (context, reference: string | undefined) => {
        if (reference === undefined) {
          const only = await clientOrList(context);
          if (only !== undefined) await sayMount(context, only);
          return;
        }
        const client = await context.client();
        const scope = await client.call('scope', { scope: reference });
        const holders = scope.open_handles > 0 ? await client.call('holders', { scope: reference }) : [];
        context.output.result({ ...scope, holders }, () => {
          const until = scope.expires === null ? '' : ` until ${scope.expires}`;
          return `${printable(scope.path)} ${scope.state}${until}, ${scope.leases} leases, ${scope.open_handles} open handles`;
        });
        if (!context.output.json) context.output.holders(holders);
        if (scope.state !== 'unlocked') context.exitStatus = LOCKED;
      }),
    );
};

async function sayMount(context: CommandContext, client: Client): Promise<void> {
  const [facts, scopes] = await Promise.all([client.call('version'), client.call('scopes')]);
  const unlocked = scopes.filter((scope) => scope.state !== 'locked').length;
  context.output.result({ ...facts, scopes: scopes.length, unlocked }, () =>
    [
      `${facts.vault} on ${facts.mount}${facts.detached ? ', taken away from there: locked, and ends with its last user' : ''}`,
      ...(facts.read_only ? ['  read-only: nothing of the vault is written'] : []),
      `  ${scopes.length} scopes, ${unlocked} unlocked`,
      `  daemon ${facts.version}, pid ${facts.pid}, keys in ${facts.secret_memory}`,
      `  ${facts.requests} requests, ${facts.inodes} inodes known`,
      `  longest request: ${facts.longest_request.operation}, ${facts.longest_request.milliseconds.toFixed(1)} ms`,
    ].join('\n'),
  );
}
