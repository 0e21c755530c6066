import type { Socket } from 'node:net';
import type { SecretInput } from '../libc/memory.js';
import type { ControlService, Peer } from './service.js';

/**
 * A lease that lives as long as its response: NDJSON, a line when it begins and one when it ends by itself. Whoever dies
 * closes its socket, so nothing else has to be watched.
 */
export async function heldLease(
  service: ControlService,
  request: { scope: string; ttl: number | undefined; purpose: string },
  secret: SecretInput,
  peer: Peer,
  socket: Socket,
): Promise<Response> {
  let end: () => void = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const { lease, release } = await service.holdLease(request, secret, peer, end);
  // Gone while the scope was unlocked: then there is no close to wait for.
  const closed = (): void => void release();
  if (socket.destroyed) closed();
  else socket.once('close', closed);
  const line = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  const body = new ReadableStream<Uint8Array>({
    start(stream) {
      stream.enqueue(line(lease));
      void ended.then(() => {
        socket.removeListener('close', closed);
        try {
          stream.enqueue(line({ ended: lease.id }));
          stream.close();
        } catch {
          // The connection is gone, and the lease by it.
        }
      });
    },
    // The response was given up while its connection goes on.
    cancel: closed,
  });
  return new Response(body, { status: 201, headers: { 'content-type': 'application/x-ndjson' } });
}
