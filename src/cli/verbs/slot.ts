import type { Command } from 'commander';
import { Failure } from '../../base/failure.js';
import type { SlotChangeView, SlotView } from '../../control/schemas.js';
import type { SecretInput } from '../../libc/memory.js';
import { scopeArgument, slotArgument, type With, withOption, withUnlockOption } from '../arguments.js';
import type { CommandContext } from '../context.js';
import { momentOf } from '../lease-options.js';
import { newRecoveryKey } from '../recovery.js';
import type { SecretSource } from '../secrets/secret-source.js';
import { unlocked } from '../short-lease.js';
import { newSlotOf, type SlotFlags, shareCount, sharingOf, slotFlags } from '../slot-options.js';
import type { Verb } from '../verb.js';

interface Add extends With, SlotFlags {
  new?: string;
  label?: string;
  notAfter?: string;
}

function newSource(text: string | undefined) {
  if (text !== undefined) return text;
  throw new Failure('input_required', 'a new secret is needed', {
    reason: 'source_of_new_unnamed',
  });
}

/** Calls `use` with the new secret of a slot of that type; scopefs makes recovery keys and shares itself. */
async function withNew<T>(
  context: CommandContext,
  source: SecretSource,
  type: string | null,
  count: number,
  scope: string,
  use: (input: SecretInput, sealed: string | undefined, shares: SecretInput) => Promise<T>,
): Promise<T> {
  const made: SecretSource =
    type === 'recovery' && source.text === 'prompt'
      ? { ...source, read: () => newRecoveryKey(context, scope) }
      : source;
  return context.withNewSecret(made, `new passphrase of ${scope}`, count, use);
}

const describe = (slot: SlotView): string =>
  `slot ${slot.number} (${kindOf(slot)}${slot.label === null ? '' : `, ${slot.label}`})`;
const kindOf = ({ type, status, shares, threshold, auto }: SlotView): string =>
  shares === null ? (type ?? status) + (auto ? ', auto' : '') : `${type}, ${threshold} of ${shares}`;

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
    .description('the ways to open a scope: list, add, test, remove, rotate, renew');
  const verb = (name: string, description: string): Command =>
    slots
      .command(name)
      .description(description)
      .argument(...scopeArgument);

  verb('list', 'which slots it has').action(
    run(async (context, scope: string) => {
      const found = await (await context.client()).call('slots', { scope });
      context.output.result({ slots: found }, () =>
        context.output.table(
          ['SLOT', 'TYPE', 'LABEL', 'CREATED', 'NOT AFTER', 'STATUS'],
          found.map((one) => [
            String(one.number),
            one.type === null ? '?' : kindOf(one),
            one.label ?? '',
            one.created ?? '?',
            one.not_after ?? '-',
            one.status,
          ]),
        ),
      );
    }),
  );

  slotFlags(
    verb('add', 'add a slot').option(
      '--new <src>',
      'where the new secret comes from; share:DEST: where its shares go (file:PATH, fd:N, -)',
    ),
  )
    .option('--label <text>', 'a name for it')
    .option('--not-after <time>', 'when it opens nothing any more: 2026-12-24T18:30:00Z')
    .option(...withUnlockOption)
    .addHelpText(
      'after',
      `
A split slot takes two: the server's half and a client's share, which is renewed with each unlock, so that a stolen copy of it is
worth nothing after the next. It needs a recovery slot beside it. A threshold slot takes some of several shares.

Examples:
  scopefs slot add users/alice --new prompt --label alice
  scopefs slot add / --slot recovery --new prompt
  scopefs slot add users/alice --new age:recipients.txt
  scopefs slot add users/alice/mail --new parent --auto
  scopefs slot add users/alice --slot split --new share:file:alice.share
  scopefs slot add board --slot threshold --shares 5 --threshold 3 --new share:file:board.share`,
    )
    .action(
      run(async (context, scope: string, options: Add) => {
        const source = context.source(newSource(options.new));
        const type = context.slotType(source, options.slot);
        const client = await context.client();
        const not_after = options.notAfter === undefined ? undefined : momentOf(options.notAfter);
        const { label } = options;
        const asked = { slot: type, label, not_after, ...newSlotOf(options) };
        const added = await withNew(
          context,
          source,
          type,
          shareCount(options),
          scope,
          (input, sealed, shares) =>
            unlocked(context, client, scope, options.with, () =>
              client.call('addSlot', { scope, ...asked, sealed }, input, shares),
            ),
        );
        context.output.result(added, () => `added ${describe(added)}`);
      }),
    );

  verb('test', 'which slot a secret opens; nothing is unlocked')
    .option(...withOption)
    .action(
      run(async (context, scope: string, options: With) => {
        const source = context.source(options.with);
        const client = await context.client();
        const [found] = (await context.withSecret(
          client,
          source,
          [scope],
          `passphrase of ${scope}`,
          (_scope, input, how) => client.call('testSlot', { scope, ...how }, input),
          { renew: false },
        )) as [SlotView];
        context.output.result(found, () => `opens ${describe(found)}`);
      }),
    );

  verb('rm', 'remove a slot: a new epoch begins, which its secret does not open')
    .argument(...slotArgument)
    .option(...withUnlockOption)
    .action(
      run(async (context, scope: string, reference: string, options: With) => {
        const client = await context.client();
        const change = await unlocked(context, client, scope, options.with, () =>
          client.call('removeSlot', { scope, slot: reference }),
        );
        changed(context, 'removed', change);
      }),
    );

  verb('rotate', 'give a slot a new secret: a new epoch begins, which the old one does not open')
    .argument(...slotArgument)
    .option('--new <src>', 'where the new secret comes from; share:DEST: where its shares go')
    .option('--shares <n>', 'threshold: another number of shares')
    .option('--threshold <k>', 'threshold: how many of them open it')
    .option(...withUnlockOption)
    .action(
      run(async (context, scope: string, reference: string, options: Add) => {
        const source = context.source(newSource(options.new));
        const client = await context.client();
        const found = (await client.call('slots', { scope })).find(
          (one) => String(one.number) === reference || one.label === reference,
        );
        const count = options.shares === undefined ? (found?.shares ?? 1) : shareCount(options);
        const change = await withNew(
          context,
          source,
          found?.type ?? null,
          count,
          scope,
          (input, sealed, shares) =>
            unlocked(context, client, scope, options.with, () =>
              client.call(
                'rotateSlot',
                { scope, slot: reference, sealed, ...sharingOf(options) },
                input,
                shares,
              ),
            ),
        );
        changed(context, 'rotated', change);
      }),
    );

  verb(
    'renew',
    "a split slot's next share, for its present one; unlock does it by itself with share:file:PATH",
  )
    .option('--with <src>', 'where the present share is: share:SRC')
    .option('--new <src>', 'where the next one goes: share:DEST')
    .action(
      run(async (context, scope: string, options: Add) => {
        const source = context.source(options.with);
        const to = context.source(newSource(options.new));
        if (source.share === undefined || to.share === undefined) {
          throw new Failure('usage', 'a share is renewed with a share', {
            reason: 'share_without_share',
          });
        }
        const client = await context.client();
        const input = await context.read(source, 'share');
        try {
          const slot = await context.withNewSecret(to, 'share', 1, (_input, _sealed, shares) =>
            client.call('renewShare', { scope }, input, shares),
          );
          context.output.result(slot, () => `renewed the share of ${describe(slot)}`);
        } finally {
          input.wipe();
        }
      }),
    );
};
