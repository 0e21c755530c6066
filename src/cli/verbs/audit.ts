import { Failure } from '../../base/failure.js';
import type { AuditView } from '../../control/schemas.js';
import type { Verb } from '../verb.js';

const MOST = 10_000;

function who(entry: AuditView): string {
  if (entry.uid === null) return '';
  return `uid ${entry.uid}, pid ${entry.pid ?? '?'}${entry.command === null ? '' : ` (${entry.command})`}`;
}

export const audit: Verb = (program, run) => {
  program
    .command('audit')
    .description('who opened what')
    .command('tail')
    .description('the last entries, the newest at the end')
    .option('-n, --lines <count>', 'how many', '20')
    .action(
      run(async (context, options: { lines: string }) => {
        const count = Number(options.lines);
        if (!Number.isInteger(count) || count < 1 || count > MOST) {
          throw new Failure('usage', `not a number of entries: ${options.lines}`, {
            reason: { name: 'audit_count_form', most: MOST },
          });
        }
        const entries = await (await context.client()).call('audit', { limit: count });
        context.output.result({ entries }, () =>
          context.output.table(
            ['TIME', 'EVENT', 'RESULT', 'SCOPE', 'SLOT', 'WHO', 'DETAIL'],
            entries.map((entry) => [
              entry.at,
              entry.event,
              entry.result,
              entry.path ?? entry.scope ?? '',
              entry.slot === null ? '' : String(entry.slot),
              who(entry),
              entry.purpose || entry.detail || '',
            ]),
          ),
        );
      }),
    );
};
