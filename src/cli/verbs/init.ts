import { Failure } from '../../base/failure.js';
import { defaultSuite, suiteNames } from '../../crypto/suites.js';
import { hasShares, slotKinds } from '../../keyring/slots/slot-kinds.js';
import { type SlotType, slotTypes } from '../../store/rows.js';
import type { Verb } from '../verb.js';

interface Options {
  with?: string;
  slot?: string;
  suite?: string;
  chunkSize: string;
  store?: string;
}

/** `16K`, `1M` or plain bytes. */
export function parseSize(text: string): number {
  const match = /^(\d{1,9})([KM]?)$/.exec(text);
  if (match === null) throw new Failure('usage', `not a size: ${text}`, { reason: 'size_form' });
  return Number(match[1]) * { '': 1, K: 1024, M: 1 << 20 }[match[2] as '' | 'K' | 'M'];
}

/** What is made beside others. */
function refuse(slot: SlotType): void {
  if (slotKinds[slot].origin === 'parent') {
    throw new Failure('usage', 'the root scope has no parent', { reason: 'slot_root_without_parent' });
  }
  if (!hasShares(slot)) return;
  throw new Failure('usage', `a vault does not begin with a ${slot} slot: a recovery slot comes before it`, {
    reason: 'slot_not_for_init',
  });
}

/** `passphrase, keyfile, recovery, age or cmd`: what a caller brings. */
const firstSlots = slotTypes
  .filter((type) => slotKinds[type].origin === 'given')
  .join(', ')
  .replace(/, (\w+)$/, ' or $1');

export const init: Verb = (program, run) => {
  program
    .command('init')
    .argument('<vault>', 'directory to make, or an empty one')
    .description('make a new vault with a root scope')
    .option('--with <src>', 'where the secret of the root scope comes from')
    .option('--slot <type>', `${firstSlots} (from the source where not given)`)
    .option('--suite <name>', `cipher suite: ${suiteNames.join(' or ')} (what fits the processor)`)
    .option('--chunk-size <size>', 'plaintext bytes sealed together, 4K to 1M', '16K')
    .option('--store <path>', 'put the metadata store here instead of in the vault')
    .addHelpText(
      'after',
      '\nExample:\n  head -c 32 /dev/urandom > key\n  scopefs init /srv/vault --with file:key',
    )
    .action(
      run(async (context, vault: string, options: Options) => {
        const suite = suiteNames.find((name) => name === (options.suite ?? defaultSuite()));
        if (suite === undefined) {
          throw new Failure('usage', `there is no suite ${options.suite}`, {
            reason: { name: 'suite_unknown', suites: suiteNames },
          });
        }
        const chunkSize = parseSize(options.chunkSize);
        const source = context.source(options.with);
        const slot = context.slotType(source, options.slot);
        refuse(slot);
        await context.withNewSecret(source, 'passphrase of the root scope', 0, async (input, sealed) => {
          const { initVault } = await import('../../service/vault/init.js');
          const made = await initVault({
            vault,
            input,
            slot,
            sealed,
            suite,
            chunkSize,
            store: options.store,
          });
          context.output.result(
            {
              vault: made.path,
              volume: made.volume,
              root_scope: made.root,
              slot,
              suite,
              chunk_size: chunkSize,
            },
            () =>
              `made the vault ${made.path}\n  mount it: scopefs mount ${vault} MOUNT --with ${source.text}`,
          );
        });
      }),
    );
};
