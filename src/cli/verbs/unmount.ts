import { Failure } from '../../base/failure.js';
import { Client } from '../../control/client/client.js';
import { socketOf } from '../../daemon/options.js';
import { unmountFuse } from '../../fuse/mount.js';
import { canonicalMountPoint, isDeadMount, mountAt } from '../../fuse/mount-table.js';
import { socketPath } from '../host.js';
import type { Verb } from '../verb.js';

export const unmount: Verb = (program, run) => {
  program
    .command('unmount')
    .argument('<mount>', 'where the vault is mounted')
    .description('lock every scope and unmount')
    .action(
      run(async (context, path: string) => {
        const mountPoint = canonicalMountPoint(path);
        const dead = isDeadMount(mountPoint);
        const entry = mountAt(mountPoint);
        if (entry?.type !== 'fuse.scopefs') {
          throw new Failure('not_found', `no vault is mounted on ${path}`, {
            reason: 'mount_absent',
          });
        }
        if (dead) {
          unmountFuse(mountPoint, true);
          context.output.note('its daemon had died: the dead mount is removed');
        } else {
          const host = context.options.host ?? process.env.SCOPEFS_HOST ?? '';
          const socket = host === '' ? await socketOfVault(entry.device) : socketPath(host);
          await new Client(socket).call('unmount');
        }
        context.output.result({ unmounted: true, mount: mountPoint }, () => `unmounted ${mountPoint}`);
      }),
    );
};

/** The socket of a vault's daemon. */
async function socketOfVault(vault: string): Promise<string> {
  const { readVault } = await import('../../service/vault/vault.js');
  return socketOf(readVault(vault).record.volume);
}
