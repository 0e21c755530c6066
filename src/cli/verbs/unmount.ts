import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../base/failure.js';
import { Client } from '../../control/client/client.js';
import { daemonAt, placeAt } from '../../daemon/live-daemons.js';
import { unmountFuse } from '../../fuse/mount.js';
import { isDeadMount, mountAt } from '../../fuse/mount-table.js';
import { Hangups, openProcess } from '../../libc/hangups.js';
import { vaultPaths } from '../../service/vault/vault.js';
import { type VaultHolder, vaultHolders } from '../../service/vault/vault-holder.js';
import type { CommandContext } from '../context.js';
import { namedHost, socketOf } from '../host.js';
import type { Verb } from '../verb.js';

export const unmount: Verb = (program, run) => {
  program
    .command('unmount')
    .argument('<mount>', 'where the vault is mounted, or the vault')
    .description('lock every scope and unmount; returns when the daemon has ended')
    .action(
      run(async (context, path: string) => {
        const place = placeAt(path);
        if ('device' in place && isDeadMount(place.mount)) {
          unmountFuse(place.mount, true);
          context.output.note('its daemon had died: the dead mount is removed');
          said(context, place.mount);
          return;
        }
        // Neither a mount nor a vault: whatever daemon is named.
        if (!('device' in place) && !isVault(place.vault)) throw absent(path);
        // What is said here counts before the environment: the path is of one mount alone.
        const daemon =
          (await named(context, context.options.host, path, place)) ??
          (await daemonAt(path)) ??
          (await named(context, namedHost(undefined), path, place));
        if (daemon === undefined) {
          said(context, await byHolder(context, path, place));
          return;
        }
        // Its number there may be another's here (containers).
        const ended = watchOf(daemonOf(daemon.facts.vault)?.pid);
        await new Client(daemon.socket, context.timeout).call('unmount');
        await ended(context.timeout);
        said(context, daemon.facts.mount);
      }),
    );
};

const absent = (path: string): Failure =>
  new Failure('not_found', `no vault is mounted on ${path}`, { reason: 'mount_absent' });
const isVault = (path: string | undefined): boolean =>
  path !== undefined && existsSync(vaultPaths(path).record);

type Place = ReturnType<typeof placeAt>;

function said({ output }: CommandContext, mount: string): void {
  output.result({ unmounted: true, mount }, () => `unmounted ${mount}`);
}

/** The daemon that `--host` says, if it says one: it must be the one that has what is to be unmounted. */
async function named(context: CommandContext, host: string | undefined, path: string, place: Place) {
  if (host === undefined) return undefined;
  const socket = await socketOf(host);
  const facts = await new Client(socket, context.timeout).call('version');
  const same = 'device' in place ? facts.device === place.device : facts.vault === place.vault;
  if (same) return { socket, facts };
  throw new Failure('conflict', `the daemon at ${socket} has ${facts.vault} on ${facts.mount}, not ${path}`, {
    reason: 'daemon_of_other_mount',
  });
}

/** No daemon answers for it, but one may have the vault: its socket was cleaned away. SIGTERM locks everything, too. */
async function byHolder(context: CommandContext, path: string, place: Place): Promise<string> {
  const vault = 'device' in place ? mountAt(place.mount)?.device : place.vault;
  const holder = vault === undefined ? undefined : daemonOf(vault);
  const same = holder !== undefined && (!('device' in place) || holder.mount === place.mount);
  if (!same) {
    throw absent(path);
  }
  const ended = watchOf(holder.pid);
  process.kill(holder.pid, 'SIGTERM');
  context.output.note(`its socket had gone: the daemon (pid ${holder.pid}) was told to end by SIGTERM`);
  await ended(context.timeout);
  return holder.mount as string;
}

const daemonOf = (vault: string): VaultHolder | undefined =>
  vaultHolders(vault).find(({ mount }) => mount !== undefined);

const LOOK_MS = 10;

/** Waits for a process to end: only then are its descriptors closed, and the disk below can be unmounted. */
function watchOf(pid: number | undefined): (timeout: number) => Promise<void> {
  const fd = pid === undefined ? -1 : openProcess(pid);
  if (fd < 0) return async () => {};
  const hangups = new Hangups();
  hangups.add(fd, 'process');
  return async (timeout) => {
    const until = performance.now() + timeout;
    while (hangups.take().length === 0) {
      if (performance.now() > until) {
        throw new Failure('busy', `it is unmounted, but the daemon (pid ${pid}) has not ended yet`);
      }
      await sleep(LOOK_MS);
    }
  };
}
