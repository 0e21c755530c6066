import { randomBytes } from 'node:crypto';
import { rmSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Errno, errno } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import type { Log } from '../base/log.js';
import { listen } from '../control/server.js';
import { suites } from '../crypto/suites.js';
import { sessionMark } from '../filesystem/inodes/volume.js';
import { mountAt, mounts } from '../fuse/mount-table.js';
import { SecretMemory } from '../libc/memory.js';
import { endProcess } from '../libc/process-end.js';
import { becomeIoFlusher } from '../libc/system.js';
import { CoreEvents } from '../service/core-events.js';
import { holdersOf } from '../service/scopes/holders.js';
import { mountUsersOf } from '../service/scopes/mount-users.js';
import { unreadScopes } from '../service/scopes/scope-paths.js';
import { leftovers, unlinkAside } from '../service/shred/aside-files.js';
import { markClean, markDirty, readDirty } from '../service/vault/dirty.js';
import { MountedVault, SECRETS } from '../service/vault/mounted-vault.js';
import { readVault, type VaultInfo, vaultPaths } from '../service/vault/vault.js';
import { VolumeService } from '../service/volume-service.js';
import { Store } from '../store/store.js';
import type { CoreData, CoreEvent } from '../worker/messages.js';
import type { Transport } from '../worker/transport.js';
import { kernelTransport } from './kernel-transport.js';
import { nativeTransport } from './native-transport.js';
import { removeCopy } from './read-only-store.js';
import { fd, type ServerArguments, type StartReport } from './server-start.js';
import { SocketEntry } from './socket-entry.js';

/** How long a stopping server waits for processes that still use the detached mount. */
const LINGER_MS = 2_000;
/** The reply to an unmount by the API is still on its way out when the mount is gone. */
const REPLY_MS = 50;
const CLOSE_MS = 500;

/** How often it looks whether its mount and its socket are still there. */
const LOOK_MS = 2_000;

/** What a server has once it serves. */
interface Serving {
  readonly vault: MountedVault;
  readonly service: VolumeService;
  readonly socket: SocketEntry;
}

