import type { Client } from '../control/client/client.js';
import type { CommandContext } from './context.js';

/** Runs `use` while the scope is unlocked: with a short lease of its own where `--with` names a key. */
export async function unlocked<T>(
  context: CommandContext,
  client: Client,
  scope: string,
  source: string | undefined,
  use: () => Promise<T>,
): Promise<T> {
  if (source === undefined) return use();
  const asked = { ttl: '5m', purpose: 'scopefs' };
  const [lease] = await context.withSecret(
    client,
    context.source(source),
    [scope],
    `passphrase of ${scope}`,
    async (_scope, input, how) => (await client.call('createLease', { scope, ...asked, ...how }, input)).id,
  );
  try {
    return await use();
  } finally {
    await client.call('endLease', { lease: lease as string });
  }
}
