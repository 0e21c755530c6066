import type { Command } from 'commander';
import { localZone } from '../../keyring/slots/windows.js';
import { scopeArgument, slotArgument, type With, withUnlockOption } from '../arguments.js';
import { unlocked } from '../short-lease.js';
import type { Verb } from '../verb.js';

interface Options extends With {
  at: string;
  for: string;
  days?: string;
  zone?: string;
  uses?: string;
}

/** As the API has it (control/route-schemas.ts); the time zone is this machine's unless one is named. */
function windowOf({ at, for: length, days, zone, uses }: Options): string {
  const parts = { at, for: length, days, zone: zone ?? localZone(), uses };
  return Object.entries(parts)
    .flatMap(([key, value]) => (value === undefined ? [] : [`${key}:${value}`]))
    .join(',');
}

export const window: Verb = (program, run) => {
  const windows = program.command('window').description('when slots may be used: list, set, remove');
  const verb = (name: string, description: string): Command =>
    windows
      .command(name)
      .description(description)
      .argument(...scopeArgument);

  verb('list', 'which of its slots have one').action(
    run(async (context, scope: string) => {
      const slots = (await (await context.client()).call('slots', { scope })).filter(
        (one) => one.window !== null,
      );
      context.output.result({ slots }, () =>
        context.output.table(
          ['SLOT', 'LABEL', 'WINDOW'],
          slots.map((one) => [String(one.number), one.label ?? '', one.window ?? '']),
        ),
      );
    }),
  );

  verb(
    'set',
    'let a slot open it at certain times alone; what it opened then is locked when the window closes',
  )
    .argument(...slotArgument)
    .requiredOption('--at <time>', 'when it opens: 02:00')
    .requiredOption('--for <length>', 'how long it is open: 15m, 2h')
    .option('--days <days>', 'mon-fri, or sat+sun; every day without it')
    .option('--zone <name>', 'time zone: Europe/Berlin; the one of this machine without it')
    .option('--uses <n>', 'how often it may be used each time')
    .option(...withUnlockOption)
    .addHelpText(
      'after',
      `
The daemon keeps to it, by this machine's clock; whoever has the slot's secret and a copy of vault and store needs no daemon.
Where the clock is set forward over the time it opens as much later, where it comes twice the first time.

Example:
  scopefs window set users/alice backup --at 02:00 --for 15m --uses 1`,
    )
    .action(
      run(async (context, scope: string, slot: string, options: Options) => {
        const client = await context.client();
        const changed = await unlocked(context, client, scope, options.with, () =>
          client.call('setWindow', { scope, slot, window: windowOf(options) }),
        );
        context.output.result(changed, () => `slot ${changed.number} may be used ${changed.window}`);
      }),
    );

  verb('rm', 'let a slot open it at any time')
    .argument(...slotArgument)
    .option(...withUnlockOption)
    .action(
      run(async (context, scope: string, slot: string, options: With) => {
        const client = await context.client();
        const changed = await unlocked(context, client, scope, options.with, () =>
          client.call('setWindow', { scope, slot }),
        );
        context.output.result(changed, () => `slot ${changed.number} may be used at any time`);
      }),
    );
};
