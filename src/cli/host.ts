import { Failure } from '../base/failure.js';
import { Client } from '../control/client/client.js';
import { daemonAt, type LiveDaemon, liveDaemons } from '../daemon/live-daemons.js';

const SCHEME = 'unix://';

/** The path in `unix:///PATH`. */
export function socketPath(host: string): string {
  if (!host.startsWith(`${SCHEME}/`)) {
    throw new Failure('usage', `not a host: ${host}`, { reason: 'host_form' });
  }
  const path = host.slice(SCHEME.length);
  // sun_path of unix(7) with its end.
  if (Buffer.byteLength(path) > 107) {
    throw new Failure('usage', `${path} is too long for a socket: at most 107 bytes`, {
      reason: 'socket_path_too_long',
    });
  }
  return path;
}

/** What `--host` or SCOPEFS_HOST says, if one of them does. */
export const namedHost = (host: string | undefined): string | undefined =>
  host ?? (process.env.SCOPEFS_HOST || undefined);

const isAddress = (host: string): boolean => /^[a-z]+:/i.test(host);
/** A host where it is a socket's. */
export const socketNamed = (host: string | undefined): string | undefined =>
  host !== undefined && isAddress(host) ? host : undefined;

/** The socket of a host: `unix:///PATH`, or a mount point or vault, whose daemon says itself that it has it. */
export async function socketOf(host: string): Promise<string> {
  if (isAddress(host)) return socketPath(host);
  const daemon = await daemonAt(host);
  if (daemon !== undefined) return daemon.socket;
  throw new Failure('not_found', `no vault is mounted on ${host}`, { reason: 'mount_absent' });
}

const several = (live: readonly LiveDaemon[]): Failure =>
  new Failure('usage', `${live.length} vaults are mounted: say which`, {
    reason: { name: 'daemons_several', mounts: live.map(({ facts }) => facts.mount) },
    details: {
      hosts: live.map(({ socket }) => `${SCHEME}${socket}`),
      mounts: live.map(({ facts, socket }) => ({ mount: facts.mount, vault: facts.vault, socket })),
    },
  });

/** The daemon to talk to: `--host`, SCOPEFS_HOST, or the only live one; all of them where there are several. */
export async function findDaemon(
  host: string | undefined,
  timeout: number,
): Promise<Client | readonly LiveDaemon[]> {
  const named = namedHost(host);
  if (named !== undefined) return new Client(await socketOf(named), timeout);
  const live = await liveDaemons();
  const [only] = live;
  if (only === undefined) {
    throw new Failure('unreachable', 'no vault is mounted here', {
      reason: 'daemon_absent',
    });
  }
  return live.length > 1 ? live : new Client(only.socket, timeout);
}

/** @throws Failure usage where there are several and none is named */
export async function findClient(host: string | undefined, timeout: number): Promise<Client> {
  const found = await findDaemon(host, timeout);
  if (found instanceof Client) return found;
  throw several(found);
}
