import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../base/failure.js';
import { Client } from '../control/client/client.js';
import { answers } from '../control/socket.js';
import { isSocketName, RUN_DIRECTORY } from '../daemon/options.js';

/** The path in `unix:///PATH`. */
export function socketPath(host: string): string {
  if (!host.startsWith('unix:///')) {
    throw new Failure('usage', `not a host: ${host}`, { reason: 'host_form' });
  }
  const path = host.slice('unix://'.length);
  // sun_path of unix(7) with its end.
  if (Buffer.byteLength(path) > 107) {
    throw new Failure('usage', `${path} is too long for a socket: at most 107 bytes`, {
      reason: 'socket_path_too_long',
    });
  }
  return path;
}

async function liveSockets(): Promise<string[]> {
  let names: string[];
  try {
    names = readdirSync(RUN_DIRECTORY).filter(isSocketName);
  } catch {
    return [];
  }
  const paths = names.map((name) => join(RUN_DIRECTORY, name));
  const live = await Promise.all(paths.map(answers));
  return paths.filter((_path, i) => live[i]);
}

/** The daemon to talk to: `--host`, SCOPEFS_HOST, or the only live one. */
export async function findClient(host: string | undefined, timeout: number): Promise<Client> {
  const named = host ?? process.env.SCOPEFS_HOST;
  if (named !== undefined && named !== '') return new Client(socketPath(named), timeout);
  const live = await liveSockets();
  const [only] = live;
  if (only === undefined) {
    throw new Failure('unreachable', 'no vault is mounted here', {
      reason: 'daemon_absent',
    });
  }
  if (live.length > 1) {
    throw new Failure('usage', `${live.length} vaults are mounted: say which`, {
      reason: { name: 'daemons_several', sockets: live },
      details: { hosts: live.map((path) => `unix://${path}`) },
    });
  }
  return new Client(only, timeout);
}
