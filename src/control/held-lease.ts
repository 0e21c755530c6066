import type { Socket } from 'node:net';
import { duplicateOf } from './connections.js';
import type { LeaseEnd } from './schemas.js';
import type { Key, LeaseControl, LeaseRequest, Peer } from './service.js';

/**
 * A lease that lives as long as its response: NDJSON, a line when it begins and one when it ends by itself. A caller
 * that dies closes its socket: the core's thread has a descriptor of it and sees that, whatever this one does.
 */
export async function heldLease(
  leases: LeaseControl,
  request: LeaseRequest,
  key: Key,
  peer: Peer,
  socket: Socket,
): Promise<Response> {
  let end: (how: Omit<LeaseEnd, 'ended'>) => void = () => {};
  const ended = new Promise<Omit<LeaseEnd, 'ended'>>((resolve) => {
    end = resolve;
  });
  const { lease, release } = await leases.hold(request, key, peer, () => duplicateOf(socket), end);
  const line = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  const body = new ReadableStream<Uint8Array>({
    start(stream) {
      stream.enqueue(line(lease));
      void ended.then((how) => {
        try {
          stream.enqueue(line({ ended: lease.id, ...how } satisfies LeaseEnd));
          stream.close();
        } catch {
          // The connection is gone, and the lease by it.
        }
      });
    },
    // The response was given up, maybe while its connection goes on.
    cancel: () => void release(),
  });
  return new Response(body, { status: 201, headers: { 'content-type': 'application/x-ndjson' } });
}