/** The server of one mounted vault, from its start to its end, with which the process ends. */
export class VaultServer {
  readonly #argument: ServerArguments;
  readonly #log: Log;
  readonly #session = randomBytes(16);
  /** Its mark in VAULT/dirty was written: whether there were others. */
  #unclean: boolean | undefined;
  #transport: Transport | undefined;
  #events: CoreEvents | undefined;
  #serving: Serving | undefined;
  #stopping = false;
  /** Processes that keep the detached mount alive are not waited for any longer. */
  #leave: () => void = () => {};
  readonly #left = new Promise<void>((resolve) => {
    this.#leave = resolve;
  });

  constructor(argument: ServerArguments, log: Log) {
    this.#argument = argument;
    this.#log = log;
  }

  /** Serves until the mount is gone, then ends the process; with a report where it can't. */
  async run(): Promise<void> {
    try {
      const info = readVault(this.#argument.vault);
      this.#serving = await this.#start(info);
      const { path: socket } = this.#serving.socket;
      report({ ok: true, pid: process.pid, socket, unclean: this.#unclean === true });
      const watch = this.#watch(this.#serving);
      await this.#unmounted;
      clearInterval(watch);
      await this.#end(info, this.#serving);
    } catch (error) {
      if (this.#serving === undefined) await this.#abandon();
      const { code, message, reason, exitStatus } = asFailure(error);
      report({ ok: false, code, message, reason });
      endProcess(exitStatus, `scopefs: ${message.split('\n')[0]}`);
    }
  }

  /** A signal: locks everything in order and takes the mount away; before it serves there is nothing to lock. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    if (this.#serving === undefined) {
      await this.#abandon();
      endProcess(1, 'scopefs: interrupted while it started');
    }
    await this.#serving?.service.locks.closeAll('daemon stopped');
    if ((await this.#takeOff(false)) < 0) await this.#takeOff(true);
    // A process that still stands in the mount keeps it alive: everything is locked and written, so we go.
    setTimeout(this.#leave, LINGER_MS);
  }

  get #unmounted(): Promise<void> {
    return Promise.race([this.#transport?.ended, this.#left]);
  }

  async #start(info: VaultInfo): Promise<Serving> {
    const { mountPoint, socket, store: path, transport: by, readOnly } = this.#argument;
    const memory = new SecretMemory(SECRETS);
    const suite = suites[info.suite].make(memory);
    const store = Store.serve(vaultPaths(info.path, path).store);
    if (readOnly && path !== undefined) removeCopy(path);
    const known = unreadScopes(store);
    becomeIoFlusher();
    const mark = sessionMark(this.#session);
    const { unclean, sessions } = readOnly
      ? readDirty(info.path)
      : store.withRoom(() => markDirty(info.path, mark));
    this.#unclean = unclean;
    const { tree } = vaultPaths(info.path);
    const transport = await this.#mount(info, {
      tree,
      chunkSize: info.record.chunkSize,
      suite: info.suite,
      unclean,
      readOnly,
      writeback: this.#argument.writeback,
      session: this.#session,
      uncleanSessions: sessions,
      scopes: known.map(({ id, parent, path: below }) => ({ id, parent, path: below })),
    });
    this.#transport = transport;
    const early = this.#unmounted.then((): never => {
      throw new Failure('internal', 'unmounted while the daemon started');
    });
    const fuseMinor = await Promise.race([transport.ready, early]);
    early.catch(() => {});
    // Before another scope can be destroyed.
    const aside = readOnly ? [] : await leftovers(tree);
    const { core } = transport;
    const knowsCallers = by === 'kernel';
    const parts = {
      vault: info,
      store,
      suite,
      memory,
      core,
      mountPoint,
      readOnly,
      knowsCallers,
      log: this.#log,
    };
    const vault = new MountedVault({ ...parts, device: mountAt(mountPoint)?.deviceNumber ?? '' });
    for (const scope of known) vault.paths.set(scope.id, scope);
    const service: VolumeService = new VolumeService(vault, fuseMinor, () => this.#unmount(service));
    this.#events = new CoreEvents(vault, service);
    Promise.all(aside.map((name) => unlinkAside(tree, name))).catch((error: unknown) => {
      this.#log.error('what is left of destroyed scopes could not be unlinked', { error });
    });
    // Last: from its first caller on something may be unlocked, and a signal must lock it in order.
    const entry = await SocketEntry.claim({
      volume: info.record.volume,
      wanted: socket,
      listen: (path) => listen(path, service, this.#log),
    });
    return { vault, service, socket: entry };
  }

  /** A mount that somebody took away (umount -l) must not stay open to those who are still inside. */
  #watch(serving: Serving): NodeJS.Timeout {
    const { vault, service, socket } = serving;
    const look = async (): Promise<void> => {
      if (!vault.detached && !this.#stopping && !mounts().some((at) => at.deviceNumber === vault.device)) {
        vault.detached = true;
        this.#log.warn('the mount was taken away: everything is locked; ends with its last user', {
          mount: vault.mountPoint,
        });
        await service.locks.closeAll('the mount was taken away');
      }
      if (await socket.restore()) this.#log.warn('the socket had gone: made again', { socket: socket.path });
    };
    return setInterval(() => {
      look().catch((error: unknown) => this.#log.error('the mount could not be looked after', { error }));
    }, LOOK_MS);
  }

  async #mount(info: VaultInfo, data: CoreData): Promise<Transport> {
    const { mountPoint, transport } = this.#argument;
    // Nothing is unlocked before the service is there, so nothing happens.
    const happened = (event: CoreEvent): void => this.#events?.happened(event);
    return transport === 'kernel'
      ? kernelTransport(data, { device: fd.device, mountPoint }, happened)
      : await nativeTransport(data, info.path, mountPoint, happened);
  }

  /** A start that fails leaves the vault as it found it; the mount is the launcher's, but where we made it ourselves. */
  async #abandon(): Promise<void> {
    if (this.#argument.transport === 'fuse-native') await this.#transport?.unmount(true);
    const unclean = this.#unclean;
    this.#unclean = undefined;
    if (unclean === undefined || this.#argument.readOnly) return;
    markClean(this.#argument.vault, sessionMark(this.#session), { unclean, behind: false });
  }

  /** umount(2) takes what lies on top, which may be of another program by now. */
  async #takeOff(detach: boolean): Promise<number> {
    const { transport, mountPoint } = this.#argument;
    const top = transport === 'kernel' ? mountAt(mountPoint) : undefined;
    const ours = top === undefined || top.deviceNumber === this.#serving?.vault.device;
    return ours && this.#transport !== undefined ? this.#transport.unmount(detach) : -errno.EBUSY;
  }

  async #unmount(service: VolumeService): Promise<void> {
    const { mountPoint } = this.#argument;
    if (this.#serving?.vault.detached === true) {
      await service.locks.closeAll('unmounted');
      this.#leave();
      return;
    }
    const done = await this.#takeOff(false);
    if (done === -errno.EBUSY) {
      const holders = holdersOf(mountPoint);
      const held_by = mountUsersOf(mountPoint, this.#serving?.vault.device ?? '');
      const reason =
        held_by.length > 0
          ? 'mount_held'
          : holders.length > 0
            ? 'mount_in_use'
            : ({ name: 'mount_use_unknown', path: mountPoint } as const);
      throw new Failure('busy', `${mountPoint} is in use`, { reason, details: { holders, held_by } });
    }
    if (done < 0 && done !== -errno.EINVAL) throw new Errno(-done, 'umount', mountPoint);
    // Another mount namespace may hold a copy of the mount: then lock everything and go.
    const detached = setTimeout(() => {
      void service.locks.closeAll('unmounted').then(this.#leave);
    }, LINGER_MS);
    await this.#unmounted;
    clearTimeout(detached);
  }

  async #end(info: VaultInfo, { vault, socket }: Serving): Promise<never> {
    vault.storeKey.close();
    // Files are repaired at their first open: until every one was looked at the vault stays unclean.
    const behind = this.#events?.behind === true;
    const ended = { unclean: this.#unclean === true, behind };
    if (!vault.readOnly) {
      vault.store.withRoom(() => markClean(info.path, sessionMark(this.#session), ended));
    }
    vault.store.close();
    await sleep(REPLY_MS);
    await Promise.race([socket.close(), sleep(CLOSE_MS)]);
    const { log } = this.#argument;
    // It tells of this mount. One of a daemon that died stays, until the vault is mounted again.
    if (log !== undefined) rmSync(log, { force: true });
    endProcess(0);
  }
}

/** To the launcher, which waits for this line. */
function report(message: StartReport): void {
  try {
    writeSync(fd.status, `${JSON.stringify(message)}\n`);
  } catch {
    // The launcher gave up: the mount stays.
  }
}

function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure('internal', error instanceof Error ? (error.stack ?? error.message) : String(error));
}
