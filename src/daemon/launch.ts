import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, realpathSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Failure } from '../base/failure.js';
import { checkKernel, mountFuse, openDevice, prepareMountPoint, unmountFuse } from '../fuse/mount.js';
import { canonicalMountPoint, mountAt, mounts } from '../fuse/mount-table.js';
import { loadBinding } from '../fuse/native/binding.js';
import { close, open, openPath } from '../libc/files.js';
import { endProcess } from '../libc/process-end.js';
import { commandOf } from '../libc/processes.js';
import { systemClock } from '../libc/system.js';
import { lockVault, readVault, type VaultInfo, vaultPaths } from '../service/vault/vault.js';
import { vaultHolders } from '../service/vault/vault-holder.js';
import { Store } from '../store/store.js';
import { daemonAt } from './live-daemons.js';
import { RUN_DIRECTORY, type TransportName } from './options.js';
import { removeCopy, storeCopy } from './read-only-store.js';
import { claimLog, removeDeadLogs } from './run-directory.js';
import { fd, type ServerArguments, type StartReport } from './server-start.js';

export interface MountRequest {
  readonly vault: string;
  readonly mountPoint: string;
  readonly socket: string | undefined;
  readonly store: string | undefined;
  readonly suid: boolean;
  readonly dev: boolean;
  readonly writeback: boolean;
  readonly transport: TransportName;
  readonly foreground: boolean;
  /** Nothing of the vault is written: it may lie on a read-only disk. */
  readonly readOnly: boolean;
  /** What belongs to mounting still, once the daemon answers at its socket: where it fails there is no mount. */
  complete(socket: string): Promise<void>;
}

export interface Mounted {
  readonly pid: number;
  readonly vault: string;
  readonly mount: string;
  readonly socket: string;
  readonly volume: string;
  /** The vault was not unmounted cleanly before. */
  readonly unclean: boolean;
  readonly clearedDeadMount: boolean;
  /** Foreground only: resolves with the server's exit status. */
  readonly ended: Promise<number>;
}

const START_MS = 10_000;

/** Of the last daemon of that vault: copies have the same volume id. */
const logOf = ({ path, record }: VaultInfo): string =>
  `${RUN_DIRECTORY}/${record.volume}.${createHash('sha256').update(path).digest('hex').slice(0, 8)}.log`;

/** @throws Failure where that is no store of this vault */
function checkStore(vault: VaultInfo, store: string | undefined): void {
  const rows = Store.open(vaultPaths(vault.path, store).store);
  try {
    if (rows.scopes().length === 0) {
      throw new Failure('integrity', 'the metadata store has no root scope');
    }
    if (rows.meta('volume')?.toString('hex') !== vault.record.volume) {
      throw new Failure('integrity', 'that metadata store belongs to another vault', {
        reason: 'store_of_other_vault',
      });
    }
  } finally {
    rows.close();
  }
}

const ENDING_MS = 10_000;
const LOOK_AGAIN_MS = 50;

/** Why a vault is not to be had: who has it. */
function inUse(vault: string): Failure {
  const [holder] = vaultHolders(vault);
  const by =
    holder === undefined ? 'another scopefs' : `${commandOf(holder.pid) ?? 'scopefs'} (pid ${holder.pid})`;
  const at = holder?.mount;
  return new Failure(
    'busy',
    `${vault} is in use by ${at === undefined ? by : `the daemon of ${at} (pid ${holder?.pid})`}`,
    {
      reason: { name: 'vault_in_use', vault },
      ...(holder === undefined ? {} : { details: { pid: holder.pid, mount: at ?? null } }),
    },
  );
}

/**
 * The vault's lock. Where it is not mounted any more its last daemon is about to give it back: that is waited for, but not for one
 * whose mount was taken away while it is in use.
 */
