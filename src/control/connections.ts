import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { errno } from '../base/errno.js';
import { close, duplicate } from '../libc/files.js';
import { pidOf } from '../libc/processes.js';
import { peerCredentials, peerPidfd } from '../libc/system.js';

/** Connections of one uid that may be idle for longer than {@link GRACE_MS}. */
export const MOST_CONNECTIONS = 64;
/** An honest caller's request arrives within it: until then its connection is not closed for a newer one. */
export const GRACE_MS = 1_000;
/** Connections of one uid at all. */
const CEILING = 1_024;

interface Connection {
  readonly socket: Socket;
  readonly since: number;
  /** Its request is complete and the reply is not. */
  serving: boolean;
  reply: ServerResponse | undefined;
}

/** Node has no call that gives it: it lies in the socket's handle. -1: the socket is closed. */
function descriptorOf(socket: Socket): number {
  return (socket as Socket & { _handle?: { fd?: number } })._handle?.fd ?? -1;
}

/** SO_PEERCRED of a connection. */
export function credentialsOf(socket: Socket): ReturnType<typeof peerCredentials> {
  return peerCredentials(descriptorOf(socket));
}

/** Whether the process that connected has ended: its number may be another's. False where the kernel can't tell (before 6.5). */
export function peerEndedOf(socket: Socket): boolean {
  const pidfd = peerPidfd(descriptorOf(socket));
  if (pidfd < 0) return pidfd !== -errno.ENOPROTOOPT;
  const pid = pidOf(pidfd);
  close(pidfd);
  return pid === undefined || pid < 0;
}

/** Another descriptor of a connection, or -errno. A poll of it tells when the peer hangs up. */
export function duplicateOf(socket: Socket): number {
  return duplicate(descriptorOf(socket));
}

/**
 * Bounds the connections of each uid. Of too many the oldest that are not being served go, not the new
 * one: connections that are held open, send a byte a second or never end a body keep no caller out.
 */
export function limitConnections(server: Server): void {
  const connections = new Map<number, Map<Socket, Connection>>();
  const all = new WeakMap<Socket, Connection>();
  server.on('connection', (socket: Socket) => {
    const peer = credentialsOf(socket);
    if (typeof peer === 'number') {
      socket.destroy();
      return;
    }
    const { uid } = peer;
    const own = connections.get(uid) ?? new Map<Socket, Connection>();
    connections.set(uid, own);
    const connection = { socket, since: performance.now(), serving: false, reply: undefined };
    own.set(socket, connection);
    all.set(socket, connection);
    socket.once('close', () => {
      own.delete(socket);
      if (own.size === 0) connections.delete(uid);
    });
    // Oldest first.
    for (const other of own.values()) {
      const old = connection.since - other.since > GRACE_MS;
      if (own.size <= (old ? MOST_CONNECTIONS : CEILING)) break;
      if (other.serving) continue;
      own.delete(other.socket);
      other.socket.destroy();
    }
  });
  server.on('request', (incoming: IncomingMessage, reply: ServerResponse) => {
    const connection = all.get(incoming.socket);
    if (connection === undefined) return;
    // Pipelined: replies would queue up behind this one until node stops reading the socket, and then the end of a
    // held lease's caller goes unseen. No client of ours does it.
    if (connection.reply?.writableEnded === false) {
      incoming.socket.destroy();
      return;
    }
    connection.reply = reply;
    incoming.once('end', () => {
      connection.serving = true;
    });
    reply.once('close', () => {
      connection.serving = false;
    });
  });
}
