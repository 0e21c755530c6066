import { randomBytes } from 'node:crypto';
import { statSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { Errno, errno, errnoName } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import type { ScopeId } from '../base/ids.js';
import { listen } from '../control/server.js';
import { suites } from '../crypto/suites.js';
import { sessionMark } from '../filesystem/volume.js';
import { unmountFuse } from '../fuse/mount.js';
import { mountAt } from '../fuse/mount-table.js';
import { StoreKey } from '../keyring/store-key.js';
import { Doorbell, type DoorbellParts } from '../libc/doorbell.js';
import { opensslLibrary } from '../libc/ffi.js';
import { close, read } from '../libc/files.js';
import { type Secret, SecretMemory } from '../libc/memory.js';
import { endOnThrow, endProcess } from '../libc/process-end.js';
import { becomeIoFlusher, eventfd, forbidDumps } from '../libc/system.js';
import { Store } from '../store/store.js';
import { CoreClient } from './core-client.js';
import { holdersOf } from './holders.js';
import { IoLine } from './io-line.js';
import { fd, type ServerArguments, type StartReport } from './launch.js';
import { openLog } from './log.js';
import {
  type FilesystemWorkerData,
  type IoWorkerData,
  NOTIFIERS,
  type NotifierLine,
  type NotifierWorkerData,
  type WorkerMessage,
} from './messages.js';
import { knownScopes } from './scope-paths.js';
import { markClean, markDirty, readVault, vaultPaths } from './vault.js';
import { VolumeService } from './volume-service.js';

/** The server process: `scopefs mount` starts it with the device, the root secret and the vault's lock inherited. */
endOnThrow('server');
// SIGUSR1 would open Node's inspector to any process of this user.
process.on('SIGUSR1', () => {});
process.umask(0o077);
process.chdir('/');
forbidDumps();

const argument = JSON.parse(process.argv.at(-1) ?? '{}') as ServerArguments;

/** How long a stopping server waits for processes that still use the detached mount. */
const LINGER_MS = 2_000;

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

function readRootSecret(memory: SecretMemory): Secret {
  const secret = memory.allocate(32);
  for (let done = 0; done < 32; ) {
    const got = read(fd.secret, secret.address + done, 32 - done);
    if (got === -errno.EINTR) continue;
    if (got <= 0) throw new Failure('internal', 'the root secret did not arrive');
    done += got;
  }
  close(fd.secret);
  return secret;
}

function start(name: string, workerData: unknown, transferList: MessagePort[]): void {
  new Worker(new URL(`./${name}-worker.js`, import.meta.url), { workerData, transferList });
}

/** An I/O worker: the memory by which it takes jobs. */
function startIoWorker(doorbell: DoorbellParts): SharedArrayBuffer {
  const { memory } = new IoLine();
  const data: IoWorkerData = { line: memory, doorbell };
  start('io', data, []);
  return memory;
}

function startThreads(data: Omit<FilesystemWorkerData, 'commands' | 'notifiers'>): MessagePort {
  const notifiers: NotifierLine[] = [];
  for (let i = 0; i < NOTIFIERS; i++) {
    const orders = new MessageChannel();
    const orderBell = new Int32Array(new SharedArrayBuffer(4));
    const { device, doorbell } = data;
    const { mountPoint } = argument;
    const notifierData: NotifierWorkerData = {
      device,
      mountPoint,
      orders: orders.port2,
      orderBell,
      doorbell,
    };
    start('notifier', notifierData, [orders.port2]);
    notifiers.push({ port: orders.port1, bell: orderBell });
  }
  const commands = new MessageChannel();
  const workerData: FilesystemWorkerData = { ...data, commands: commands.port2, notifiers };
  start('filesystem', workerData, [commands.port2, ...notifiers.map(({ port }) => port)]);
  return commands.port1;
}

/** INIT can only lower the kernel's read-ahead of 128 KiB; root may raise it to what one READ takes. */
function raiseReadAhead(): void {
  const entry = mountAt(argument.mountPoint);
  if (entry === undefined) return;
  try {
    writeFileSync(`/sys/class/bdi/${entry.deviceNumber}/read_ahead_kb`, '1024');
  } catch {
    // A read-only /sys (a container): slower cold reads, nothing else.
  }
}

async function main(): Promise<void> {
  const vault = readVault(argument.vault);
  const { record } = vault;
  const memory = new SecretMemory(1024);
  const suite = suites[vault.suite].make(memory);
  const secret = readRootSecret(memory);
  const store = Store.serve(vaultPaths(vault.path, argument.store).store);
  const [rootRow] = store.scopes();
  const sealedKey = store.meta('store_key');
  if (rootRow === undefined || sealedKey === undefined) {
    throw new Failure('integrity', 'the metadata store has no root scope');
  }
  // The store key began with the root scope's current epoch.
  const generation = store.secretsOf(rootRow.id)?.epochs.at(-1)?.epoch ?? 1;
  const root = rootRow.id;
  const storeKey = StoreKey.unwrap(suite, memory, record.volume, root, secret, sealedKey, generation);
  storeKey.recall(suite, memory, root, (of) => store.meta(`store_key_before_${of}`));
  const damagedLabels: ScopeId[] = [];
  const known = knownScopes(store, storeKey, (scope) => damagedLabels.push(scope));

  becomeIoFlusher();
  const session = randomBytes(16);
  const { unclean, sessions } = markDirty(vault.path, sessionMark(session));
  const doorbell = Doorbell.parts(eventfd());
  const port = startThreads({
    device: fd.device,
    tree: vaultPaths(vault.path).tree,
    chunkSize: record.chunkSize,
    suite: vault.suite,
    unclean,
    session,
    uncleanSessions: sessions,
    writeback: argument.writeback,
    scopes: known.map(({ id, parent, path }) => ({ id, parent, path })),
    doorbell,
  });

  let ready: (minor: number) => void = () => {};
  const initialised = new Promise<number>((resolve) => {
    ready = resolve;
  });
  let ended: () => void = () => {};
  let behind = false;
  const unmounted = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const happened = (message: Exclude<WorkerMessage, { kind: 'answer' }>): void => {
    if (message.kind === 'ready') ready(message.minor);
    else if (message.kind === 'moved') service.moved(message.scope, message.path);
    else if (message.kind === 'behind') behind = message.behind;
    else if (message.kind === 'ended') ended();
    else if (message.kind === 'more') addIoWorker();
    else if (message.kind === 'expired') {
      void service.locked(message.receipts).then((receipts) => {
        for (const { path, errors } of receipts) {
          if (errors.length > 0)
            log.error('a lease ended, and not everything could be written', { path, errors });
        }
      });
    } else if (message.kind === 'recovered') {
      const { scope, path, before, after } = message;
      const file = service.nameOf(scope, path);
      log.warn('a file was repaired after an unclean stop', {
        file,
        header_bytes: before,
        found_bytes: after,
      });
    } else {
      const { scope, path, error } = message;
      const file = service.nameOf(scope, path);
      log.error('the last write-back of a file failed', { file, errno: errnoName(error) });
    }
  };
  const addIoWorker = (): void => {
    void core.call({ op: 'line', memory: startIoWorker(doorbell) });
  };
  const core = new CoreClient(port, new Doorbell(doorbell), happened);
  const unmount = async (): Promise<void> => {
    const done = unmountFuse(argument.mountPoint);
    if (done === -errno.EBUSY) {
      throw new Failure('busy', `${argument.mountPoint} is in use`, {
        hint: 'end those processes, or lock everything now with: scopefs lock -a',
        details: { holders: holdersOf(argument.mountPoint) },
      });
    }
    if (done < 0 && done !== -errno.EINVAL) throw new Errno(-done, 'umount', argument.mountPoint);
    // Another mount namespace may hold a copy of the mount: then lock everything and go.
    const detached = setTimeout(() => {
      void service.lockAll('unmounted', undefined).then(ended);
    }, LINGER_MS);
    await unmounted;
    clearTimeout(detached);
  };
  const context = { vault, mountPoint: argument.mountPoint, store, storeKey, suite, memory, log };
  const service = new VolumeService(context, core, known, unmount);

  for (const scope of damagedLabels) {
    log.error('the label of a scope is damaged: its directory brings it back when it is seen', { scope });
    const detail = 'its label is not authentic';
    await service.slots.audit.write({ event: 'integrity', result: 'integrity', scope, detail }, undefined);
  }
  const control = await listen(argument.socket, service, log);
  const early = unmounted.then((): never => {
    throw new Failure('internal', 'unmounted while the daemon started');
  });
  service.fuseMinor = await Promise.race([initialised, early]);
  early.catch(() => {});
  await service.unlockRoot(rootRow.id, secret, { uid: argument.uid, gid: argument.gid, pid: process.pid });
  raiseReadAhead();

  let stopping = false;
  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    await service.lockAll('daemon stopped', undefined);
    if (unmountFuse(argument.mountPoint) >= 0) return;
    unmountFuse(argument.mountPoint, true);
    // Whoever still stands in the mount keeps it alive: everything is locked and written, so we go.
    setTimeout(ended, LINGER_MS);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop());
  report({ ok: true, pid: process.pid, socket: argument.socket, unclean });

  await unmounted;
  context.storeKey.close();
  store.close();
  // Files are repaired at their first open: until every one was looked at the vault stays unclean.
  markClean(vault.path, sessionMark(session), { unclean, behind });
  // The reply to an unmount by the API is still on its way out.
  await new Promise((resolve) => setTimeout(resolve, 50));
  await Promise.race([control.close(), new Promise((resolve) => setTimeout(resolve, 500))]);
  if (argument.log !== undefined && statSync(argument.log).size === 0) unlinkSync(argument.log);
  endProcess(0);
}

main().catch((error: unknown) => {
  const failure =
    error instanceof Failure
      ? error
      : new Failure('internal', error instanceof Error ? (error.stack ?? error.message) : String(error));
  const { code, message, hint } = failure;
  report({ ok: false, code, message, hint });
  endProcess(failure.exitStatus, `scopefs: ${message.split('\n')[0]}`);
});