async function takeVault(vault: string, readOnly: boolean): Promise<number> {
  for (const started = systemClock.boottime(); ; ) {
    try {
      return lockVault(vault, readOnly);
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== 'busy') throw error;
      const isMounted = mounts().some(({ type, device }) => type.startsWith('fuse') && device === vault);
      const late = systemClock.boottime() - started > ENDING_MS;
      if (isMounted || late || (await daemonAt(vault))?.facts.detached === true) throw inUse(vault);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

function checkMountPoint(path: string): string {
  let real: string;
  try {
    real = realpathSync(path);
    if (!statSync(real).isDirectory()) throw new Failure('bad_mount_point', `${path} is not a directory`);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure('bad_mount_point', `the mount point ${path} does not exist`, {
      reason: { name: 'mount_point_missing', path },
    });
  }
  return real;
}

/** Everything that `scopefs mount` does: mount, start the server, which locks everything, wait until it answers, complete it. */
export async function launch(request: MountRequest): Promise<Mounted> {
  if (process.getuid?.() !== 0) {
    throw new Failure('not_root', 'mounting needs root', {
      reason: 'mount_without_root',
    });
  }
  checkKernel();
  const vault = readVault(request.vault);
  const { volume } = vault.record;
  const listed = canonicalMountPoint(request.mountPoint);
  let { clearedDeadMount } = prepareMountPoint(listed);
  const mountPoint = checkMountPoint(request.mountPoint);
  if (mountPoint === vault.path || vault.path.startsWith(`${mountPoint}/`)) {
    throw new Failure('bad_mount_point', `${request.mountPoint} would hide the vault itself`);
  }
  const lock = await takeVault(vault.path, request.readOnly);
  // That may have taken a while: others mount too.
  clearedDeadMount = prepareMountPoint(listed).clearedDeadMount || clearedDeadMount;
  const store = request.readOnly ? storeCopy(vault, request.store) : request.store;
  checkStore(vault, store);
  const native = request.transport === 'fuse-native';
  // Said before the mount, not by a daemon that fails.
  if (native) loadBinding();
  const device = native ? openPath('/dev/null', open.O_RDWR) : openDevice();
  // Interrupted while it starts: no half-made mount stays behind.
  let isMounted = false;
  let started: Started | undefined;
  const interrupted = (): never => {
    // Without its mount a server does not start, and leaves the vault as it was.
    if (started === undefined && isMounted) unmountOurs(mountPoint, vault.path);
    else (started?.child ?? starting)?.kill('SIGTERM');
    endProcess(130, 'scopefs: interrupted');
  };
  for (const signal of START_SIGNALS) process.once(signal, interrupted);
  try {
    const { foreground, writeback, transport, suid, dev, readOnly } = request;
    if (!native) mountFuse(device, { source: vault.path, mountPoint, suid, dev, readOnly });
    // By the binding the server mounts, and takes its mount away where it fails later.
    isMounted = !native;
    const log = foreground ? undefined : logOf(vault);
    const journal = foreground && process.env.JOURNAL_STREAM !== undefined;
    const server: ServerArguments = {
      vault: vault.path,
      mountPoint,
      socket: request.socket,
      store,
      readOnly,
      writeback,
      transport,
      log,
      journal,
    };
    started = await start(server, device, lock);
    const { socket } = started.report;
    await request.complete(socket);
    if (!foreground) started.child.unref();
    return {
      pid: started.report.pid,
      vault: vault.path,
      mount: mountPoint,
      socket,
      volume,
      unclean: started.report.unclean,
      clearedDeadMount,
      ended: started.ended,
    };
  } catch (error) {
    if (started !== undefined) await end(started);
    unmountOurs(mountPoint, vault.path);
    if (request.readOnly && store !== undefined) removeCopy(store);
    throw error;
  } finally {
    for (const signal of START_SIGNALS) process.removeListener(signal, interrupted);
    close(device);
    close(lock);
  }
}

/** Takes away what a server that ended or never started left. Not what somebody else mounted there. */
function unmountOurs(mountPoint: string, vault: string): void {
  const top = mountAt(mountPoint);
  if (top?.device === vault && top.type.startsWith('fuse')) unmountFuse(mountPoint, true);
}

const END_MS = 20_000;

async function end({ child, ended }: Started): Promise<void> {
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), END_MS);
  await ended;
  clearTimeout(late);
}

const START_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** The server that has not reported yet. */
let starting: ChildProcess | undefined;

interface Started {
  readonly child: ChildProcess;
  readonly report: Extract<StartReport, { ok: true }>;
  readonly ended: Promise<number>;
}

async function start(server: ServerArguments, device: number, lock: number): Promise<Started> {
  mkdirSync(RUN_DIRECTORY, { recursive: true, mode: 0o755 });
  const foreground = server.log === undefined;
  removeDeadLogs();
  const log = server.log === undefined ? 2 : openSync(server.log, 'w', 0o600);
  if (!foreground) claimLog(log);
  const script = fileURLToPath(new URL('./server.js', import.meta.url));
  const child = spawn(
    process.execPath,
    [
      '--disallow-code-generation-from-strings',
      '--disable-proto=delete',
      script,
      // `pgrep -f 'scopefs.*VAULT'` finds the daemon of a vault.
      'scopefs',
      server.vault,
      server.mountPoint,
      JSON.stringify(server),
    ],
    {
      // NODE_OPTIONS and the like must not reach a process that holds keys.
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' },
      cwd: '/',
      detached: !foreground,
      stdio: ['ignore', log, log, device, 'pipe', lock],
    },
  );
  starting = child;
  if (!foreground) closeSync(log);
  const ended = new Promise<number>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 1)));
  });
  const streams: readonly unknown[] = child.stdio;
  const status = streams[fd.status] as Readable;
  const report = await firstLine(status, ended, server.log);
  starting = undefined;
  if (!report.ok) {
    const { code, message, reason } = report;
    child.kill('SIGKILL');
    throw new Failure(code, message, {
      ...(reason === undefined ? {} : { reason }),
    });
  }
  status.destroy();
  return { child, report, ended };
}

function firstLine(status: Readable, ended: Promise<number>, log: string | undefined): Promise<StartReport> {
  return new Promise((resolve) => {
    const fail = (message: string): void =>
      resolve({
        ok: false,
        code: 'internal',
        message,
        ...(log === undefined ? {} : { reason: { name: 'start_failed', log } }),
      });
    const timer = setTimeout(() => fail(`the daemon did not answer within ${START_MS / 1000} s`), START_MS);
    createInterface({ input: status }).once('line', (line) => {
      clearTimeout(timer);
      resolve(JSON.parse(line) as StartReport);
    });
    void ended.then((code) => {
      clearTimeout(timer);
      // The line, if there is one, comes first.
      setTimeout(() => fail(`the daemon ended with status ${code}`), 100);
    });
  });
}
