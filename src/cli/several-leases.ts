import { Failure } from '../base/failure.js';
import type { Client, Whence } from '../control/client/client.js';
import type { SecretInput } from '../libc/memory.js';
import type { CommandContext } from './context.js';
import type { SecretSource } from './secrets/secret-source.js';

export interface SkippedScope {
  readonly scope: string;
  readonly why: string;
}

/**
 * Leases over several scopes: all or none, but for scopes that are busy where `skipBusy` leaves those out; one at least. What
 * was opened is withdrawn then, so that no use of a slot is counted.
 */
export async function openAll<T>(
  context: CommandContext,
  { client, source, scopes, skipBusy }: Asked,
  open: (scope: string, input: SecretInput, how: Whence) => Promise<T>,
  idOf: (opened: T) => string,
): Promise<{ opened: T[]; skipped: SkippedScope[] }> {
  const opened: T[] = [];
  const skipped: SkippedScope[] = [];
  let busy: Failure | undefined;
  try {
    await context.withSecret(client, source, scopes, 'passphrase', async (scope, input, how) => {
      try {
        opened.push(await open(scope, input, how));
      } catch (error) {
        if (!skipBusy || !(error instanceof Failure) || error.code !== 'busy') throw error;
        busy = error;
        skipped.push({ scope, why: error.message });
      }
    });
    if (opened.length === 0 && busy !== undefined) throw busy;
  } catch (error) {
    for (const one of opened)
      await client.call('endLease', { lease: idOf(one), withdrawn: '1' }).catch(() => {});
    if (scopes.length > 1) context.output.note('none of the scopes was unlocked');
    throw error;
  }
  for (const { scope, why } of skipped) context.output.note(`skipped ${scope}: ${why}`);
  return { opened, skipped };
}

interface Asked {
  readonly client: Client;
  readonly source: SecretSource;
  readonly scopes: readonly string[];
  readonly skipBusy: boolean;
}

export const skipBusyOption = ['--skip-busy', 'go on without scopes that are busy, and say which'] as const;
