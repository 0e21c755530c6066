import { closeSync, fstatSync, readdirSync, writeSync } from 'node:fs';
import { Failure } from '../../base/failure.js';
import { Client } from '../../control/client/client.js';
import { transports } from '../../daemon/options.js';
import { notifyManager } from '../../libc/notify.js';
import { namedHost, socketNamed, socketPath } from '../host.js';
import type { Verb } from '../verb.js';

interface Options {
  with?: string;
  foreground?: boolean;
  store?: string;
  suid?: boolean;
  dev?: boolean;
  ro?: boolean;
  writeback?: boolean;
  transport: string;
  readyFd?: string;
}

/** As of s6 and others: a line is written there, and it is closed, once programs may use the mount. */
function readyDescriptor(text: string): number {
  const fd = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  try {
    if (fd > 0) {
      fstatSync(fd);
      return fd;
    }
  } catch {
    // As below.
  }
  throw new Failure('usage', `--ready-fd ${text} is not a descriptor that is open`, {
    reason: 'ready_fd_form',
  });
}

/** How many entries of a directory a mount on it will hide. */
function entriesOf(path: string): number {
  try {
    return readdirSync(path).length;
  } catch {
    // What is wrong with it is said by the mount.
    return 0;
  }
}

const badKey = (vault: string): Failure =>
  new Failure('bad_key', `that key opens no slot of the root scope of ${vault}`, {
    reason: 'key_unfit_for_root',
  });

export const mount: Verb = (program, run) => {
  program
    .command('mount')
    .argument('<vault>', 'the vault')
    .argument('<mount>', 'directory where plaintext appears')
    .description('mount a vault and unlock its root scope, or leave it locked')
    .option('--with <src>', 'where the secret of the root scope comes from; without it all stays locked')
    .option('--foreground', 'stay until the vault is unmounted')
    .option(
      '--ready-fd <n>',
      'write READY=1 and a newline there when it is mounted and unlocked, then close it',
    )
    .option('--store <path>', 'the metadata store, where it is not in the vault')
    .option('--ro', 'write nothing: also a vault on a read-only disk or snapshot; the audit goes to the log')
    .option('--suid', 'honour set-user-id bits')
    .option('--dev', 'honour device nodes')
    .option('--writeback', "let the kernel's cache collect small writes before they are sealed")
    .option('--transport <name>', `${transports.join(' or ')} (less, slower: an npm binding)`, 'kernel')
    .addHelpText(
      'after',
      '\nExamples:\n  scopefs mount /srv/vault /mnt/data --with file:key\n  scopefs mount /srv/vault /mnt/data && scopefs unlock / --with prompt',
    )
    .action(
      run(async (context, vault: string, mountPoint: string, options: Options) => {
        const transport = transports.find((name) => name === options.transport);
        if (transport === undefined) {
          throw new Failure('usage', `there is no transport ${options.transport}`, {
            reason: { name: 'transport_unknown', transports },
          });
        }
        const refused = (['suid', 'dev', 'ro', 'writeback'] as const).find((name) => options[name] === true);
        if (transport === 'fuse-native' && refused !== undefined) {
          throw new Failure('usage', `the transport fuse-native can't do --${refused}`, {
            reason: 'transport_without_option',
          });
        }
        if (process.getuid?.() !== 0) {
          throw new Failure('not_root', 'mounting needs root', {
            reason: 'mount_without_root',
          });
        }
        const { launch } = await import('../../daemon/launch.js');
        const { readVault } = await import('../../service/vault/vault.js');
        // Before the operator is asked for a secret.
        readVault(vault);
        // Of the environment a socket alone: a mount point there names a daemon that is asked, not one that begins.
        const host = context.options.host ?? socketNamed(namedHost(undefined));
        const what = 'passphrase of the root scope';
        const source =
          options.with === undefined
            ? undefined
            : await context.readAhead(context.source(options.with), what);
        let waiting: Failure | undefined;
        const unlockRoot = async (path: string): Promise<void> => {
          if (source === undefined) return;
          const client = new Client(path, context.timeout);
          try {
            await context.withSecret(client, source, ['/'], what, (scope, input, how) =>
              client.call('createLease', { scope, purpose: 'mount', ...how }, input),
            );
          } catch (error) {
            if (!(error instanceof Failure)) throw error;
            // The daemon's own hint is of no use without the daemon.
            if (error.code === 'bad_key') throw badKey(vault);
            if (error.code !== 'pending') throw error;
            waiting = error;
          }
        };
        const ready = options.readyFd === undefined ? undefined : readyDescriptor(options.readyFd);
        const hidden = entriesOf(mountPoint);
        const mounted = await launch({
          vault,
          mountPoint,
          complete: unlockRoot,
          socket: host === undefined ? undefined : socketPath(host),
          store: options.store,
          suid: options.suid === true,
          dev: options.dev === true,
          readOnly: options.ro === true,
          writeback: options.writeback === true,
          transport,
          foreground: options.foreground === true,
        });
        if (hidden > 0) {
          context.output.note(
            `${mountPoint} was not empty: ${hidden} ${hidden === 1 ? 'entry is' : 'entries are'} hidden while the vault is mounted there`,
          );
        }
        if (mounted.clearedDeadMount) {
          context.output.note('a dead mount of an earlier daemon was removed first');
        }
        if (mounted.unclean) {
          context.output.note('the vault was not unmounted cleanly: files are checked as they are opened');
        }
        const { ended, ...facts } = mounted;
        const locked = source === undefined || waiting !== undefined;
        context.output.result(
          {
            vault: facts.vault,
            mount: facts.mount,
            volume: facts.volume,
            socket: facts.socket,
            pid: facts.pid,
            unclean: facts.unclean,
            locked,
          },
          () =>
            `mounted ${facts.vault} on ${facts.mount}${options.ro === true ? ', read-only' : ''} (pid ${facts.pid})${locked ? ', locked: scopefs unlock / --with SRC' : ''}`,
        );
        if (waiting !== undefined) {
          context.output.failure(waiting);
          context.exitStatus = waiting.exitStatus;
        }
        if (ready !== undefined) {
          writeSync(ready, 'READY=1\n');
          closeSync(ready);
        }
        if (options.foreground === true) {
          for (const signal of ['SIGTERM', 'SIGINT'] as const) {
            process.on(signal, () => {
              notifyManager('STOPPING=1');
              process.kill(facts.pid, 'SIGTERM');
            });
          }
          notifyManager(`READY=1\nSTATUS=${facts.vault} on ${facts.mount}`);
          context.exitStatus = await ended;
        }
      }),
    );
};
