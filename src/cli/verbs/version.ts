import { version } from '../../base/version.js';
import type { Verb } from '../verb.js';

export const versionVerb: Verb = (program, run) => {
  program
    .command('version')
    .description('print the version')
    .action(
      run(async (context) => {
        const node = process.versions.node;
        context.output.result(
          { version, format: 1, format_draft: true, node, openssl: process.versions.openssl },
          () => `scopefs ${version} (format 1, draft; node ${node})`,
        );
      }),
    );
};
