import { randomBytes } from 'node:crypto';
import { statSync, unlinkSync, writeSync } from 'node:fs';
import { Errno, errno, errnoName } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import { listen } from '../control/server.js';
import { suites } from '../crypto/suites.js';
import { sessionMark } from '../filesystem/inodes/volume.js';
import { mountAt } from '../fuse/mount-table.js';
import { opensslLibrary } from '../libc/ffi.js';
import { SecretMemory } from '../libc/memory.js';
import { endOnThrow, endProcess } from '../libc/process-end.js';
import { becomeIoFlusher, forbidDumps } from '../libc/system.js';
import { holdersOf } from '../service/scopes/holders.js';
import { unreadScopes } from '../service/scopes/scope-paths.js';
import { leftovers, unlinkAside } from '../service/shred/aside-files.js';
import { markClean, markDirty } from '../service/vault/dirty.js';
import { MountedVault, SECRETS } from '../service/vault/mounted-vault.js';
import { readVault, vaultPaths } from '../service/vault/vault.js';
import { VolumeService } from '../service/volume-service.js';
import { Store } from '../store/store.js';
import type { CoreData, CoreEvent } from '../worker/messages.js';
import { kernelTransport } from './kernel-transport.js';
import { openLog } from './log.js';
import { nativeTransport } from './native-transport.js';
import { fd, type ServerArguments, type StartReport } from './server-start.js';

/** The server process: `scopefs mount` starts it with the device and the vault's lock inherited. */
endOnThrow('server');
// SIGUSR1 would open Node's inspector to any process of this user.
process.on('SIGUSR1', () => {});
process.umask(0o077);
process.chdir('/');
forbidDumps();

const argument = JSON.parse(process.argv.at(-1) ?? '{}') as ServerArguments;

/** How long a stopping server waits for processes that still use the detached mount. */
const LINGER_MS = 2_000;

/** While it starts nothing is unlocked: it takes its mount away, leaves the vault as it found it, and goes. */
let stop = async (): Promise<void> => {
  await mountedHere?.();
  leaveAsFound();
  endProcess(1, 'scopefs: interrupted while it started');
};
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop());

function report(message: StartReport): void {
  try {
    writeSync(fd.status, `${JSON.stringify(message)}\n`);
  } catch {
    // Whoever started us gave up: the mount stays.
  }
}

const log = openLog(argument.journal);
if (opensslLibrary !== undefined) {
  log.info('this node binary exports no OpenSSL: another stands in', { library: opensslLibrary });
}

/** Set once the server mounted by itself (fuse-native): a start that fails later takes its mount away. */
let mountedHere: (() => Promise<number>) | undefined;
/** Until the start is reported nothing was unlocked: a start that fails leaves the vault as it found it. */
let unmark: (() => void) | undefined;
function leaveAsFound(): void {
  const once = unmark;
  unmark = undefined;
  once?.();
}

