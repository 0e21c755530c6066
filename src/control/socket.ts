import { existsSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { Failure } from '../base/failure.js';

/** What connect(2) says where nobody listens. One whose queue is full for now (EAGAIN) is there. */
const NOBODY = ['ECONNREFUSED', 'ENOENT', 'ENOTSOCK'];

/** Whether a daemon listens on a Unix socket. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', ({ code = '' }: NodeJS.ErrnoException) => resolve(!NOBODY.includes(code)));
  });
}

/** Makes room for a socket: a stale one goes, a live one and any other file stay. */
export async function clearPath(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  if (!existsSync(path)) return;
  if (!lstatSync(path).isSocket()) {
    throw new Failure('conflict', `${path} exists and is not a socket`, { reason: 'socket_path_taken' });
  }
  if (await answers(path)) throw new Failure('busy', `${path} is in use by another daemon`);
  unlinkSync(path);
}

/** Listens on a Unix socket that is born with mode 0600. */
export async function bind(server: Server, path: string): Promise<void> {
  // bind(2) gives a socket 0777 less the umask.
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => resolve());
    });
  } finally {
    process.umask(umask);
  }
}
