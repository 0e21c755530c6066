import type { Command } from 'commander';
import { Failure } from '../base/failure.js';
import type { Client } from '../control/client.js';
import type { SlotChangeView, SlotView } from '../control/schemas.js';
import type { SecretInput } from '../libc/memory.js';
import type { CommandContext } from './context.js';
import { momentOf } from './lease-options.js';
import { newRecoveryKey } from './recovery.js';
import type { SecretSource } from './secret-source.js';
import type { Verb } from './verbs.js';

interface With {
  with?: string;
}
interface Add extends With {
  new?: string;
  slot?: string;
  label?: string;
  notAfter?: string;
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
  const asked = { ttl: '5m', purpose: 'scopefs slot' };
  const [lease] = await context.withSecret(
    client,
    context.source(source),
    [scope],
    `passphrase of ${scope}`,
    async (_scope, input, how) => (await client.createLease(scope, { ...asked, ...how }, input)).id,
  );
  try {
    return await use();
  } finally {
    await client.endLease(lease as string);
  }
}

function newSource(text: string | undefined) {
  if (text !== undefined) return text;
  throw new Failure('input_required', 'a new secret is needed', {
    hint: 'name its source: --new prompt, --new file:PATH, --new fd:N or --new -',
  });
}

/** A new secret of a slot of that type; scopefs makes recovery keys itself. */
async function newSecret(
  context: CommandContext,
  source: SecretSource,
  type: string | null,
  scope: string,
): Promise<{ input: SecretInput; sealed?: string }> {
  if (type === 'recovery' && source.text === 'prompt') return { input: await newRecoveryKey(context, scope) };
  return context.newSecret(source, `new passphrase of ${scope}`);
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
          ['SLOT', 'TYPE', 'LABEL', 'CREATED', 'NOT AFTER', 'STATUS'],
          found.map((one) => [
            String(one.number),
            one.type ?? '?',
            one.label ?? '',
            one.created ?? '?',
            one.not_after ?? '-',
            one.status,
          ]),
        ),
      );
    }),
  );

  verb('add', 'add a slot')
    .option('--new <src>', 'where the new secret comes from')
    .option(
      '--slot <type>',
      'passphrase, keyfile, recovery, age, cmd or parent (from the source where not given)',
    )
    .option('--label <text>', 'a name for it')
    .option('--not-after <time>', 'when it opens nothing any more: 2026-12-24T18:30:00Z')
    .option(...withOption)
    .addHelpText(
      'after',
      '\nExamples:\n  scopefs slot add users/alice --new prompt --label alice\n  scopefs slot add / --slot recovery --new prompt\n  scopefs slot add users/alice --new age:recipients.txt\n  scopefs slot add users/alice/mail --new parent',
    )
    .action(
      run(async (context, scope: string, options: Add) => {
        const source = context.source(newSource(options.new));
        const type = context.slotType(source, options.slot);
        const client = await context.client();
        const not_after = options.notAfter === undefined ? undefined : momentOf(options.notAfter);
        const { input, sealed } = await newSecret(context, source, type, scope);
        try {
          const { label } = options;
          const added = await unlocked(context, client, scope, options.with, () =>
            client.addSlot(scope, { slot: type, label, not_after, sealed }, input),
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
        const [found] = (await context.withSecret(
          client,
          source,
          [scope],
          `passphrase of ${scope}`,
          (_scope, input, how) => client.testSlot(scope, input, how),
        )) as [SlotView];
        context.output.result(found, () => `opens ${describe(found)}`);
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
        const { input, sealed } = await newSecret(context, source, found?.type ?? null, scope);
        try {
          const change = await unlocked(context, client, scope, options.with, () =>
            client.rotateSlot(scope, reference, input, { sealed }),
          );
          changed(context, 'rotated', change);
        } finally {
          input.wipe();
        }
      }),
    );
};
