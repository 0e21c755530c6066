import { readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../base/failure.js';
import { Client } from '../control/client/client.js';
import type { VersionView } from '../control/schemas.js';
import { canonicalMountPoint, mountAt } from '../fuse/mount-table.js';
import { isSocketName, RUN_DIRECTORY } from './options.js';

/** A daemon that answers: what it says of itself, and where. */
export interface LiveDaemon {
  readonly socket: string;
  readonly facts: VersionView;
}

const ASK_MS = 5_000;

async function asked(socket: string): Promise<LiveDaemon | Failure> {
  try {
    return { socket, facts: await new Client(socket, ASK_MS).call('version') };
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** Every daemon that has a name in the run directory and answers. @throws Failure where some are there, but not for us */
export async function liveDaemons(): Promise<LiveDaemon[]> {
  let names: string[];
  try {
    names = readdirSync(RUN_DIRECTORY).filter(isSocketName).sort();
  } catch {
    return [];
  }
  const answers = await Promise.all(names.map((name) => asked(join(RUN_DIRECTORY, name))));
  const live = answers.filter((one): one is LiveDaemon => !(one instanceof Failure));
  const refused = answers.find((one) => one instanceof Failure && one.reason === 'daemon_refuses');
  if (live.length === 0 && refused instanceof Failure) throw refused;
  return live;
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** What is at a path: a mount of ours, by its number, or else perhaps a vault. */
export function placeAt(path: string): { mount: string; device: string } | { vault: string | undefined } {
  const mount = canonicalMountPoint(path);
  const entry = mountAt(mount);
  if (entry?.type === 'fuse.scopefs') return { mount, device: entry.deviceNumber };
  return { vault: realPath(path) };
}

/** The daemon that has this very mount, or this vault: by what it says itself. Mount points by symlink too. */
export async function daemonAt(path: string): Promise<LiveDaemon | undefined> {
  const place = placeAt(path);
  return (await liveDaemons()).find(({ facts }) =>
    'device' in place ? facts.device === place.device : facts.vault === place.vault,
  );
}