async function main(): Promise<void> {
  const vault = readVault(argument.vault);
  const { record } = vault;
  const memory = new SecretMemory(SECRETS);
  const suite = suites[vault.suite].make(memory);
  const store = Store.serve(vaultPaths(vault.path, argument.store).store);
  const known = unreadScopes(store);

  becomeIoFlusher();
  const session = randomBytes(16);
  const { unclean, sessions } = markDirty(vault.path, sessionMark(session));
  unmark = () => markClean(vault.path, sessionMark(session), { unclean, behind: false });
  const data: CoreData = {
    tree: vaultPaths(vault.path).tree,
    chunkSize: record.chunkSize,
    suite: vault.suite,
    unclean,
    writeback: argument.writeback,
    session,
    uncleanSessions: sessions,
    scopes: known.map(({ id, parent, path }) => ({ id, parent, path })),
  };
  let behind = false;
  const happened = (message: CoreEvent): void => {
    if (message.kind === 'moved') service.scopes.moved(message.scope, message.path);
    else if (message.kind === 'leaseEnded') service.leases.ended(message.lease, message.reason);
    else if (message.kind === 'spent')
      service.leases.spent(message.scope, message.lease, message.over, message.used);
    else if (message.kind === 'behind') behind = message.behind;
    else if (message.kind === 'expired') {
      void service.locks.happened(message.receipts).then((receipts) => {
        for (const { path, errors } of receipts) {
          if (errors.length > 0)
            log.error('a lease ended, and not everything could be written', { path, errors });
        }
      });
    } else if (message.kind === 'recovered') {
      const { scope, path, before, after } = message;
      const file = service.scopes.nameOf(scope, path);
      log.warn('a file was repaired after an unclean stop', {
        file,
        header_bytes: before,
        found_bytes: after,
      });
    } else {
      const { scope, path, error } = message;
      const file = service.scopes.nameOf(scope, path);
      log.error('the last write-back of a file failed', { file, errno: errnoName(error) });
    }
  };
  const { mountPoint } = argument;
  const transport =
    argument.transport === 'kernel'
      ? kernelTransport(data, { device: fd.device, mountPoint }, happened)
      : await nativeTransport(data, vault.path, mountPoint, happened);
  if (argument.transport === 'fuse-native') mountedHere = () => transport.unmount(true);
  let lingered: () => void = () => {};
  const unmounted = Promise.race([
    transport.ended,
    new Promise<void>((resolve) => {
      lingered = resolve;
    }),
  ]);
  /** umount(2) takes what lies on top, which may be somebody else's by now. */
  const takeOff = async (detach: boolean): Promise<number> => {
    const top = argument.transport === 'kernel' ? mountAt(mountPoint) : undefined;
    return top === undefined || top.device === vault.path ? transport.unmount(detach) : -errno.EBUSY;
  };
  const unmount = async (): Promise<void> => {
    const done = await takeOff(false);
    if (done === -errno.EBUSY) {
      throw new Failure('busy', `${mountPoint} is in use`, {
        reason: 'mount_in_use',
        details: { holders: holdersOf(mountPoint) },
      });
    }
    if (done < 0 && done !== -errno.EINVAL) throw new Errno(-done, 'umount', mountPoint);
    // Another mount namespace may hold a copy of the mount: then lock everything and go.
    const detached = setTimeout(() => {
      void service.locks.closeAll('unmounted').then(lingered);
    }, LINGER_MS);
    await unmounted;
    clearTimeout(detached);
  };
  const knowsCallers = argument.transport === 'kernel';
  const { core } = transport;
  const mounted = new MountedVault({ vault, store, suite, memory, core, mountPoint, knowsCallers, log });
  for (const scope of known) mounted.paths.set(scope.id, scope);
  const service = new VolumeService(mounted, unmount);

  const control = await listen(argument.socket, service, log);
  const early = unmounted.then((): never => {
    throw new Failure('internal', 'unmounted while the daemon started');
  });
  service.fuseMinor = await Promise.race([transport.ready, early]);
  early.catch(() => {});

  let stopping = false;
  stop = async () => {
    if (stopping) return;
    stopping = true;
    await service.locks.closeAll('daemon stopped');
    if ((await takeOff(false)) < 0) await takeOff(true);
    // Whoever still stands in the mount keeps it alive: everything is locked and written, so we go.
    setTimeout(lingered, LINGER_MS);
  };
  mountedHere = undefined;
  unmark = undefined;
  // Before anybody can destroy another.
  const left = await leftovers(data.tree);
  Promise.all(left.map((name) => unlinkAside(data.tree, name))).catch((error: unknown) => {
    log.error('what is left of destroyed scopes could not be unlinked', { error });
  });
  report({ ok: true, pid: process.pid, socket: argument.socket, unclean });

  await unmounted;
  mounted.storeKey.close();
  store.close();
  // Files are repaired at their first open: until every one was looked at the vault stays unclean.
  markClean(vault.path, sessionMark(session), { unclean, behind });
  // The reply to an unmount by the API is still on its way out.
  await new Promise((resolve) => setTimeout(resolve, 50));
  await Promise.race([control.close(), new Promise((resolve) => setTimeout(resolve, 500))]);
  if (argument.log !== undefined && statSync(argument.log).size === 0) unlinkSync(argument.log);
  endProcess(0);
}

main().catch(async (error: unknown) => {
  await mountedHere?.();
  leaveAsFound();
  const failure =
    error instanceof Failure
      ? error
      : new Failure('internal', error instanceof Error ? (error.stack ?? error.message) : String(error));
  const { code, message, reason, hint } = failure;
  report({ ok: false, code, message, reason, hint });
  endProcess(failure.exitStatus, `scopefs: ${message.split('\n')[0]}`);
});
