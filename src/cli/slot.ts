import type { Command } from 'commander';
import { Failure } from '../base/failure.js';
import type { Client } from '../control/client.js';
import type { SlotChangeView, SlotView } from '../control/schemas.js';
import type { SecretInput } from '../libc/memory.js';
import type { CommandContext } from './context.js';
import { newRecoveryKey } from './recovery.js';
import type { Verb } from './verbs.js';

interface With {
  with?: string;
}
interface Add extends With {
  new?: string;
  slot?: string;
  label?: string;
}

/** Runs `use` while the scope is unlocked: with a short lease of its own where `--with` names a key. */
async function unlocked<T>(
  context: CommandContext,
  client: Client,
  scope: string,
  source: string | undefined,
  use: () => Promise<T>,
): Promise<T> {
  if (source === undefined) return use();
  const input = await context.read(context.source(source), `passphrase of ${scope}`);
  let lease: string;
  try {
    lease = (await client.createLease(scope, { ttl: '5m', purpose: 'scopefs slot' }, input)).id;
  } finally {
    input.wipe();
  }
  try {
    return await use();
  } finally {
    await client.endLease(lease);
  }
}

function newSource(text: string | undefined) {
  if (text !== undefined) return text;
  throw new Failure('input_required', 'a new secret is needed', {
    hint: 'name its source: --new prompt, --new file:PATH, --new fd:N or --new -',
  });
}

const describe = (slot: SlotView): string =>
  `slot ${slot.number} (${slot.type ?? slot.status}${slot.label === null ? '' : `, ${slot.label}`})`;

function changed(context: CommandContext, what: string, change: SlotChangeView): void {
  const { slot, epoch, still_readable: old } = change;
  context.output.result(change, () =>
    [
      `${what} ${describe(slot)}: epoch ${epoch} begins`,
      `  its old secret opens nothing written from now on. With copies of vault and store made before,`,
      `  it still opens what was written before ${old.written_before} (epoch ${old.epochs.join(', ')}).`,
    ].join('\n'),
  );
}

export const slot: Verb = (program, run) => {
  const slots = program
    .command('slot')
    .description('the ways to open a scope: list, add, test, remove, rotate');
  const verb = (name: string, description: string): Command =>
    slots.command(name).description(description).argument('<scope>', 'path inside the mount, or id');
  const withOption = ['--with <src>', 'a secret that unlocks it, where it is locked'] as const;

  verb('list', 'which slots it has').action(
    run(async (context, scope: string) => {
      const found = await (await context.client()).slots(scope);
      context.output.result({ slots: found }, () =>
        context.output.table(
          ['SLOT', 'TYPE', 'LABEL', 'CREATED', 'STATUS'],
          found.map((one) => [
            String(one.number),
            one.type ?? '?',
            one.label ?? '',
            one.created ?? '?',
            one.status,
          ]),
        ),
      );
    }),
  );

  verb('add', 'add a slot')
    .option('--new <src>', 'where the new secret comes from')
    .option('--slot <type>', 'passphrase, keyfile or recovery (from the source where not given)')
    .option('--label <text>', 'a name for it')
    .option(...withOption)
    .addHelpText(
      'after',
      '\nExamples:\n  scopefs slot add users/alice --new prompt --label alice\n  scopefs slot add / --slot recovery --new prompt',
    )
    .action(
      run(async (context, scope: string, options: Add) => {
        const source = context.source(newSource(options.new));
        const type = context.slotType(source, options.slot);
        const client = await context.client();
        const input: SecretInput =
          type === 'recovery' && source.text === 'prompt'
            ? await newRecoveryKey(context, scope)
            : await context.read(source, `new passphrase of ${scope}`, true);
        try {
          const { label } = options;
          const added = await unlocked(context, client, scope, options.with, () =>
            client.addSlot(scope, { slot: type, label }, input),
          );
          context.output.result(added, () => `added ${describe(added)}`);
        } finally {
          input.wipe();
        }
      }),
    );

  verb('test', 'which slot a secret opens; nothing is unlocked')
    .option('--with <src>', 'where the secret comes from')
    .action(
      run(async (context, scope: string, options: With) => {
        const source = context.source(options.with);
        const client = await context.client();
        const input = await context.read(source, `passphrase of ${scope}`);
        try {
          const found = await client.testSlot(scope, input);
          context.output.result(found, () => `opens ${describe(found)}`);
        } finally {
          input.wipe();
        }
      }),
    );

  verb('rm', 'remove a slot: a new epoch begins, which its secret does not open')
    .argument('<slot>', 'number or label')
    .option(...withOption)
    .action(
      run(async (context, scope: string, reference: string, options: With) => {
        const client = await context.client();
        const change = await unlocked(context, client, scope, options.with, () =>
          client.removeSlot(scope, reference),
        );
        changed(context, 'removed', change);
      }),
    );

  verb('rotate', 'give a slot a new secret: a new epoch begins, which the old one does not open')
    .argument('<slot>', 'number or label')
    .option('--new <src>', 'where the new secret comes from')
    .option(...withOption)
    .action(
      run(async (context, scope: string, reference: string, options: Add) => {
        const source = context.source(newSource(options.new));
        const client = await context.client();
        const found = (await client.slots(scope)).find(
          (one) => String(one.number) === reference || one.label === reference,
        );
        const input: SecretInput =
          found?.type === 'recovery' && source.text === 'prompt'
            ? await newRecoveryKey(context, scope)
            : await context.read(source, `new passphrase of ${scope}`, true);
        try {
          const change = await unlocked(context, client, scope, options.with, () =>
            client.rotateSlot(scope, reference, input),
          );
          changed(context, 'rotated', change);
        } finally {
          input.wipe();
        }
      }),
    );
};
